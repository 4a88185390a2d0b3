"""The oracle as a labeller: it uses the same calls of the label store as a person's page."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping

from prefrl.core.comparisons import Item
from prefrl.core.oracle import Oracle
from prefrl.core.store import LabelEvent, LabelStore, Submission
from prefrl.core.store.labels import ORACLE

__all__ = ["Labeller"]

_BATCH = 64


class Labeller:
    """Answers open queries with an oracle.

    Args:
        store: Label store with the queries, which receives the answers.
        items: The compared items by id.
        oracle: Gives the answers.
        annotator_id: Annotator in whose name they are stored.
    """

    def __init__(
        self,
        store: LabelStore,
        items: Mapping[str, Item],
        oracle: Oracle,
        *,
        annotator_id: str = ORACLE,
    ) -> None:
        self.n_answered = 0
        """Number of answers that this object has given."""
        self._store = store
        self._items = items
        self._oracle = oracle
        self._annotator_id = annotator_id

    def step(self, beat: Callable[[], None] = lambda: None) -> list[LabelEvent]:
        """Answers the most urgent queries that nobody else holds.

        Args:
            beat: Called before each answer.

        Returns:
            The stored answers, as the store has acknowledged them; empty if no query is open.
        """
        leases = self._store.lease(self._annotator_id, n=_BATCH)
        answers = []
        for lease in leases:
            beat()
            query = lease.query
            answer = self._oracle.compare(self._items[query.left], self._items[query.right])
            answers.append(
                Submission(
                    query_id=query.id,
                    answer=answer,
                    # A new key each time: a query whose answer was withdrawn is answered again.
                    submission_key=f"{query.id}/{uuid.uuid4().hex}",
                    annotator_id=self._annotator_id,
                )
            )
        stored = self._store.submit_many(answers) if answers else []
        self.n_answered += len(answers)
        return stored
