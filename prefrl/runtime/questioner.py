"""Asking: which pairs of items are put to the labeller, and how many by now."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from prefrl.core.comparisons import Item, Query
from prefrl.core.ensemble import RewardModel, member_preferences
from prefrl.core.selection import SELECTIONS, Candidates, disagreement_scores
from prefrl.core.store import LabelStore

__all__ = ["Asking", "CandidateSource", "Pair", "Questioner", "SelectionName"]

SelectionName = Literal[
    "uniform",
    "disagreement",
    "entropy",
    "k_center",
    "k_center_disagreement",
    "k_center_entropy",
]
"""The names of ``prefrl.core.selection.SELECTIONS``."""

Pair = tuple[Any, Any]
"""Two items that might be asked about."""


class Asking(Protocol):
    """Settings that the questioner reads."""

    @property
    def selection(self) -> SelectionName:
        """How pairs are chosen among candidates."""
        ...

    @property
    def oversampling(self) -> int:
        """Candidate pairs drawn for each pair that is asked."""
        ...

    @property
    def max_open(self) -> int:
        """Queries that wait for an answer at most."""
        ...


class CandidateSource(Protocol):
    """Where candidates come from, and where those that are asked about are kept."""

    def random_pairs(
        self, n: int, asked: Collection[frozenset[str]], rng: np.random.Generator
    ) -> Sequence[Pair]:
        """Up to n different pairs of different items, without those asked."""
        ...

    def keep(self, items: Sequence[Any]) -> None:
        """Keeps items for good: when this returns, a query may name them."""
        ...

    def kept(self, item_id: str) -> Any:
        """An item that was kept."""
        ...

    def features(self, pairs: Sequence[Pair]) -> NDArray[np.floating]:
        """What k-center spreads out, shape (C, F)."""
        ...


class Questioner:
    """Chooses pairs of items and stores them as queries; who answers them is not its business.

    Args:
        source: Where candidates come from.
        store: Where queries are kept.
        config: Settings.
        rng: Source of candidates and of left and right.
    """

    def __init__(
        self,
        source: CandidateSource,
        store: LabelStore,
        *,
        config: Asking,
        rng: np.random.Generator,
    ) -> None:
        self.asked: dict[str, Query] = {}
        """All queries so far, by id, in the order of asking."""
        self.n_dropped = 0
        """Queries that were due and found no room among the open ones."""
        self._n_due = 0
        self._pairs: set[frozenset[str]] = set()
        self._source = source
        self._store = store
        self._config = config
        self._rng = rng

    def recall(self, queries: Iterable[Query]) -> None:
        """Takes queries that were asked before as asked, so that no pair is asked twice."""
        for query in queries:
            self.asked[query.id] = query
            self._pairs.add(frozenset((query.left, query.right)))

    def ask_due(self, due: int, model: RewardModel, *, run_steps: int) -> bool:
        """Asks what is due; what finds no room among the open queries is dropped and counted.

        Args:
            due: Queries that should have been asked by now, all together.
            model: Judges how informative a pair would be.
            run_steps: Steps of the run so far.

        Returns:
            Whether anything was asked.
        """
        missing = due - len(self.asked)
        if missing <= 0:
            return False
        room = max(0, self._config.max_open - self._store.counts().open)
        if missing > room:
            # A dropped query stays due: later items will take its place when there is room.
            self.n_dropped += min(missing - room, due - self._n_due)
        self._n_due = due
        return self.ask(min(missing, room), model, run_steps=run_steps) > 0

    def ask(self, n: int, model: RewardModel, *, run_steps: int) -> int:
        """Stores up to n queries about candidates.

        Args:
            n: Queries wanted.
            model: Judges how informative a pair would be.
            run_steps: Steps of the run so far.

        Returns:
            How many were asked: fewer when there are too few pairs.
        """
        first_round = not self.asked
        drawn = n if first_round else n * self._config.oversampling
        pairs = self._source.random_pairs(drawn, self._pairs, self._rng)
        n = min(n, len(pairs))
        if n == 0:
            return 0
        if first_round:
            # An ensemble that has not been fitted knows nothing (B-Pref's first round is uniform).
            chosen, priorities = list(pairs[:n]), [0.0] * n
        else:
            chosen, priorities = self._choose(pairs, n, model)
        self._source.keep([item for pair in chosen for item in pair])
        queries = [Query(_query_id(left, right), left.id, right.id) for left, right in chosen]
        self._store.add_queries(queries, run_steps=run_steps, priorities=priorities)
        self.recall(queries)
        return n

    def _choose(
        self, pairs: Sequence[Pair], n: int, model: RewardModel
    ) -> tuple[list[Pair], list[float]]:
        lefts, rights = [left for left, _ in pairs], [right for _, right in pairs]
        preferences = member_preferences(model, lefts, rights).numpy()  # (M, C)
        source = self._source
        candidates = Candidates(
            preferences=preferences,
            features=lambda: source.features(pairs),
            labelled_features=lambda: source.features(
                [(source.kept(q.left), source.kept(q.right)) for q in self.asked.values()]
            ),
        )
        chosen = SELECTIONS[self._config.selection](candidates, n, self._rng)
        priorities = disagreement_scores(preferences)[chosen]
        return [pairs[i] for i in chosen], priorities.astype(float).tolist()

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {
            "asked": [[q.id, q.left, q.right] for q in self.asked.values()],
            "n_due": self._n_due,
            "n_dropped": self.n_dropped,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes back to a state."""
        self.recall(Query(*row) for row in state["asked"])
        self._n_due, self.n_dropped = state["n_due"], state["n_dropped"]


def _query_id(left: Item, right: Item) -> str:
    """A name that the pair alone decides: asked again after a restart, it is the same query."""
    return "q" + hashlib.blake2b(f"{left.id} {right.id}".encode(), digest_size=8).hexdigest()
