"""Adds events to the store, and derives current labels and states of queries from them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from prefrl.core.comparisons import Answer, Query
from prefrl.core.store.labels import LabelEvent, labels_of
from prefrl.core.store.schema import CURRENT, EVENT, QUERY
from prefrl.errors import StoreError, SubmissionConflictError

__all__ = [
    "Draft",
    "add_events",
    "add_queries",
    "as_event",
    "as_query",
    "batches",
    "by_column",
    "check_undo",
    "faults",
    "rebuild",
]

_UNDO = "undo"
_MOST_PARAMETERS = 500  # some builds of SQLite take 999
_T = TypeVar("_T")

_UPSERT_LABEL = sa.text(
    "INSERT INTO current_label (query_id, annotator_id, answer, event_id) "
    "VALUES (:query_id, :annotator_id, :answer, :event_id) "
    "ON CONFLICT (query_id, annotator_id) "
    "DO UPDATE SET answer = excluded.answer, event_id = excluded.event_id"
)


@dataclass(frozen=True)
class Draft:
    """An event to be added, unless its submission key already exists."""

    event: LabelEvent
    """The event; its id is ignored."""
    where: str = ""
    """Prefix of error messages about it, such as "line 7: "."""


def add_queries(connection: Connection, rows: Sequence[tuple[Mapping[str, Any], str]]) -> int:
    """Adds the queries whose id is new.

    Args:
        connection: Connection in a transaction that writes.
        rows: The queries, each with a prefix for error messages about it.

    Returns:
        Number of new queries.

    Raises:
        StoreError: If an id is taken by a query about other items.
    """
    stored = by_column(connection, QUERY.c.id, [row["id"] for row, _ in rows])
    there = {row.id: row._mapping for row in stored}
    new = dict[str, Mapping[str, Any]]()
    for row, where in rows:
        first = there.get(row["id"]) or new.setdefault(row["id"], row)
        left, right = first["left_item"], first["right_item"]
        if (left, right) != (row["left_item"], row["right_item"]):
            raise StoreError(
                f"{where}query {row['id']!r} compares {left!r} with {right!r}, got it again with "
                f"{row['left_item']!r} and {row['right_item']!r}; give each query an id of its own."
            )
    if new:
        connection.execute(QUERY.insert(), list(new.values()))
    return len(new)


def add_events(connection: Connection, drafts: Sequence[Draft]) -> list[LabelEvent]:
    """Adds the events whose key is new, and updates what is derived from them.

    Args:
        connection: Connection in a transaction that writes, so that no one else assigns ids.
        drafts: The events, in their order. They can supersede only events that are already stored.

    Returns:
        The stored event for each draft.

    Raises:
        SubmissionConflictError: If a key was used for something else.
        StoreError: If an event refers to a query or an event that the store does not have.
    """
    keys = [draft.event.submission_key for draft in drafts]
    stored = {
        row.submission_key: as_event(row) for row in _events(connection, "submission_key", keys)
    }
    fresh = [draft for draft in drafts if draft.event.submission_key not in stored]
    ids = [draft.event.query_id for draft in fresh]
    queries = {row.id for row in by_column(connection, QUERY.c.id, ids)}
    replaced = [draft.event.supersedes for draft in fresh if draft.event.supersedes is not None]
    superseded = {row.id: as_event(row) for row in _events(connection, "id", replaced)}
    newest = connection.execute(sa.select(sa.func.max(EVENT.c.id))).scalar() or 0
    new = list[LabelEvent]()
    for draft in drafts:
        event = draft.event
        if event.submission_key in stored:
            _check_same(draft, stored[event.submission_key])
            continue
        _check_references(draft, queries, superseded)
        new.append(replace(event, id=newest + len(new) + 1))
        stored[event.submission_key] = new[-1]
    if new:
        connection.execute(EVENT.insert(), [_as_row(event) for event in new])
        _derive(connection, new, superseded)
    return [stored[key] for key in keys]


def check_undo(connection: Connection, draft: Draft) -> Draft:
    """Checks that an event may be undone, and completes the event that undoes it.

    Args:
        connection: Connection in a transaction that writes.
        draft: The undo, which supersedes the event; its query is not filled in yet.

    Returns:
        The draft with its query and, if it undoes an undo, the withdrawn answer.

    Raises:
        StoreError: If the annotator has no such event, or it is not the newest about the label.
    """
    event = draft.event
    undone = next(map(as_event, _events(connection, "id", [event.supersedes])), None)
    if undone is None or undone.annotator_id != event.annotator_id:
        raise StoreError(
            f"expected an event of {event.annotator_id!r} to undo, got {event.supersedes}; give "
            "the id of an event that submit or undo returned."
        )
    event = replace(event, query_id=undone.query_id)
    if undone.answer is None:
        withdrawn = next(_events(connection, "id", [undone.supersedes]))
        event = replace(event, answer=Answer(withdrawn.answer))
    is_retry = any(True for _ in _events(connection, "submission_key", [event.submission_key]))
    newest = connection.execute(
        sa.select(CURRENT.c.event_id).where(
            CURRENT.c.query_id == event.query_id, CURRENT.c.annotator_id == event.annotator_id
        )
    ).scalar_one()
    if newest != undone.id and not is_retry:
        raise StoreError(
            f"expected the newest event about the label of {event.annotator_id!r} on "
            f"{event.query_id!r}, {newest}, got {undone.id}; undo that one, or answer again."
        )
    return replace(draft, event=event)


def rebuild(connection: Connection) -> None:
    """Derives all current labels and states of queries from the events.

    Args:
        connection: Connection in a transaction that writes.
    """
    connection.execute(CURRENT.delete())
    columns = ["query_id", "annotator_id", "answer", "event_id"]
    connection.execute(CURRENT.insert().from_select(columns, _expected()))
    connection.execute(QUERY.update().where(QUERY.c.state != _state()).values(state=_state()))


def faults(connection: Connection) -> list[str]:
    """Describes where the derived tables disagree with the events; empty if they agree."""
    is_, should_be = sa.select(*CURRENT.c), _expected()
    labels = [
        sa.select(sa.func.count()).select_from(one.except_(other).subquery()).scalar_subquery()
        for one, other in ((is_, should_be), (should_be, is_))
    ]
    states = sa.select(sa.func.count()).select_from(QUERY).where(QUERY.c.state != _state())
    gaps = sa.select(sa.func.coalesce(sa.func.max(EVENT.c.id), 0) - sa.func.count()).select_from(
        EVENT
    )
    numbers = connection.execute(
        sa.select(*labels, states.scalar_subquery(), gaps.scalar_subquery())
    ).one()
    what = (
        "current labels that no event says",
        "labels of events that are not current",
        "queries in a wrong state",
        "ids without an event",
    )
    return [f"{n} {fault}" for n, fault in zip(numbers, what, strict=True) if n]


def by_column(
    connection: Connection, column: sa.Column[Any], values: Sequence[Any]
) -> Iterator[Row[Any]]:
    """Yields the rows whose column has one of the values, in any order."""
    for batch in batches(list(dict.fromkeys(values))):
        yield from connection.execute(sa.select(column.table).where(column.in_(batch))).all()


def batches(values: Sequence[_T]) -> Iterator[Sequence[_T]]:
    """Yields chunks of the values, each small enough for one statement."""
    for start in range(0, len(values), _MOST_PARAMETERS):
        yield values[start : start + _MOST_PARAMETERS]


def as_query(row: Row[Any]) -> Query:
    """Makes a query from a row."""
    return Query(id=row.id, left=row.left_item, right=row.right_item, group=row.group_id)


def as_event(row: Row[Any]) -> LabelEvent:
    """Makes an event from a row."""
    columns = {column.name: row._mapping[column.name] for column in EVENT.c}
    answer = None if row.answer == _UNDO else Answer(row.answer)
    return LabelEvent(**{**columns, "answer": answer})


def _as_row(event: LabelEvent) -> dict[str, Any]:
    return {**vars(event), "answer": _UNDO if event.answer is None else event.answer.value}


def _events(connection: Connection, column: str, values: Sequence[Any]) -> Iterator[Row[Any]]:
    return by_column(connection, EVENT.c[column], values)


def _check_same(draft: Draft, first: LabelEvent) -> None:
    event = draft.event
    bodies: list[dict[str, object]] = [
        {"query_id": e.query_id, "annotator_id": e.annotator_id}
        | {"answer": e.answer and e.answer.value, "supersedes": e.supersedes}
        for e in (first, event)
    ]
    if bodies[0] != bodies[1]:
        raise SubmissionConflictError(
            f"{draft.where}submission key {event.submission_key!r} was used for {bodies[0]}, got "
            f"it again for {bodies[1]}; make a new key each time a query is shown."
        )


def _check_references(draft: Draft, queries: set[str], superseded: dict[int, LabelEvent]) -> None:
    event = draft.event
    if event.query_id not in queries:
        raise StoreError(
            f"{draft.where}expected a query of this store, got {event.query_id!r}; call "
            "add_queries before submit."
        )
    if event.supersedes is None and event.answer is not None:
        return
    old = superseded.get(event.supersedes or 0)
    if old is None or old.query_id != event.query_id:
        raise StoreError(
            f"{draft.where}expected supersedes to be an event on query {event.query_id!r}, got "
            f"{event.supersedes}; give the id of the event that submit returned."
        )
    if event.answer is None and (old.answer is None or old.annotator_id != event.annotator_id):
        raise StoreError(
            f"{draft.where}expected an undo to supersede an answer of {event.annotator_id!r}, got "
            f"event {old.id} of {old.annotator_id!r}; fix the file."
        )


def _derive(
    connection: Connection, new: Sequence[LabelEvent], superseded: dict[int, LabelEvent]
) -> None:
    labels = dict[tuple[str, str], dict[str, Any]]()
    for event in new:
        old = superseded.get(event.supersedes or 0)
        for annotator_id, answer in labels_of(event, old.annotator_id if old else None):
            labels[event.query_id, annotator_id] = {
                "query_id": event.query_id,
                "annotator_id": annotator_id,
                "answer": answer and answer.value,
                "event_id": event.id,
            }
    connection.execute(_UPSERT_LABEL, list(labels.values()))
    changed = QUERY.update().where(QUERY.c.id == sa.bindparam("touched"), QUERY.c.state != _state())
    touched = dict.fromkeys(query_id for query_id, _ in labels)
    connection.execute(changed.values(state=_state()), [{"touched": q} for q in touched])


def _state() -> sa.Case[str]:
    """Returns SQL for the state of a query, derived from its current labels."""
    of_query = CURRENT.c.query_id == QUERY.c.id
    return sa.case(
        (sa.exists().where(of_query, CURRENT.c.answer != "skip"), "answered"),
        (sa.exists().where(of_query, CURRENT.c.answer == "skip"), "skipped"),
        else_="open",
    )


def _expected() -> sa.Select[Any]:
    """Returns SQL for the current labels, derived from the events: ``labels.resolve`` in SQL."""
    new, old = EVENT.alias("new"), EVENT.alias("old")
    about = sa.union_all(
        sa.select(
            EVENT.c.query_id,
            EVENT.c.annotator_id,
            sa.func.nullif(EVENT.c.answer, _UNDO).label("answer"),
            EVENT.c.id.label("event_id"),
        ),
        sa.select(old.c.query_id, old.c.annotator_id, sa.null(), new.c.id)
        .join_from(new, old, old.c.id == new.c.supersedes)
        .where(old.c.annotator_id != new.c.annotator_id),
    ).subquery("about")
    newest_first = sa.func.row_number().over(
        partition_by=(about.c.query_id, about.c.annotator_id), order_by=about.c.event_id.desc()
    )
    ranked = sa.select(about, newest_first.label("rank")).subquery("ranked")
    columns = [ranked.c[name] for name in ("query_id", "annotator_id", "answer", "event_id")]
    return sa.select(*columns).where(ranked.c.rank == 1)
