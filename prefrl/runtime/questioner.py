"""The questioner: which items to ask about, in pairs or rankings, and how many."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from prefrl.core.comparisons import Item, Query
from prefrl.core.ensemble import RewardModel, member_preferences
from prefrl.core.selection import (
    SELECTIONS,
    Candidates,
    Selection,
    disagreement_scores,
    selection_rule,
)
from prefrl.core.store import LabelStore

__all__ = ["Asking", "Candidate", "CandidateSource", "Questioner", "n_pairs"]

Candidate = tuple[Any, ...]
"""Items that might be asked about: two for a pair, or K for a ranking."""


_MOST_CANDIDATES_AT_FIRST = 2000
"""Limits the first round, which may have hundreds of queries: k-center holds the features of all
candidates in memory."""


def n_pairs(ranked: int) -> int:
    """Number of comparisons in a ranking: all pairs of its items."""
    return ranked * (ranked - 1) // 2


class Asking(Protocol):
    """Settings that the questioner reads."""

    @property
    def selection(self) -> Selection:
        """How pairs are chosen from the candidates."""
        ...

    @property
    def ranked(self) -> int:
        """Items per query: 2, or K that are ranked."""
        ...

    @property
    def oversampling(self) -> int:
        """Candidates drawn for each query."""
        ...

    @property
    def max_open(self) -> int:
        """Most queries that may wait for an answer."""
        ...


class CandidateSource(Protocol):
    """Source of candidates, and keeper of those that are asked about."""

    def random_candidates(
        self, n: int, size: int, asked: Collection[frozenset[str]], rng: np.random.Generator
    ) -> Sequence[Candidate]:
        """Draws up to n candidates.

        Args:
            n: Most candidates to draw.
            size: Number of different items in each.
            asked: Pairs of items that were asked about, which no candidate may contain.
            rng: Random number generator.
        """
        ...

    def keep(self, items: Sequence[Any]) -> None:
        """Stores items permanently; when this returns, queries may refer to them."""
        ...

    def kept(self, item_id: str) -> Any:
        """Returns an item that was kept."""
        ...

    def features(self, candidates: Sequence[Candidate]) -> NDArray[np.floating]:
        """Returns the features that k-center spreads out, shape (C, F)."""
        ...

    def strata(self, candidates: Sequence[Candidate]) -> NDArray[np.integer]:
        """Returns the kind of each candidate, as a number, shape (C,).

        Each kind is asked about as often as it is drawn; the selection chooses within it.
        """
        ...


class Questioner:
    """Chooses items and stores their pairs as queries, whoever answers them.

    Args:
        source: Source of candidates.
        store: Label store that receives the queries.
        config: Settings.
        rng: Random number generator for drawing and choosing candidates.
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
        """Number of queries that were due but dropped, because too many were open."""
        self._n_due = 0
        self._pairs: set[frozenset[str]] = set()
        self._source = source
        self._store = store
        self._config = config
        self._rng = rng
        self._rule = selection_rule(config.selection)
        name = config.selection
        self._spreads_out = isinstance(name, str) and name.startswith("k_center")
        # Rules that use the members' preferences need another rule until there are any.
        at_a_loss = isinstance(name, str) and name.endswith(("disagreement", "entropy"))
        self._blind_rule = SELECTIONS["k_center"] if at_a_loss else self._rule

    def recall(self, queries: Iterable[Query]) -> None:
        """Registers queries of an earlier process, so that no pair is asked twice."""
        for query in queries:
            self.asked[query.id] = query
            self._pairs.add(frozenset((query.left, query.right)))

    def ask_due(self, due: int, model: RewardModel | None, *, run_steps: int) -> bool:
        """Asks the queries that are due; drops and counts those for which too many are open.

        Args:
            due: Total number of queries that should have been asked by now.
            model: Judges how informative a pair would be; None as for ``ask``.
            run_steps: Steps of the run so far.

        Returns:
            Whether anything was asked.
        """
        missing = due - len(self.asked)
        if missing <= 0:
            return False
        room = max(0, self._config.max_open - self._store.counts().open)
        if missing > room:
            # A dropped query stays due: it will be asked about newer items once there is room.
            self.n_dropped += min(missing - room, due - self._n_due)
        self._n_due = due
        return self.ask(min(missing, room), model, run_steps=run_steps) > 0

    def ask(self, n: int, model: RewardModel | None, *, run_steps: int) -> int:
        """Chooses candidates and stores up to n queries about them.

        Args:
            n: Number of queries wanted; a ranking is asked with all its pairs or not at all.
            model: Judges how informative a pair would be. None if no answer has preferred anything
                so far: then rules that use the members' preferences choose what differs most from
                earlier queries.
            run_steps: Steps of the run so far.

        Returns:
            Number of queries stored; fewer than n if there are too few candidates.
        """
        first_round, size = not self.asked, self._config.ranked
        uniform = first_round and not self._spreads_out
        n //= n_pairs(size)
        drawn = n if uniform else n * self._config.oversampling
        if first_round:
            drawn = max(n, min(drawn, _MOST_CANDIDATES_AT_FIRST))
        found = self._source.random_candidates(drawn, size, self._pairs, self._rng)
        n = min(n, len(found))
        if n == 0:
            return 0
        if first_round:
            chosen, priorities = self._choose_first(found, n), [0.0] * n
        else:
            chosen, priorities = self._choose(found, n, model)
        self._source.keep([item for candidate in chosen for item in candidate])
        queries = [query for candidate in chosen for query in _queries(candidate)]
        priorities = [priority for priority in priorities for _ in range(n_pairs(size))]
        self._store.add_queries(queries, run_steps=run_steps, priorities=priorities)
        self.recall(queries)
        return len(queries)

    def ask_about(self, pairs: Sequence[Candidate], run_steps: int) -> int:
        """Stores queries about given pairs, with the highest priority; omits pairs asked before.

        Args:
            pairs: Two items each.
            run_steps: Steps of the run so far.

        Returns:
            Number of queries stored.
        """
        # A pair that is given twice, in either order, is asked once.
        together: dict[frozenset[str], Candidate] = {}
        for left, right in pairs:
            together.setdefault(frozenset((left.id, right.id)), (left, right))
        new = [pair for ids, pair in together.items() if ids not in self._pairs]
        room = max(0, self._config.max_open - self._store.counts().open)
        queries = [query for pair in new[:room] for query in _queries(pair)]
        if queries:
            self._source.keep([item for pair in new[:room] for item in pair])
            priorities = [1.0] * len(queries)
            self._store.add_queries(queries, run_steps=run_steps, priorities=priorities)
            self.recall(queries)
        return len(queries)

    def _choose_first(self, found: Sequence[Candidate], n: int) -> list[Candidate]:
        """Chooses the first round without the ensemble, which has not been fitted yet.

        As in B-Pref, the round is uniform, unless the rule spreads candidates out, which needs no
        ensemble.
        """
        return self._choose_blindly(found, n) if self._spreads_out else list(found[:n])

    def _choose_blindly(self, found: Sequence[Candidate], n: int) -> list[Candidate]:
        """Chooses without the members' preferences."""
        source, asked = self._source, self._asked_together()
        candidates = Candidates(
            np.full((1, len(found)), 0.5),
            features=lambda: source.features(found),
            labelled_features=(lambda: source.features(asked)) if asked else None,
            items=found,
        )
        return [found[i] for i in self._blind_rule(candidates, n, self._rng)]

    def _choose(
        self, found: Sequence[Candidate], n: int, model: RewardModel | None
    ) -> tuple[list[Candidate], list[float]]:
        if model is None:
            return self._choose_blindly(found, n), [0.0] * n
        pairs = [pair for one in found for pair in itertools.combinations(one, 2)]
        lefts, rights = [left for left, _ in pairs], [right for _, right in pairs]
        preferences = member_preferences(model, lefts, rights).numpy()  # (M, C * P)
        if len(pairs) > len(found):
            preferences = preferences.reshape(len(preferences), len(found), -1)  # (M, C, P)
        chosen = np.concatenate(
            [
                self._choose_among(places, [found[i] for i in places], wanted, preferences)
                for places, wanted in self._by_stratum(found, n)
            ]
        )
        priorities = disagreement_scores(preferences)[chosen]
        return [found[i] for i in chosen], priorities.astype(float).tolist()

    def _by_stratum(self, found: Sequence[Candidate], n: int) -> list[tuple[NDArray[np.intp], int]]:
        """Returns the positions of each kind's candidates, and how many of the n to choose of it.

        Members may agree and be wrong about a kind; a rule that looks for disagreement would never
        ask about it.
        """
        strata = self._source.strata(found)
        kinds = np.unique(strata)
        if len(kinds) == 1:
            return [(np.arange(len(found)), n)]
        drawn = strata[self._rng.choice(len(found), size=n, replace=False)]
        counts = [int((drawn == kind).sum()) for kind in kinds]
        return [
            (np.flatnonzero(strata == kind), count)
            for kind, count in zip(kinds, counts, strict=True)
            if count
        ]

    def _choose_among(
        self,
        places: NDArray[np.intp],
        found: Sequence[Candidate],
        n: int,
        preferences: NDArray[np.floating],
    ) -> NDArray[np.intp]:
        """Returns the positions of n chosen among some candidates.

        Args:
            places: Positions of these candidates among all.
            found: The candidates themselves.
            n: How many to choose.
            preferences: The members' preferences for all candidates, shape (M, C[, P]).
        """
        source = self._source
        candidates = Candidates(
            preferences=preferences[:, places],
            features=lambda: source.features(found),
            labelled_features=lambda: source.features(self._asked_together()),
            items=found,
        )
        return places[self._rule(candidates, n, self._rng)]

    def _asked_together(self) -> list[Candidate]:
        """Returns the items of each earlier query or group that has the present size."""
        together: dict[str, dict[str, None]] = {}
        for query in self.asked.values():
            ids = together.setdefault(query.group or query.id, {})
            ids |= dict.fromkeys((query.left, query.right))
        size = self._config.ranked
        return [tuple(map(self._source.kept, ids)) for ids in together.values() if len(ids) == size]

    def state_dict(self) -> dict[str, Any]:
        """The state for a checkpoint."""
        return {
            "asked": [[q.id, q.left, q.right, q.group] for q in self.asked.values()],
            "n_due": self._n_due,
            "n_dropped": self.n_dropped,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores a state."""
        self.recall(Query(*row) for row in state["asked"])
        self._n_due, self.n_dropped = state["n_due"], state["n_dropped"]


def _queries(candidate: Candidate) -> list[Query]:
    """Makes queries for all pairs of a candidate; more than two items form a group."""
    group = None if len(candidate) == 2 else _name("g", candidate)
    return [
        Query(_name("q", (left, right)), left.id, right.id, group)
        for left, right in itertools.combinations(candidate, 2)
    ]


def _name(kind: str, items: Sequence[Item]) -> str:
    """Makes a name from the items alone, so that a query repeated after a restart has the same."""
    ids = " ".join(item.id for item in items)
    return kind + hashlib.blake2b(ids.encode(), digest_size=8).hexdigest()
