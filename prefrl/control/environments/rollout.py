"""What happened in some steps of some environments, as arrays."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from prefrl.control.environments.journals import Journals

__all__ = ["Rollout"]


@dataclass(frozen=True, eq=False)
class Rollout:
    """What happened in T steps of N environments. The true reward is for oracles and evaluation."""

    observations: NDArray[np.float32]
    """What the agent saw before each action, but for pictures, flattened, shape (T, N, O), not
    normalised."""
    actions: NDArray[np.float32]
    """Encoded actions, shape (T, N, A)."""
    true_rewards: NDArray[np.float64]
    """The environment's own reward, shape (T, N)."""
    dones: NDArray[np.bool_]
    """Whether the step was the last of its episode, shape (T, N)."""
    states: NDArray[np.float64] | None
    """Simulator states before each action, shape (T, N, S), where they are known; for an episode or
    a game that is played again for films, its number and step, so S is 2. NaN where a step is
    unknown."""
    frames: NDArray[np.uint8] | None = None
    """Pictures before each action, shape (K + T, N, C, H, W), after K of the steps before, which
    are black where the episode had not begun; None without pictures."""
    journals: Journals = field(default_factory=dict)
    """The episodes or games in ``states``."""
    next_observations: NDArray[np.float32] | None = None
    """What it saw after each action, of an episode's last one too, shape (T, N, O); None where
    nobody asks."""
    ended: NDArray[np.bool_] | None = None
    """Whether the environment ended the episode with the step, shape (T, N): not where a time limit
    cut it. None where nothing ends."""
    final_states: NDArray[np.float64] | None = None
    """Simulator states after the steps that ended an episode, shape (T, N, S), zeros elsewhere;
    None where they are not known."""

    @property
    def n_before(self) -> int:
        """Pictures of the steps before the first one (K)."""
        return 0 if self.frames is None else len(self.frames) - len(self.dones)
