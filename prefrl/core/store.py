"""The label store: queries, and answers as events that are only ever added.

A label that was acknowledged is in the store exactly once, whatever process is killed, whenever:
``submit`` returns after the commit, and its submission key makes a retry harmless. SQLite runs with
a rollback journal (TRUNCATE), ``synchronous=FULL`` and ``BEGIN IMMEDIATE`` for every write; WAL is
not used, as several releases of SQLite can corrupt it with more than one connection.

What is particular to SQLite is in ``prefrl.core.sqlite``.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from prefrl.core.comparisons import Answer, Comparison, Query
from prefrl.core.sqlite import create_schema, open_sqlite
from prefrl.errors import StoreError, SubmissionConflictError

__all__ = ["Counts", "LabelEvent", "LabelStore"]

_SCHEMA_VERSION = 1

_metadata = sa.MetaData()

_query = sa.Table(
    "query",
    _metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("left_item", sa.Text, nullable=False),
    sa.Column("right_item", sa.Text, nullable=False),
    sa.Column("created_at", sa.Float, nullable=False),
    sa.Column("env_steps", sa.Integer, nullable=False),
    sa.Column("priority", sa.Float, nullable=False),
)

_event = sa.Table(
    "label_event",
    _metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("query_id", sa.ForeignKey("query.id"), nullable=False),
    sa.Column("annotator_id", sa.Text, nullable=False),
    sa.Column("submission_key", sa.Text, nullable=False, unique=True),
    sa.Column("answer", sa.Text, nullable=False),
    sa.Column("supersedes", sa.ForeignKey("label_event.id"), index=True),
    sa.Column("shown_at", sa.Float),
    sa.Column("answered_at", sa.Float, nullable=False),
    sa.Column("client_ms", sa.Float),
    sa.Column("order_shown", sa.Text),
    sa.Column("rubric_ver", sa.Text),
    sa.Column("server_ver", sa.Text, nullable=False),
    sa.CheckConstraint("answer IN ('left', 'right', 'tie', 'skip')", name="known_answer"),
    sa.Index("ix_label_event_current", "query_id", "annotator_id", "id"),
    sqlite_autoincrement=True,  # an id is never used again, so that it can be a cursor
)

_current = sa.table("current_label", *(sa.column(c.name, c.type) for c in _event.c))

# Per query and annotator the newest event that no other one supersedes.
_CURRENT_VIEW = """
CREATE VIEW current_label AS SELECT e.* FROM label_event AS e WHERE e.id = (
    SELECT max(n.id) FROM label_event AS n
    WHERE n.query_id = e.query_id AND n.annotator_id = e.annotator_id
    AND NOT EXISTS (SELECT 1 FROM label_event AS s WHERE s.supersedes = n.id)
)"""


@dataclass(frozen=True)
class LabelEvent:
    """One acknowledged answer. Times are in seconds since 1970."""

    id: int
    """Grows with every event: a cursor."""
    query_id: str
    """Which query was answered."""
    annotator_id: str
    """Who answered."""
    submission_key: str
    """The client's own name for this submission."""
    answer: Answer
    """What was answered, about left and right as the query has them."""
    supersedes: int | None
    """Id of the event that this one replaces, if any."""
    shown_at: float | None
    """When the query was shown."""
    answered_at: float
    """When the answer was stored."""
    client_ms: float | None
    """How long the labeller looked, in milliseconds."""
    order_shown: str | None
    """How the pair lay on the screen, in the client's words."""
    rubric_ver: str | None
    """Version of the instructions that the labeller had."""
    server_ver: str
    """Version of prefrl that stored the answer."""


@dataclass(frozen=True)
class Counts:
    """How much of what is in the store: ``queries = answered + skipped + open``."""

    queries: int
    """Queries in all."""
    answered: int
    """Queries with a current answer other than SKIP."""
    skipped: int
    """Queries whose only current answers are SKIP."""
    open: int
    """Queries without a current answer."""


