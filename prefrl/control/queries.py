"""Which pairs of segments are put to the labeller: settings, and where candidates come from."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from prefrl.control.items import Items, Truth
from prefrl.control.segments import Segment, SegmentPool
from prefrl.core.selection import SELECTIONS
from prefrl.errors import ConfigError
from prefrl.runtime.questioner import Candidate, SelectionName, n_pairs

__all__ = ["QueryConfig", "SegmentSource", "disagreement_of_rollout"]


@dataclass(frozen=True)
class QueryConfig:
    """Which pairs are put to the labeller."""

    selection: SelectionName = "disagreement"
    """How pairs are chosen among candidates; k_center spreads them out."""
    ranked: int = 2
    """Segments that are compared at once: a pair, or K that are ranked, which give K (K - 1) / 2
    labels."""
    oversampling: int = 10
    """Candidates drawn for each one that is asked."""
    pool_size: int = 2000
    """Newest segments from which candidates are drawn."""
    pool_bytes: int = 2**29
    """Bytes that they may take in memory; beyond them there are fewer. As many may those take that
    were asked about, in the agent and in the learner; beyond them they are read from disk."""
    warmup_segments: int = 40
    """Segments to collect from the untrained agent before the first labels are asked for."""
    max_open: int = 250
    """Queries that wait for an answer at most; what is due beyond them is dropped and counted."""

    def __post_init__(self) -> None:
        if self.selection not in SELECTIONS:
            raise ConfigError(
                f"expected selection to be one of {', '.join(SELECTIONS)}, got {self.selection!r}."
            )
        if self.pool_bytes < 1:
            raise ConfigError(f"pool_bytes must be at least 1, got {self.pool_bytes}.")
        if not 2 <= self.ranked <= self.warmup_segments:
            raise ConfigError(
                f"expected 2 <= ranked <= warmup_segments, got {self.ranked} and "
                f"{self.warmup_segments}."
            )
        if self.max_open < n_pairs(self.ranked):
            raise ConfigError(
                f"max_open must be at least {n_pairs(self.ranked)}, the queries of what is asked "
                f"at once, got {self.max_open}; else nothing would ever be asked."
            )
        if self.oversampling < 1 or not 2 <= self.warmup_segments <= self.pool_size:
            raise ConfigError(
                "expected oversampling >= 1 and 2 <= warmup_segments <= pool_size, got "
                f"{self.oversampling}, {self.warmup_segments} and {self.pool_size}."
            )


class SegmentSource:
    """Segments that might be asked about: those of the pool, kept with their true rewards.

    Args:
        pool: Where candidates come from.
        items: Where the segments that are asked about are kept.
        typical_return: The margin of B-Pref's teachers at this moment, kept with each segment.
    """

    def __init__(
        self, pool: SegmentPool, items: Items, typical_return: Callable[[], float] = lambda: 0.0
    ) -> None:
        self._pool = pool
        self._items = items
        self._typical_return = typical_return

    def random_candidates(
        self, n: int, size: int, asked: Collection[frozenset[str]], rng: np.random.Generator
    ) -> list[Candidate]:
        """Up to n candidates of different segments, of which no two were asked together."""
        return list(self._pool.random_candidates(n, size, asked, rng))

    def keep(self, items: Sequence[Segment]) -> None:
        """Keeps segments, and apart from them what only oracles may know."""
        typical_return = self._typical_return()
        self._items.keep([(s, Truth(self._pool.true_rewards(s), typical_return)) for s in items])

    def kept(self, item_id: str) -> Segment:
        """A segment that was kept."""
        return self._items[item_id]

    def features(self, candidates: Sequence[Candidate]) -> NDArray[np.floating]:
        """Raw observations of the segments in a row, as in B-Pref; of pictures every 4th pixel."""
        return np.stack([np.concatenate(list(map(_features_of, one))) for one in candidates])


def _features_of(segment: Segment) -> NDArray[np.float32]:
    numbers = segment.observations.ravel()
    if segment.frames is None:
        return numbers
    coarse = segment.frames.unpack()[-len(segment) :, :, ::4, ::4]
    return np.concatenate([numbers, coarse.ravel().astype(np.float32)])


def disagreement_of_rollout(raw_rewards: NDArray[np.float32], segment_length: int) -> float:
    """Mean disagreement over neighbouring pairs of stretches of a scored rollout.

    Args:
        raw_rewards: Raw step rewards of the members, shape (M, T, N).
        segment_length: Steps per stretch.

    Returns:
        Mean over pairs of the standard deviation over members of the preference; NaN when the
        rollout holds fewer than two stretches.
    """
    n_members, n_steps, n_envs = raw_rewards.shape
    n_rows = n_steps // segment_length
    if n_rows * n_envs < 2:
        return math.nan
    stretches = raw_rewards[:, : n_rows * segment_length].reshape(
        n_members, n_rows, segment_length, n_envs
    )
    scores = stretches.sum(2).reshape(n_members, -1)
    margins = np.clip(scores[:, 1:] - scores[:, :-1], -60, 60)
    return float((1 / (1 + np.exp(-margins))).std(0).mean())
