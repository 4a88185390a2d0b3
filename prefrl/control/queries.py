"""Queries about segments: their settings, and the source of candidates."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from numpy.typing import NDArray

from prefrl.control.items import Items, Truth
from prefrl.control.pool import SegmentPool, SegmentReservoir
from prefrl.control.segments import Segment
from prefrl.core.selection import SELECTIONS, Selection, selection_rule
from prefrl.errors import ConfigError
from prefrl.runtime.options import named_option
from prefrl.runtime.questioner import Candidate, n_pairs

__all__ = ["QueryConfig", "SegmentSource", "disagreement_of_rollout", "segment_pool"]

_SMALLEST_SCALE = 1e-6


@dataclass(frozen=True)
class QueryConfig:
    """Which pairs are asked about."""

    selection: Annotated[Selection, named_option(SELECTIONS)] = "disagreement"
    """How pairs are chosen from the candidates; the k_center rules spread them out. Or your own
    rule, as module:name."""
    ranked: int = 2
    """Segments per query: 2 are compared as a pair; K > 2 are ranked, which gives K (K - 1) / 2
    labels."""
    oversampling: int = 10
    """Candidates drawn for each query."""
    pool_size: int = 2000
    """Newest segments from which candidates are drawn."""
    pool_bytes: int = 2**29
    """Memory for these segments, in bytes; if they need more, fewer are kept. The segments that
    were asked about may take the same amount again, in the agent and in the learner; beyond that
    they are read from disk. With a history_share, half of the memory is for the history."""
    history_share: float = 0.0
    """Share of the candidates drawn from the whole history instead of the newest segments. The
    history keeps as many segments as there are newest ones."""
    early_share: float = 0.0
    """On average, at least this share of the candidates' segments start within the first two
    segment lengths of their episode, if there are enough such segments."""
    ending_share: float = 0.5
    """On average, at least this share of the candidates' segments show how an episode ended, if
    there are enough such segments: people often judge by the end."""
    over_share: float = 0.3
    """If episodes end: average share of the queries in which one side shows only that the episode
    is over, which is worth nothing. The answer says whether the other side is worth more than that.
    These queries are asked even if all members agree, since all may be wrong."""
    standardize_features: bool = False
    """Divide the features that k_center spreads out by their standard deviation over the newest
    segments. Otherwise large numbers, such as velocities, decide. Not for pictures."""
    warmup_segments: int = 40
    """Segments to collect from the untrained agent before the first labels are asked for."""
    max_open: int = 250
    """Most queries that may wait for an answer; further queries are dropped and counted."""

    def __post_init__(self) -> None:
        selection_rule(self.selection)
        for name in ("history_share", "early_share", "ending_share", "over_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"{name} is a share in [0, 1], got {getattr(self, name)}.")
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


def segment_pool(config: QueryConfig, rng: np.random.Generator) -> SegmentPool:
    """Makes an empty pool of segments, from which candidates are drawn.

    Args:
        config: Settings.
        rng: Random number generator for the sample of the history, if there is one.
    """
    if not config.history_share:
        return SegmentPool(config.pool_size, max_bytes=config.pool_bytes)
    half = config.pool_bytes // 2
    history = SegmentReservoir(config.pool_size, max_bytes=half, rng=rng)
    return SegmentPool(config.pool_size, max_bytes=half, history=history)


class SegmentSource:
    """Segments that might be asked about: those of the pool, kept with their true rewards.

    Args:
        pool: Pool from which candidates are drawn.
        items: Keeps the segments that are asked about.
        config: Settings of candidates and their features.
        typical_return: Returns the present margin of B-Pref's teachers, kept with each segment.
    """

    def __init__(
        self,
        pool: SegmentPool,
        items: Items,
        config: QueryConfig,
        typical_return: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self._pool = pool
        self._items = items
        self._config = config
        self._typical_return = typical_return

    def random_candidates(
        self, n: int, size: int, asked: Collection[frozenset[str]], rng: np.random.Generator
    ) -> list[Candidate]:
        """Draws up to n candidates of different segments, of which no two were asked together."""
        shares = {
            "history_share": self._config.history_share,
            "early_share": self._config.early_share,
            "ending_share": self._config.ending_share,
            "over_share": self._config.over_share,
        }
        return list(self._pool.random_candidates(n, size, asked, rng, **shares))

    def keep(self, items: Sequence[Segment]) -> None:
        """Keeps segments and, separately, their true rewards, which only oracles may read."""
        typical_return = self._typical_return()
        # Segments that were kept before may have left the pool.
        new = [segment for segment in items if segment.id not in self._items]
        self._items.keep([(s, Truth(self._pool.true_rewards(s), typical_return)) for s in new])

    def kept(self, item_id: str) -> Segment:
        """Returns a kept segment."""
        return self._items[item_id]

    def features(self, candidates: Sequence[Candidate]) -> NDArray[np.floating]:
        """Concatenates the segments' observations, as in B-Pref; takes every 4th pixel of pictures.

        They are raw, or divided by their standard deviation over the newest segments.
        """
        scale = self._scale() if self._config.standardize_features else np.float32(1)
        length = len(self._pool.recent(1)[0])  # segments taken along may have another length
        rows = [np.concatenate([_features_of(s, scale, length) for s in one]) for one in candidates]
        return np.stack(rows)

    def strata(self, candidates: Sequence[Candidate]) -> NDArray[np.integer]:
        """Returns whether a segment shows only that the episode is over, shape (C,)."""
        return np.array([any(s.is_over for s in one) for one in candidates], np.intp)

    def _scale(self) -> NDArray[np.float32]:
        """Returns the standard deviation of observations in the newest segments, shape (O,)."""
        newest = self._pool.recent(len(self._pool))
        std = np.concatenate([segment.observations for segment in newest]).std(0)
        return np.where(std > _SMALLEST_SCALE, std, np.float32(1))


def _features_of(
    segment: Segment, scale: NDArray[np.float32] | np.float32, length: int
) -> NDArray[np.float32]:
    """Returns features of ``length`` steps; a shorter segment repeats its last step."""
    steps = np.minimum(np.arange(length), len(segment) - 1)
    numbers = (segment.observations[steps] / scale).ravel()
    if segment.frames is None:
        return numbers
    coarse = segment.frames.unpack()[-len(segment) :][steps, :, ::4, ::4]
    return np.concatenate([numbers, coarse.ravel().astype(np.float32)])


def disagreement_of_rollout(raw_rewards: NDArray[np.float32], segment_length: int) -> float:
    """Returns the mean disagreement over neighbouring pairs of stretches of a scored rollout.

    Args:
        raw_rewards: Raw step rewards of the members, shape (M, T, N).
        segment_length: Steps per stretch.

    Returns:
        Mean over pairs of the standard deviation over members of the preference; NaN if the
        rollout has fewer than two stretches.
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