class LabelStore:
    """Queries and answers in a database; several processes may have the same one open.

    Args:
        place: Path of an SQLite file, made if absent, for its owner only; or an SQLAlchemy URL.
            ``sqlite://`` keeps all in memory, for one thread.

    Raises:
        StoreError: If the database cannot be opened safely, is not a label store, or was made by a
            newer release. Every other method raises it when the database refuses.
    """

    def __init__(self, place: str | os.PathLike[str]) -> None:
        self._engine, self._writer = open_sqlite(os.fspath(place))
        self._server_ver = metadata.version("prefrl")
        self._closed = False
        with self._transaction(write=True) as connection:
            create_schema(
                connection,
                _metadata,
                version=_SCHEMA_VERSION,
                views=[_CURRENT_VIEW],
                append_only=_event,
            )

    def __enter__(self) -> LabelStore:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes all connections. The store cannot be used afterwards; what it held is on disk."""
        self._closed = True
        self._engine.dispose()

    def add_queries(
        self,
        queries: Iterable[Query],
        *,
        env_steps: int = 0,
        priorities: Sequence[float] | None = None,
    ) -> int:
        """Stores queries. One that is there already is left alone.

        Args:
            queries: What to ask.
            env_steps: Environment steps of the run so far.
            priorities: One finite number per query; the higher, the sooner it is asked. All 0 if
                None.

        Returns:
            How many were new.

        Raises:
            StoreError: If a query's id is taken by a query about other items. Nothing is stored.
            ValueError: If the priorities are not one finite number per query.
        """
        queries = list(queries)
        priorities = [0.0] * len(queries) if priorities is None else list(priorities)
        if len(priorities) != len(queries) or not all(map(math.isfinite, priorities)):
            raise ValueError(
                f"expected a finite priority for each of {len(queries)} queries, got {priorities}."
            )
        now, new = time.time(), dict[str, dict[str, Any]]()
        with self._transaction(write=True) as connection:
            for query, priority in zip(queries, priorities, strict=True):
                row = {"id": query.id, "left_item": query.left, "right_item": query.right}
                stored = new.get(query.id) or _query_row(connection, query.id)
                if stored is None:
                    about = {"created_at": now, "env_steps": env_steps, "priority": priority}
                    new[query.id] = row | about
                elif stored | row != stored:
                    raise StoreError(
                        f"query {query.id!r} compares {stored['left_item']!r} with "
                        f"{stored['right_item']!r}, got it again with {query.left!r} and "
                        f"{query.right!r}; give each query an id of its own."
                    )
            if new:
                connection.execute(_query.insert(), list(new.values()))
        return len(new)

    def submit(
        self,
        query_id: str,
        answer: Answer,
        *,
        submission_key: str,
        annotator_id: str,
        supersedes: int | None = None,
        shown_at: float | None = None,
        client_ms: float | None = None,
        order_shown: str | None = None,
        rubric_ver: str | None = None,
    ) -> LabelEvent:
        """Stores an answer; when this returns, it is on disk.

        Args:
            query_id: What was answered.
            answer: The answer, about left and right as the query has them.
            submission_key: The client's own name for this submission, made when the query is shown.
                The same key with the same content gives back what was stored the first time.
            annotator_id: Who answered. A newer answer of theirs to the same query counts instead.
            supersedes: Id of an earlier event on the same query that this one replaces.
            shown_at: When the query was shown, in seconds since 1970.
            client_ms: How long the labeller looked, in milliseconds.
            order_shown: How the pair lay on the screen.
            rubric_ver: Version of the labeller's instructions.

        Returns:
            The stored event.

        Raises:
            SubmissionConflictError: If the key was used for another answer.
            StoreError: If there is no such query, or no such event on it.
        """
        body = {
            "query_id": query_id,
            "answer": answer.value,
            "annotator_id": annotator_id,
            "supersedes": supersedes,
        }
        about = {
            "submission_key": submission_key,
            "shown_at": shown_at,
            "answered_at": time.time(),
            "client_ms": client_ms,
            "order_shown": order_shown,
            "rubric_ver": rubric_ver,
            "server_ver": self._server_ver,
        }
        by_key = sa.select(_event).where(_event.c.submission_key == submission_key)
        with self._transaction(write=True) as connection:
            stored = connection.execute(by_key).first()
            if stored is None:
                _check_references(connection, query_id, supersedes)
                connection.execute(_event.insert().values(body | about))
                stored = connection.execute(by_key).one()
        _check_same(submission_key, {name: stored._mapping[name] for name in body}, body)
        return LabelEvent(**{**stored._mapping, "answer": answer})

    def open_queries(self, limit: int) -> list[Query]:
        """Queries without a current answer from anyone.

        Args:
            limit: How many at most.

        Returns:
            Those of the highest priority first, then the oldest, then by id.
        """
        is_open = ~sa.exists().where(_current.c.query_id == _query.c.id)
        urgency = (_query.c.priority.desc(), _query.c.created_at, _query.c.id)
        with self._transaction() as connection:
            rows = connection.execute(
                sa.select(_query).where(is_open).order_by(*urgency).limit(limit)
            ).all()
        return [_as_query(row) for row in rows]

    def comparisons(self, *, since: int = 0) -> list[tuple[int, Comparison]]:
        """Current answers with their event ids, skips included.

        A query comes once per annotator, and again in a later call when its answer was superseded:
        the later one counts.

        Args:
            since: Leave out events with this id or a smaller one.

        Returns:
            In the order of the event ids; the last id is the next ``since``.
        """
        answers = (
            sa.select(_current.c.id.label("event_id"), _current.c.answer, _query)
            .join(_query, _query.c.id == _current.c.query_id)
            .where(_current.c.id > since)
            .order_by(_current.c.id)
        )
        with self._transaction() as connection:
            rows = connection.execute(answers).all()
        return [(row.event_id, Comparison(_as_query(row), Answer(row.answer))) for row in rows]

    def counts(self) -> Counts:
        """How many queries there are, answered, skipped and open, at one moment."""
        decided = sa.func.max(sa.case((_current.c.answer != Answer.SKIP.value, 1), else_=0))
        per_query = sa.select(decided.label("decided")).group_by(_current.c.query_id).subquery()
        with self._transaction() as connection:
            queries, closed, answered = connection.execute(
                sa.select(
                    sa.select(sa.func.count()).select_from(_query).scalar_subquery(),
                    sa.func.count(),
                    sa.func.coalesce(sa.func.sum(per_query.c.decided), 0),
                ).select_from(per_query)
            ).one()
        return Counts(queries, answered, skipped=closed - answered, open=queries - closed)

    @contextmanager
    def _transaction(self, *, write: bool = False) -> Iterator[Connection]:
        if self._closed:
            raise StoreError("expected an open label store, got one that was closed; open it anew.")
        try:
            with (self._writer if write else self._engine).begin() as connection:
                yield connection
        except sa.exc.DBAPIError as error:
            raise StoreError(
                f"the label store at {self._engine.url.database} refused: {error.orig}; nothing of "
                "this was stored. Look for a full disk or another program that holds the file."
            ) from error


def _query_row(connection: Connection, query_id: str) -> dict[str, Any] | None:
    row = connection.execute(sa.select(_query).where(_query.c.id == query_id)).first()
    return None if row is None else dict(row._mapping)


def _check_references(connection: Connection, query_id: str, supersedes: int | None) -> None:
    if _query_row(connection, query_id) is None:
        raise StoreError(
            f"expected a query of this store, got {query_id!r}; call add_queries before submit."
        )
    if supersedes is None:
        return
    replaced = sa.select(_event.c.query_id).where(_event.c.id == supersedes)
    if connection.execute(replaced).scalar() != query_id:
        raise StoreError(
            f"expected supersedes to be an event on query {query_id!r}, got {supersedes}; give the "
            "id of the event that submit returned."
        )


def _check_same(submission_key: str, first: dict[str, Any], again: dict[str, Any]) -> None:
    if first != again:
        raise SubmissionConflictError(
            f"submission key {submission_key!r} was used for {first}, got it again for {again}; "
            "make a new key each time a query is shown."
        )


def _as_query(row: Row[Any]) -> Query:
    return Query(id=row.id, left=row.left_item, right=row.right_item)
