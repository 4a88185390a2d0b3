"""Asking: which pairs of segments to put to the labeller, and what it answered."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from prefrl.control.segments import Segment, SegmentPool, save_segment
from prefrl.core.comparisons import Comparison, Query
from prefrl.core.ensemble import RewardModel, member_preferences
from prefrl.core.oracle import Oracle
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
    warmup_segments: int = 40
    """Segments to collect from the untrained agent before the first labels are asked for."""

    def __post_init__(self) -> None:
        if self.selection not in SELECTIONS:
            raise ConfigError(
                f"expected selection to be one of {', '.join(SELECTIONS)}, got {self.selection!r}."
            )
        if self.oversampling < 1 or not 2 <= self.warmup_segments <= self.pool_size:
            raise ConfigError(
                "expected oversampling >= 1 and 2 <= warmup_segments <= pool_size, got "
                f"{self.oversampling}, {self.warmup_segments} and {self.pool_size}."
            )


class Questioner:
    """Chooses pairs, stores them as queries, and has the oracle answer them.

    Args:
        pool: Where candidates come from.
        oracle: Who answers.
        store: Where queries and answers are kept.
        config: Settings.
        rng: Source of candidates and of left and right.
        items_path: Folder for the segments that are asked about; None keeps them in memory only.
    """

    def __init__(
        self,
        pool: SegmentPool,
        oracle: Oracle,
        store: LabelStore,
        *,
        config: QueryConfig,
        rng: np.random.Generator,
        items_path: Path | None = None,
    ) -> None:
        self.comparisons: list[Comparison] = []
        """All answers so far, skips included, in the order of asking."""
        self.disagreement: dict[str, float] = {}
        """Disagreement of the members when a query was asked, by the query's id."""
        self._pool = pool
        self._oracle = oracle
        self._store = store
        self._config = config
        self._rng = rng
        self._items_path = items_path
        self._asked: set[frozenset[str]] = set()
        self._cursor = 0

    def ask(self, n: int, model: RewardModel, *, env_steps: int) -> int:
        """Asks up to n queries about segments of the pool, and takes in the answers.

        Args:
            n: Queries wanted.
            model: Judges how informative a pair would be.
            env_steps: Environment steps of the run so far.

        Returns:
            How many were asked: fewer when the pool holds too few pairs.
        """
        first_round = not self._asked
        drawn = n if first_round else n * self._config.oversampling
        pairs = self._pool.random_pairs(drawn, self._asked, self._rng)
        n = min(n, len(pairs))
        if n == 0:
            return 0
        if first_round:
            # An ensemble that has not been fitted knows nothing (B-Pref's first round is uniform).
            chosen, priorities = pairs[:n], [0.0] * n
        else:
            chosen, priorities = self._choose(pairs, n, model)
        first = len(self._asked)
        queries = [
            Query(id=f"q{first + i:06d}", left=left.id, right=right.id)
            for i, (left, right) in enumerate(chosen)
        ]
        for left, right in chosen:
            self._keep(left, right)
        self.disagreement.update(zip((q.id for q in queries), priorities, strict=True))
        self._store.add_queries(queries, env_steps=env_steps, priorities=priorities)
        for query, (left, right) in zip(queries, chosen, strict=True):
            answer = self._oracle.compare(left, right)
            self._store.submit(
                query.id, answer, submission_key=f"{query.id}/oracle", annotator_id="oracle"
            )
        self._take_answers()
        return n

    def _choose(
        self, pairs: Sequence[tuple[Segment, Segment]], n: int, model: RewardModel
    ) -> tuple[list[tuple[Segment, Segment]], list[float]]:
        lefts, rights = [left for left, _ in pairs], [right for _, right in pairs]
        preferences = member_preferences(model, lefts, rights).numpy()  # (M, C)
        kept, asked = self._pool.kept, [c.query for c in self.comparisons]
        candidates = Candidates(
            preferences=preferences,
            features=lambda: _features(pairs),
            labelled_features=lambda: _features([(kept[q.left], kept[q.right]) for q in asked]),
        )
        chosen = SELECTIONS[self._config.selection](candidates, n, self._rng)
        priorities = disagreement_scores(preferences)[chosen]
        return [pairs[i] for i in chosen], priorities.astype(float).tolist()

    def _keep(self, *segments: Segment) -> None:
        for segment in segments:
            if self._items_path is not None and segment.id not in self._pool.kept:
                save_segment(self._items_path / f"{segment.id}.npz", segment)
        self._pool.keep(*segments)
        self._asked.add(frozenset(segment.id for segment in segments))

    def _take_answers(self) -> None:
        for event_id, comparison in self._store.comparisons(since=self._cursor):
            self.comparisons.append(comparison)
            self._cursor = max(self._cursor, event_id)


def _features(pairs: Sequence[tuple[Segment, Segment]]) -> NDArray[np.float32]:
    """Raw observations of both segments in one row, shape (C, 2 T O), as in B-Pref."""
    return np.stack(
        [np.concatenate([left.observations, right.observations]).ravel() for left, right in pairs]
    )


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
