"""Adding an event, and what follows from it, in one transaction."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from prefrl.core.comparisons import Answer, Query
from prefrl.core.labels import UNDO, LabelEvent, resolve
from prefrl.core.schema import CURRENT, EVENT, QUERY, TALLY
from prefrl.errors import StoreError, SubmissionConflictError

__all__ = ["add_event", "as_event", "as_query", "count", "query_row", "settle"]

_BODY = ("query_id", "answer", "annotator_id", "supersedes")


def add_event(connection: Connection, row: Mapping[str, Any]) -> LabelEvent:
    """Adds an event unless its key is there, and derives what follows.

    Args:
        connection: In a transaction that writes.
        row: All columns of an event but its id.

    Returns:
        The stored event: for a key that was used before with the same content, the old one.

    Raises:
        SubmissionConflictError: If the key was used for something else.
        StoreError: If the query or the superseded event is unknown.
    """
    body = {name: row[name] for name in _BODY}
    by_key = sa.select(EVENT).where(EVENT.c.submission_key == row["submission_key"])
    stored = connection.execute(by_key).first()
    if stored is None:
        _check_references(connection, **body)
        connection.execute(EVENT.insert().values(dict(row)))
        stored = connection.execute(by_key).one()
        settle(connection, row["query_id"])
    first = {name: stored._mapping[name] for name in _BODY}
    if first != body:
        raise SubmissionConflictError(
            f"submission key {row['submission_key']!r} was used for {first}, got it again for "
            f"{body}; make a new key each time a query is shown."
        )
    return as_event(stored)


def settle(connection: Connection, query_id: str) -> None:
    """Derives the current labels and the state of a query from its events."""
    events = connection.execute(sa.select(EVENT).where(EVENT.c.query_id == query_id)).all()
    current = resolve([as_event(row) for row in events])
    connection.execute(CURRENT.delete().where(CURRENT.c.query_id == query_id))
    rows = [
        {"query_id": query_id, "annotator_id": annotator, "event_id": event.id}
        | {"answer": event.answer and event.answer.value}
        for (_, annotator), event in current.items()
    ]
    if rows:
        connection.execute(CURRENT.insert(), rows)
    answers = {row["answer"] for row in rows}
    state = "open" if not answers else "skipped" if answers == {"skip"} else "answered"
    this = QUERY.c.id == query_id
    before = connection.execute(sa.select(QUERY.c.state).where(this)).scalar_one()
    if state != before:
        connection.execute(QUERY.update().where(this).values(state=state))
        count(connection, {before: -1, state: 1})


def count(connection: Connection, more: Mapping[str, int]) -> None:
    """Adds to the numbers of queries in each state."""
    for state, n in more.items():
        connection.execute(
            TALLY.update().where(TALLY.c.state == state).values(queries=TALLY.c.queries + n)
        )


def query_row(connection: Connection, query_id: str) -> dict[str, Any] | None:
    """The row of a query, or None."""
    row = connection.execute(sa.select(QUERY).where(QUERY.c.id == query_id)).first()
    return None if row is None else dict(row._mapping)


def _check_references(
    connection: Connection, query_id: str, supersedes: int | None, annotator_id: str, answer: str
) -> None:
    if answer != UNDO and query_row(connection, query_id) is None:
        raise StoreError(
            f"expected a query of this store, got {query_id!r}; call add_queries before submit."
        )
    if supersedes is None:
        return
    replaced = connection.execute(sa.select(EVENT).where(EVENT.c.id == supersedes)).first()
    whose = annotator_id if answer == UNDO or replaced is None else replaced.annotator_id
    if replaced is None or (replaced.query_id, replaced.annotator_id) != (query_id, whose):
        raise StoreError(
            f"expected supersedes to be an event on query {query_id!r}, and of {annotator_id!r} "
            f"where it is undone, got {supersedes}; give the id of an event that submit returned."
        )


def as_query(row: Row[Any]) -> Query:
    """The query in a row."""
    return Query(id=row.id, left=row.left_item, right=row.right_item)


def as_event(row: Row[Any]) -> LabelEvent:
    """The event in a row."""
    answer = None if row.answer == UNDO else Answer(row.answer)
    return LabelEvent(**{**row._mapping, "answer": answer})
