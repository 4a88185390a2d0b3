"""Segments: fixed-length pieces of trajectories, cut from rollouts, kept in a bounded pool."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Segment"]


@dataclass(frozen=True, eq=False)
class Segment:
    """A fixed-length piece of one episode: data only, and no true reward.

    The true reward is kept apart on purpose: only an oracle or an evaluation may ask for it, by the
    segment's id.
    """

    id: str
    """A name that is unique within a run."""
    observations: NDArray[np.float32]
    """What the agent saw before each action, flattened, shape (T, O)."""
    actions: NDArray[np.float32]
    """What it did: shape (T, A); discrete actions are one-hot."""
    states: NDArray[np.float64] | None = None
    """Simulator states before each action, shape (T, S), for films; None where unknown."""
    end_step: int = 0
    """Environment steps of the whole run when the segment ended."""

    def __len__(self) -> int:
        return len(self.observations)
