"""The record of some steps of some environments, as arrays."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from prefrl.control.environments.journals import Journals

__all__ = ["Rollout"]


@dataclass(frozen=True, eq=False)
class Rollout:
    """A record of T steps of N environments. The true reward is for oracles and evaluation."""

    observations: NDArray[np.float32]
    """Observations before each action, without pictures, flattened and not normalised, shape
    (T, N, O)."""
    actions: NDArray[np.float32]
    """Encoded actions, shape (T, N, A)."""
    true_rewards: NDArray[np.float64]
    """The environment's own reward, shape (T, N)."""
    dones: NDArray[np.bool_]
    """Whether the step was the last of its episode, shape (T, N)."""
    states: NDArray[np.float64] | None
    """Simulator states before each action, shape (T, N, S); for episodes or games that are replayed
    for films, their number and step, so S is 2. NaN where a state is unknown; None if none is
    recorded."""
    frames: NDArray[np.uint8] | None = None
    """Pictures before each action, preceded by those of K earlier steps, which are black where the
    episode had not begun, shape (K + T, N, C, H, W); None without pictures."""
    journals: Journals = field(default_factory=dict)
    """The episodes or games in ``states``."""
    next_observations: NDArray[np.float32] | None = None
    """Observations after each action, including an episode's last one, shape (T, N, O); None if
    they are not recorded."""
    ended: NDArray[np.bool_] | None = None
    """Whether the environment itself, not a time limit, ended the episode with the step, shape
    (T, N). None counts as nowhere."""
    final_states: NDArray[np.float64] | None = None
    """Simulator states after the steps that ended an episode, zeros elsewhere, shape (T, N, S);
    None if none is recorded."""

    @property
    def n_before(self) -> int:
        """Number of earlier steps with pictures (K)."""
        return 0 if self.frames is None else len(self.frames) - len(self.dones)
