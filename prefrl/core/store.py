"""The label store: queries, and answers as events that are only ever added.

A label that was acknowledged is in the store exactly once, whatever process is killed, whenever:
``submit`` returns after the commit, and its submission key makes a retry harmless. Writes come one
after the other, on SQLite by ``BEGIN IMMEDIATE`` and on PostgreSQL by a lock, so that event ids
grow in the order of commits and a reader with a cursor misses none.

What is particular to a database is in ``core.sqlite`` and ``core.postgres``.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from importlib import metadata
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from prefrl.core import schema
from prefrl.core.comparisons import Answer, Comparison, Query
from prefrl.core.labels import UNDO, Counts, LabelChange, LabelEvent, Lease, Submission
from prefrl.core.ledger import add_event, as_event, as_query, count, query_row
from prefrl.core.schema import CURRENT, EVENT, LEASE, QUERY, TALLY
from prefrl.core.sqlite import open_sqlite
from prefrl.errors import StoreError

__all__ = ["Counts", "LabelChange", "LabelEvent", "LabelStore", "Lease", "Submission"]

_URGENCY = (QUERY.c.priority.desc(), QUERY.c.created_at, QUERY.c.id)


class LabelStore:
    """Queries and answers in a database; several processes may have the same one open.

    Args:
        place: Path of an SQLite file, made if absent, for its owner only; or an SQLAlchemy URL, as
            in ``postgresql+psycopg://user@host/database``. ``sqlite://`` keeps all in memory, for
            one thread.
        clock: Gives the time in seconds since 1970. Leases depend on it, answers do not.

    Raises:
        StoreError: If the database cannot be opened safely, is not a label store, or was made by a
            newer release. Every other method raises it when the database refuses.
    """

    def __init__(
        self, place: str | os.PathLike[str], *, clock: Callable[[], float] = time.time
    ) -> None:
        place = os.fspath(place)
        if place.startswith("postgresql"):
            from prefrl.core.postgres import open_postgres

            self._engine, self._writer = open_postgres(place)
        else:
            self._engine, self._writer = open_sqlite(place)
        self._clock = clock
        self._server_ver = metadata.version("prefrl")
        self._closed = False
        with self._transaction(write=True) as connection:
            found = schema.revision(connection)
            if found is None:
                schema.create(connection)
            elif found != schema.HEAD:
                from prefrl.core.migrations import migrate

                migrate(connection, found)

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
        now, new = self._clock(), dict[str, dict[str, Any]]()
        with self._transaction(write=True) as connection:
            for query, priority in zip(queries, priorities, strict=True):
                row = {"id": query.id, "left_item": query.left, "right_item": query.right}
                stored = new.get(query.id) or query_row(connection, query.id)
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
                connection.execute(QUERY.insert(), list(new.values()))
                count(connection, {"open": len(new)})
        return len(new)

    def submit(
        self, query_id: str, answer: Answer, *, submission_key: str, annotator_id: str, **about: Any
    ) -> LabelEvent:
        """Stores an answer; when this returns, it is on disk.

        Args:
            query_id: What was answered.
            answer: The answer, about left and right as the query has them.
            submission_key: The client's own name for this submission.
            annotator_id: Who answered.
            about: The other fields of ``Submission``.

        Returns:
            The stored event.

        Raises:
            SubmissionConflictError: If the key was used for another answer.
            StoreError: If there is no such query, or no such event of the annotator on it.
        """
        submission = Submission(query_id, answer, submission_key, annotator_id, **about)
        return self.submit_many([submission])[0]

    def submit_many(self, submissions: Iterable[Submission]) -> list[LabelEvent]:
        """Stores answers, all or none; when this returns, they are on disk.

        Args:
            submissions: In the order in which they were given.

        Returns:
            The stored events; for a key that was used before with the same content, the old one.

        Raises:
            SubmissionConflictError: If a key was used for another answer.
            StoreError: If a query or a superseded event is unknown.
        """
        rows = [asdict(submission) for submission in submissions]
        with self._transaction(write=True) as connection:
            return [self._put(connection, row | {"answer": row["answer"].value}) for row in rows]

    def undo(self, event_id: int, *, annotator_id: str, submission_key: str) -> LabelEvent:
        """Withdraws an answer without giving another; what the annotator had said before counts.

        To undo an undo brings the answer back. Nothing is removed: this too is an event.

        Args:
            event_id: Of an event of this annotator.
            annotator_id: Who withdraws.
            submission_key: The client's own name for this submission.

        Returns:
            The stored event, with the answer None.

        Raises:
            SubmissionConflictError: If the key was used for something else.
            StoreError: If there is no such event of this annotator.
        """
        with self._transaction(write=True) as connection:
            query_id = connection.execute(
                sa.select(EVENT.c.query_id).where(EVENT.c.id == event_id)
            ).scalar()
            row = dict.fromkeys(("shown_at", "client_ms", "order_shown", "rubric_ver"))
            body = {"query_id": query_id or "", "answer": UNDO, "annotator_id": annotator_id}
            about = {"supersedes": event_id, "submission_key": submission_key}
            return self._put(connection, row | body | about)

    def lease(self, annotator_id: str, *, n: int = 1, seconds: float = 120.0) -> list[Lease]:
        """Holds the most urgent open queries for a labeller, so that others get different ones.

        Leases save effort; they are not correctness: an answer is taken from whoever gives it, also
        after the lease ran out. A labeller's own leases are given again.

        Args:
            annotator_id: For whom.
            n: How many at most.
            seconds: For how long.

        Returns:
            The most urgent first.
        """
        with self._transaction(write=True) as connection:
            now = self._clock()
            of_another = sa.exists().where(
                LEASE.c.query_id == QUERY.c.id,
                LEASE.c.annotator_id != annotator_id,
                LEASE.c.expires_at > now,
            )
            free = sa.select(QUERY).where(QUERY.c.state == "open", ~of_another)
            rows = connection.execute(free.order_by(*_URGENCY).limit(n)).all()
            leases = [Lease(as_query(row), annotator_id, now + seconds) for row in rows]
            if leases:
                held = [lease.query.id for lease in leases]
                connection.execute(LEASE.delete().where(LEASE.c.query_id.in_(held)))
                about = {"annotator_id": annotator_id, "expires_at": now + seconds}
                connection.execute(LEASE.insert(), [{"query_id": q} | about for q in held])
        return leases

    def renew(self, annotator_id: str, query_ids: Iterable[str], *, seconds: float = 120.0) -> int:
        """Holds queries for longer.

        Returns:
            How many of them the labeller still held, and holds now.
        """
        mine = LEASE.c.query_id.in_(list(query_ids)) & (LEASE.c.annotator_id == annotator_id)
        with self._transaction(write=True) as connection:
            renewed = LEASE.update().where(mine).values(expires_at=self._clock() + seconds)
            return int(connection.execute(renewed).rowcount)

    def release(self, annotator_id: str, query_ids: Iterable[str]) -> None:
        """Lets others have queries that a labeller will not answer."""
        mine = LEASE.c.query_id.in_(list(query_ids)) & (LEASE.c.annotator_id == annotator_id)
        with self._transaction(write=True) as connection:
            connection.execute(LEASE.delete().where(mine))

    def open_queries(self, limit: int) -> list[Query]:
        """Queries without a current answer from anyone.

        Args:
            limit: How many at most.

        Returns:
            Those of the highest priority first, then the oldest, then by id.
        """
        is_open = sa.select(QUERY).where(QUERY.c.state == "open")
        return [as_query(row) for row in self._read(is_open.order_by(*_URGENCY).limit(limit))]

    def queries(self) -> list[Query]:
        """All queries, in the order in which they were stored."""
        return [as_query(r) for r in self._read(sa.select(QUERY).order_by(*_URGENCY[1:]))]

    def events(self, *, since: int = 0) -> list[LabelEvent]:
        """All events after a cursor, withdrawn and superseded ones included, in order."""
        in_order = sa.select(EVENT).where(EVENT.c.id > since).order_by(EVENT.c.id)
        return [as_event(row) for row in self._read(in_order)]

    def changes(self, since: int = 0, *, limit: int | None = None) -> list[LabelChange]:
        """What happened after a cursor, for a reader that keeps a table of current answers.

        A reader that puts each change into a dict by query and annotator, and drops those without
        an answer, holds the store's current labels once it has read all.

        Args:
            since: Id of the last event that was read.
            limit: How many events at most.

        Returns:
            In the order of the event ids; the last id is the next ``since``.
        """
        new = sa.select(EVENT.c.id, EVENT.c.query_id).where(EVENT.c.id > since)
        event = new.order_by(EVENT.c.id).limit(limit).subquery()
        # An event may also take back another annotator's: all answers to its query are told.
        who = EVENT.alias()
        same = (CURRENT.c.query_id == who.c.query_id) & (
            CURRENT.c.annotator_id == who.c.annotator_id
        )
        told = (
            sa.select(event.c.id.label("event_id"), who.c.annotator_id, CURRENT.c.answer, QUERY)
            .select_from(event)
            .join(QUERY, QUERY.c.id == event.c.query_id)
            .join(who, who.c.query_id == event.c.query_id)
            .outerjoin(CURRENT, same)
            .distinct()
            .order_by(sa.text("event_id"), who.c.annotator_id)
        )
        return [
            LabelChange(r.event_id, as_query(r), r.annotator_id, r.answer and Answer(r.answer))
            for r in self._read(told)
        ]

    def comparisons(self, *, since: int = 0) -> list[tuple[int, Comparison]]:
        """Current answers with their event ids, skips included; a query once per annotator.

        Args:
            since: Leave out events with this id or a smaller one.

        Returns:
            In the order of the event ids.
        """
        current = (
            sa.select(CURRENT.c.event_id, CURRENT.c.answer, QUERY)
            .join(QUERY, QUERY.c.id == CURRENT.c.query_id)
            .where(CURRENT.c.event_id > since)
            .order_by(CURRENT.c.event_id)
        )
        rows = self._read(current)
        return [(row.event_id, Comparison(as_query(row), Answer(row.answer))) for row in rows]

    def most_urgent_answers(self, n: int) -> list[tuple[Comparison, float]]:
        """The n current answers to the queries of the highest priority, with that priority."""
        by_priority = (
            sa.select(CURRENT.c.answer, QUERY)
            .join(QUERY, QUERY.c.id == CURRENT.c.query_id)
            .order_by(*_URGENCY, CURRENT.c.event_id)
            .limit(n)
        )
        rows = self._read(by_priority)
        return [(Comparison(as_query(row), Answer(row.answer)), row.priority) for row in rows]

    def counts(self) -> Counts:
        """How many queries there are, answered, skipped and open, at one moment."""
        tally = {row.state: row.queries for row in self._read(sa.select(TALLY))}
        return Counts(queries=sum(tally.values()), **tally)

    def _put(self, connection: Connection, row: Mapping[str, Any]) -> LabelEvent:
        about = {"answered_at": self._clock(), "server_ver": self._server_ver}
        return add_event(connection, dict(row) | about)

    def _read(self, statement: sa.Select[Any]) -> Sequence[Row[Any]]:
        """All rows at once: an open cursor would hold up those who write."""
        with self._transaction() as connection:
            return connection.execute(statement).all()

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
