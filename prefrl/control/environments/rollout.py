"""What happened in some steps of some environments, as arrays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Rollout"]


@dataclass(frozen=True, eq=False)
class Rollout:
    """What happened in T steps of N environments. The true reward is for oracles and evaluation."""

    observations: NDArray[np.float32]
    """What the agent saw before each action, flattened, shape (T, N, O), not normalised."""
    actions: NDArray[np.float32]
    """Encoded actions, shape (T, N, A)."""
    true_rewards: NDArray[np.float64]
    """The environment's own reward, shape (T, N)."""
    dones: NDArray[np.bool_]
    """Whether the step was the last of its episode, shape (T, N)."""
    states: NDArray[np.float64] | None
    """Simulator states before each action, shape (T, N, S), where they are known."""
