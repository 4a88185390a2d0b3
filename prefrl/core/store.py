"""The label store: queries, and answers as events that are only ever added.

A label that was acknowledged is in the store exactly once, whatever process is killed, whenever:
``submit`` returns after the commit, and its submission key makes a retry harmless. SQLite runs with
a rollback journal (TRUNCATE), ``synchronous=FULL`` and ``BEGIN IMMEDIATE`` for every write; WAL is
not used, as several releases of SQLite can corrupt it with more than one connection.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row
from sqlalchemy.pool import StaticPool

from prefrl.core.comparisons import Answer, Comparison, Query
from prefrl.errors import StoreError, SubmissionConflictError

__all__ = ["Counts", "LabelEvent", "LabelStore"]

_SCHEMA_VERSION = 1
_BUSY_TIMEOUT_MS = 10_000

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
    sa.Column("query_id", sa.ForeignKey("query.id"), nullable=False, index=True),
    sa.Column("annotator_id", sa.Text, nullable=False),
    sa.Column("submission_key", sa.Text, nullable=False, unique=True),
    sa.Column("answer", sa.Text, nullable=False),
    sa.Column("supersedes", sa.ForeignKey("label_event.id"), unique=True),
    sa.Column("shown_at", sa.Float),
    sa.Column("answered_at", sa.Float, nullable=False),
    sa.Column("client_ms", sa.Float),
    sa.CheckConstraint("answer IN ('left', 'right', 'tie', 'skip')", name="known_answer"),
    sqlite_autoincrement=True,
)

_TRIGGERS = [
    f"CREATE TRIGGER IF NOT EXISTS label_event_no_{verb.lower()} BEFORE {verb} ON label_event "
    "BEGIN SELECT RAISE(ABORT, 'label_event is append-only'); END"
    for verb in ("UPDATE", "DELETE")
]


@dataclass(frozen=True)
class LabelEvent:
    """One acknowledged answer."""

    id: int
    """Grows with every event: a cursor."""
    query_id: str
    """Which query was answered."""
    annotator_id: str
    """Who answered."""
    submission_key: str
    """The client's own name for this submission."""
    answer: Answer
    """What was answered."""
    supersedes: int | None
    """The event that this one replaces, if any."""
    answered_at: float
    """When it was stored, in seconds since 1970."""


@dataclass(frozen=True)
class Counts:
    """How much of what is in the store."""

    queries: int
    """Queries in all."""
    answered: int
    """Queries with an answer other than SKIP."""
    skipped: int
    """Queries whose only answers are SKIP."""
    open: int
    """Queries that nobody has answered."""


