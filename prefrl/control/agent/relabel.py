"""The learned reward, written into Stable-Baselines3's rollout buffer in one pass."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3.common.buffers import RolloutBuffer

__all__ = ["forget_rollout", "write_rewards"]


def write_rewards(
    buffer: RolloutBuffer,
    rewards: NDArray[np.float32],
    *,
    last_values: torch.Tensor,
    dones: NDArray[Any],
) -> None:
    """Adds learned rewards to a full buffer and computes returns and advantages again.

    Stable-Baselines3 has put gamma * V(last observation) into the reward of steps at which the time
    limit cut an episode (``OnPolicyAlgorithm.collect_rollouts``). It must stay, so the learned
    reward is added and does not replace. As the hidden reward is zero, nothing else is in there.

    Args:
        buffer: Full, with rewards of shape (T, N).
        rewards: Learned rewards, shape (T, N).
        last_values: Values of the observations after the last step, shape (N,) or (N, 1).
        dones: Whether the last step ended its episode, shape (N,).
    """
    buffer.rewards += rewards
    buffer.compute_returns_and_advantage(last_values=last_values, dones=dones)


def forget_rollout(buffer: RolloutBuffer) -> None:
    """Makes a full buffer teach nothing: no advantage, and returns equal to the values.

    For rollouts before the first fit: without a reward the agent must not move.
    """
    buffer.advantages[:] = 0.0
    buffer.returns[:] = buffer.values
