"""Asking: which pairs of segments are put to the labeller."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from prefrl.control.items import Items, Truth
from prefrl.control.segments import Segment, SegmentPool
from prefrl.core.comparisons import Query
from prefrl.core.ensemble import RewardModel, member_preferences
from prefrl.core.selection import SELECTIONS, Candidates, disagreement_scores
from prefrl.core.store import LabelStore
from prefrl.errors import ConfigError

__all__ = ["QueryConfig", "Questioner", "disagreement_of_rollout"]

SelectionName = Literal[
    "uniform",
    "disagreement",
    "entropy",
    "k_center",
    "k_center_disagreement",
    "k_center_entropy",
]


@dataclass(frozen=True)
class QueryConfig:
    """Which pairs are put to the labeller."""

    selection: SelectionName = "disagreement"
    """How pairs are chosen among candidates; k_center spreads them out."""
    oversampling: int = 10
    """Candidate pairs drawn for each pair that is asked."""
    pool_size: int = 2000
    """Newest segments from which candidates are drawn."""
    pool_bytes: int = 2**29
    """Bytes that they may take in memory; beyond them there are fewer."""
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
        if self.max_open < 1:
            raise ConfigError(f"max_open must be at least 1 query, got {self.max_open}.")
        if self.oversampling < 1 or not 2 <= self.warmup_segments <= self.pool_size:
            raise ConfigError(
                "expected oversampling >= 1 and 2 <= warmup_segments <= pool_size, got "
                f"{self.oversampling}, {self.warmup_segments} and {self.pool_size}."
            )


class Questioner:
    """Chooses pairs of segments and stores them as queries; who answers them is not its business.

    Args:
        pool: Where candidates come from.
        items: Where the segments that are asked about are kept.
        store: Where queries are kept.
        config: Settings.
        rng: Source of candidates and of left and right.
        typical_return: The margin of B-Pref's teachers at this moment, kept with each segment.
    """

    def __init__(
        self,
        pool: SegmentPool,
        items: Items,
        store: LabelStore,
        *,
        config: QueryConfig,
        rng: np.random.Generator,
        typical_return: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self.asked: dict[str, Query] = {}
        """All queries so far, by id, in the order of asking."""
        self._pairs: set[frozenset[str]] = set()
        self._pool = pool
        self._items = items
        self._store = store
        self._config = config
        self._rng = rng
        self._typical_return = typical_return

    def recall(self, queries: Iterable[Query]) -> None:
        """Takes queries that were asked before as asked, so that no pair is asked twice."""
        for query in queries:
            self.asked[query.id] = query
            self._pairs.add(frozenset((query.left, query.right)))

    def ask(self, n: int, model: RewardModel, *, env_steps: int) -> int:
        """Stores up to n queries about segments of the pool.

        Args:
            n: Queries wanted.
            model: Judges how informative a pair would be.
            env_steps: Environment steps of the run so far.

        Returns:
            How many were asked: fewer when the pool holds too few pairs.
        """
        first_round = not self.asked
        drawn = n if first_round else n * self._config.oversampling
        pairs = self._pool.random_pairs(drawn, self._pairs, self._rng)
        n = min(n, len(pairs))
        if n == 0:
            return 0
        if first_round:
            # An ensemble that has not been fitted knows nothing (B-Pref's first round is uniform).
            chosen, priorities = pairs[:n], [0.0] * n
        else:
            chosen, priorities = self._choose(pairs, n, model)
        typical_return = self._typical_return()
        self._items.keep(
            [
                (segment, Truth(self._pool.true_rewards(segment), typical_return))
                for pair in chosen
                for segment in pair
            ]
        )
        queries = [Query(_query_id(left, right), left.id, right.id) for left, right in chosen]
        self._store.add_queries(queries, env_steps=env_steps, priorities=priorities)
        self.recall(queries)
        return n

    def _choose(
        self, pairs: Sequence[tuple[Segment, Segment]], n: int, model: RewardModel
    ) -> tuple[list[tuple[Segment, Segment]], list[float]]:
        lefts, rights = [left for left, _ in pairs], [right for _, right in pairs]
        preferences = member_preferences(model, lefts, rights).numpy()  # (M, C)
        candidates = Candidates(
            preferences=preferences,
            features=lambda: _features(pairs),
            labelled_features=lambda: _features(
                [(self._items[q.left], self._items[q.right]) for q in self.asked.values()]
            ),
        )
        chosen = SELECTIONS[self._config.selection](candidates, n, self._rng)
        priorities = disagreement_scores(preferences)[chosen]
        return [pairs[i] for i in chosen], priorities.astype(float).tolist()


def _query_id(left: Segment, right: Segment) -> str:
    """A name that the pair alone decides: asked again after a restart, it is the same query."""
    return "q" + hashlib.blake2b(f"{left.id} {right.id}".encode(), digest_size=8).hexdigest()


def _features(pairs: Sequence[tuple[Segment, Segment]]) -> NDArray[np.float32]:
    """Raw observations of both segments in a row, as in B-Pref; of pictures every fourth pixel."""
    return np.stack(
        [np.concatenate([_features_of(left), _features_of(right)]) for left, right in pairs]
    )


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