class LabelStore:
    """Queries and answers in a database.

    Args:
        place: Path of an SQLite file, made if absent; or an SQLAlchemy URL. ``sqlite://`` keeps
            all in memory.

    Raises:
        StoreError: If the database cannot be opened safely or was made by a newer release.
    """

    def __init__(self, place: str | os.PathLike[str]) -> None:
        url = str(place) if "://" in str(place) else f"sqlite:///{Path(place).absolute()}"
        if not url.startswith("sqlite"):
            raise StoreError(
                f"expected an SQLite file or URL, got {sa.make_url(url).render_as_string()}; "
                "other databases are not supported yet."
            )
        self._in_memory = url == "sqlite://"
        if not self._in_memory:
            _create_private(Path(sa.make_url(url).database or ""))
        options: dict[str, Any] = {"poolclass": StaticPool} if self._in_memory else {}
        self._engine = sa.create_engine(url, **options)
        sa.event.listen(self._engine, "connect", _prepare_connection)
        # pysqlite would begin lazily and never IMMEDIATE; SQLAlchemy's begin is ours instead.
        sa.event.listen(self._engine, "begin", _begin)
        self._writer = self._engine.execution_options(immediate=True)
        try:
            self._check_settings()
            self._create_schema()
        except sa.exc.DBAPIError as error:
            raise StoreError(
                f"expected a label store in {place}, but SQLite says: {error.orig}."
            ) from error

    def __enter__(self) -> LabelStore:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes all connections."""
        self._engine.dispose()

    def add_queries(
        self,
        queries: Iterable[Query],
        *,
        env_steps: int = 0,
        priorities: Sequence[float] | None = None,
    ) -> None:
        """Stores queries. One that is there already is left alone.

        Args:
            queries: What to ask.
            env_steps: Environment steps of the run so far.
            priorities: One per query; the higher, the sooner it is asked. All 0 if None.

        Raises:
            StoreError: If a query's id is taken by a query about other items. Nothing is stored.
        """
        queries = list(queries)
        now = time.time()
        with self._write() as connection:
            for query, priority in zip(queries, priorities or [0.0] * len(queries), strict=True):
                row = connection.execute(sa.select(_query).where(_query.c.id == query.id)).first()
                if row is None:
                    connection.execute(
                        _query.insert().values(
                            id=query.id,
                            left_item=query.left,
                            right_item=query.right,
                            created_at=now,
                            env_steps=env_steps,
                            priority=priority,
                        )
                    )
                elif (row.left_item, row.right_item) != (query.left, query.right):
                    raise StoreError(
                        f"query {query.id} is about {row.left_item} and {row.right_item}, got it "
                        f"again with {query.left} and {query.right}; give each query its own id."
                    )

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
    ) -> LabelEvent:
        """Stores an answer; when this returns, it is on disk.

        Args:
            query_id: What was answered.
            answer: The answer.
            submission_key: The client's own unique name for this submission. The same one again
                gives back what was stored the first time.
            annotator_id: Who answered.
            supersedes: Id of an earlier event that this one replaces.
            shown_at: When the query was shown, in seconds since 1970.
            client_ms: How long the labeller looked, in milliseconds.

        Returns:
            The stored event.

        Raises:
            SubmissionConflictError: If the key was used for another answer.
            StoreError: If there is no such query or event.
        """
        with self._write() as connection:
            stored = connection.execute(
                sa.select(_event).where(_event.c.submission_key == submission_key)
            ).first()
            if stored is None:
                try:
                    connection.execute(
                        _event.insert().values(
                            query_id=query_id,
                            annotator_id=annotator_id,
                            submission_key=submission_key,
                            answer=answer.value,
                            supersedes=supersedes,
                            shown_at=shown_at,
                            answered_at=time.time(),
                            client_ms=client_ms,
                        )
                    )
                except sa.exc.IntegrityError as error:
                    raise StoreError(
                        f"expected a known query and a current event to supersede, got {query_id} "
                        f"and {supersedes}: {error.orig}."
                    ) from error
                stored = connection.execute(
                    sa.select(_event).where(_event.c.submission_key == submission_key)
                ).one()
        event = _as_event(stored)
        asked = (query_id, answer, annotator_id, supersedes)
        if asked != (event.query_id, event.answer, event.annotator_id, event.supersedes):
            raise SubmissionConflictError(
                f"submission key {submission_key!r} was used for {event.answer} to query "
                f"{event.query_id} by {event.annotator_id}, got it again for {answer} to "
                f"{query_id} by {annotator_id}; make a new key for each showing."
            )
        return event

    def open_queries(self, limit: int) -> list[Query]:
        """Queries without an answer, the most urgent first, then the oldest."""
        answered = sa.select(_current().c.query_id)
        with self._engine.connect() as connection:
            rows = connection.execute(
                sa.select(_query)
                .where(_query.c.id.not_in(answered))
                .order_by(_query.c.priority.desc(), _query.c.created_at, _query.c.id)
                .limit(limit)
            ).all()
        return [_as_query(row) for row in rows]

    def comparisons(self, *, since: int = 0) -> list[tuple[int, Comparison]]:
        """Current answers with their event ids, in order, skips included.

        Args:
            since: Leave out events with this id or a smaller one.
        """
        current = _current()
        with self._engine.connect() as connection:
            rows = connection.execute(
                sa.select(
                    current.c.id.label("event_id"),
                    current.c.answer,
                    _query.c.id,
                    _query.c.left_item,
                    _query.c.right_item,
                )
                .join(_query, _query.c.id == current.c.query_id)
                .where(current.c.id > since)
                .order_by(current.c.id)
            ).all()
        return [(row.event_id, Comparison(_as_query(row), Answer(row.answer))) for row in rows]

    def counts(self) -> Counts:
        """How many queries are there, answered, skipped and open."""
        current = _current()
        decided = sa.func.max(sa.case((current.c.answer != Answer.SKIP.value, 1), else_=0))
        per_query = sa.select(decided.label("decided")).group_by(current.c.query_id).subquery()
        with self._engine.connect() as connection:
            queries = connection.execute(sa.select(sa.func.count()).select_from(_query)).scalar_one()
            n, decided_n = connection.execute(
                sa.select(sa.func.count(), sa.func.coalesce(sa.func.sum(per_query.c.decided), 0))
            ).one()
        return Counts(queries=queries, answered=decided_n, skipped=n - decided_n, open=queries - n)

    @contextmanager
    def _write(self) -> Iterator[Connection]:
        try:
            with self._writer.begin() as connection:
                yield connection
        except sa.exc.OperationalError as error:
            raise StoreError(
                f"the label store could not be written: {error.orig}; nothing of this was stored. "
                "Look for a full disk or another program that holds the file."
            ) from error

    def _check_settings(self) -> None:
        with self._engine.connect() as connection:
            journal, synchronous = (
                connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()
                for name in ("journal_mode", "synchronous")
            )
        if synchronous != 2 or journal != ("memory" if self._in_memory else "truncate"):
            raise StoreError(
                "expected SQLite to run with journal_mode=truncate and synchronous=2 (FULL), got "
                f"{journal} and {synchronous}; put the run on a local disk."
            )

    def _create_schema(self) -> None:
        with self._writer.begin() as connection:
            version = connection.exec_driver_sql("PRAGMA user_version").scalar_one()
            if version > _SCHEMA_VERSION:
                raise StoreError(
                    f"expected a label store of version {_SCHEMA_VERSION} or older, got version "
                    f"{version}; update prefrl."
                )
            _metadata.create_all(connection)
            for trigger in _TRIGGERS:
                connection.exec_driver_sql(trigger)
            connection.exec_driver_sql(f"PRAGMA user_version = {_SCHEMA_VERSION}")


def _current() -> sa.Subquery:
    """Events that no other one supersedes."""
    newer = _event.alias()
    superseded = sa.exists().where(newer.c.supersedes == _event.c.id)
    return sa.select(_event).where(~superseded).subquery()


def _create_private(path: Path) -> None:
    """Makes the file readable and writable by its owner only."""
    try:
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    except OSError as error:
        raise StoreError(
            f"expected a place for the label store at {path}, but {error.strerror}; make the "
            "folder, or choose another."
        ) from error


def _prepare_connection(connection: Any, _record: Any) -> None:
    connection.isolation_level = None
    for pragma in (
        f"busy_timeout = {_BUSY_TIMEOUT_MS}",
        "journal_mode = TRUNCATE",
        "synchronous = FULL",
        "foreign_keys = ON",
    ):
        connection.execute(f"PRAGMA {pragma}").fetchall()


def _begin(connection: Connection) -> None:
    # A plain BEGIN that reads and then writes fails at once when another writer gets in between.
    immediate = connection.get_execution_options().get("immediate", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")


def _as_query(row: Row[Any]) -> Query:
    return Query(id=row.id, left=row.left_item, right=row.right_item)


def _as_event(row: Row[Any]) -> LabelEvent:
    return LabelEvent(
        id=row.id,
        query_id=row.query_id,
        annotator_id=row.annotator_id,
        submission_key=row.submission_key,
        answer=Answer(row.answer),
        supersedes=row.supersedes,
        answered_at=row.answered_at,
    )
