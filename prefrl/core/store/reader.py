"""The reading half of the label store; nothing here writes."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from prefrl.core.comparisons import Answer, Comparison, Query
from prefrl.core.store.database import Database
from prefrl.core.store.labels import Counts, LabelChange, LabelEvent, labels_of
from prefrl.core.store.leases import IS_OPEN, URGENCY
from prefrl.core.store.ledger import as_event, as_query
from prefrl.core.store.schema import CURRENT, EVENT, QUERY

__all__ = ["LabelReader"]


class LabelReader:
    """The reading half of ``LabelStore``.

    Args:
        database: Database of the store.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def open_queries(self, limit: int) -> list[Query]:
        """Returns queries without a current answer from anyone, leased or not.

        Args:
            limit: Most queries to return.

        Returns:
            The queries, ordered by priority (highest first), then age (oldest first), then id.
        """
        most_urgent = sa.select(QUERY).where(IS_OPEN).order_by(*URGENCY).limit(limit)
        return [as_query(row) for row in self._database.rows(most_urgent)]

    def queries(self) -> list[Query]:
        """Returns all queries, the oldest first."""
        oldest_first = sa.select(QUERY).order_by(QUERY.c.created_at, QUERY.c.id)
        return [as_query(row) for row in self._database.rows(oldest_first)]

    def find(self, names: Sequence[str]) -> list[Query]:
        """Returns the queries with these ids and all queries of groups with these names, by id."""
        named = sa.select(QUERY).where(sa.or_(QUERY.c.id.in_(names), QUERY.c.group_id.in_(names)))
        return [as_query(row) for row in self._database.rows(named.order_by(QUERY.c.id))]

    def events(self, *, since: int = 0) -> list[LabelEvent]:
        """Returns all events after the one with the id ``since``, in their order."""
        newer = sa.select(EVENT).where(EVENT.c.id > since).order_by(EVENT.c.id)
        return [as_event(row) for row in self._database.rows(newer)]

    def changes(self, since: int = 0, limit: int | None = None) -> list[LabelChange]:
        """Returns changes of labels, for a reader that keeps a dict up to date.

        Applied in order to a dict by query id and annotator, where None removes an entry, the
        changes up to an event give the current labels as of that event.

        Args:
            since: Id of the last event that the reader has applied.
            limit: Most events to read.

        Returns:
            The changes in the order of the events, with all changes of an event; the last id is the
            next ``since``. Empty if there is no newer event.
        """
        old = EVENT.alias("old")
        newer = (
            sa.select(
                EVENT,
                *(QUERY.c.left_item, QUERY.c.right_item, QUERY.c.group_id),
                old.c.annotator_id.label("whose"),
            )
            .join(QUERY, QUERY.c.id == EVENT.c.query_id)
            .outerjoin(old, old.c.id == EVENT.c.supersedes)
            .where(EVENT.c.id > since)
            .order_by(EVENT.c.id)
            .limit(limit)
        )
        found = list[LabelChange]()
        for row in self._database.rows(newer):
            event, pair = as_event(row), (row.query_id, row.left_item, row.right_item)
            query = Query(*pair, row.group_id)
            found += [LabelChange(event.id, query, *label) for label in labels_of(event, row.whose)]
        return found

    def annotators(self) -> list[str]:
        """Returns the annotators with current answers, skips included, ordered by name."""
        names = sa.select(CURRENT.c.annotator_id).where(CURRENT.c.answer.is_not(None)).distinct()
        return sorted(row.annotator_id for row in self._database.rows(names))

    def comparisons(
        self, *, since: int = 0, annotator: str | None = None
    ) -> list[tuple[int, Comparison]]:
        """Returns current answers with the ids of their events, skips included.

        A query appears once per annotator, and again in a later call if there is a newer answer,
        which then counts. Withdrawn answers are not reported; for these, use ``changes``.

        Args:
            since: Omit events up to this id.
            annotator: Only the answers of this annotator; None for all.

        Returns:
            The answers in the order of the event ids; the last id is the next ``since``.
        """
        answers = (
            sa.select(CURRENT.c.event_id, CURRENT.c.answer, QUERY)
            .join(QUERY, QUERY.c.id == CURRENT.c.query_id)
            .where(CURRENT.c.event_id > since, CURRENT.c.answer.is_not(None))
            .order_by(CURRENT.c.event_id)
        )
        if annotator is not None:
            answers = answers.where(CURRENT.c.annotator_id == annotator)
        rows = self._database.rows(answers)
        return [(row.event_id, Comparison(as_query(row), Answer(row.answer))) for row in rows]

    def most_urgent_answers(self, n: int) -> list[tuple[Comparison, float]]:
        """Returns n current answers to the queries of the highest priority, with this priority."""
        answers = (
            sa.select(CURRENT.c.answer, QUERY)
            .join(QUERY, QUERY.c.id == CURRENT.c.query_id)
            .where(CURRENT.c.answer.is_not(None))
            .order_by(*URGENCY, CURRENT.c.event_id)
            .limit(n)
        )
        rows = self._database.rows(answers)
        return [(Comparison(as_query(row), Answer(row.answer)), row.priority) for row in rows]

    def counts(self) -> Counts:
        """Counts all, answered, skipped and open queries at one moment."""
        by_state = sa.select(QUERY.c.state, sa.func.count().label("n")).group_by(QUERY.c.state)
        n = {"answered": 0, "skipped": 0, "open": 0}
        n.update((row.state, row.n) for row in self._database.rows(by_state))
        return Counts(queries=sum(n.values()), **n)
