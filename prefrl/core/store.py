"""The label store: queries, and answers as events that are only ever added.

A label that was acknowledged is in the store exactly once, whatever process is killed, whenever:
``submit`` returns after the commit, and its submission key makes a retry harmless. SQLite runs with
a rollback journal (TRUNCATE), ``synchronous=FULL`` and ``BEGIN IMMEDIATE`` for every write; WAL is
not used, as several releases of SQLite can corrupt it with more than one connection. PostgreSQL
runs with ``synchronous_commit=on``, and a lock of ours lets writers come one after the other too.

The label of an annotator on a query is what the newest event about it says: an answer, or nothing.
An event is about the label of its own annotator. An answer that supersedes someone else's is also
about theirs, and withdraws it. An undo says nothing in the place of an answer; the undo of an undo
is that answer again. What was before the answer that is undone does not come back by itself.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from prefrl.core import leases, portable
from prefrl.core.comparisons import Answer, Comparison, Query
from prefrl.core.database import Database
from prefrl.core.labels import (
    Counts,
    LabelChange,
    LabelEvent,
    Lease,
    Submission,
    check_text,
    labels_of,
)
from prefrl.core.leases import IS_OPEN, URGENCY
from prefrl.core.ledger import (
    Draft,
    add_events,
    add_queries,
    as_event,
    as_query,
    check_undo,
    faults,
    rebuild,
)
from prefrl.core.schema import CURRENT, EVENT, QUERY

__all__ = ["Counts", "LabelChange", "LabelEvent", "LabelStore", "Lease", "Submission"]


class LabelStore:
    """Queries and answers in a database; several processes may have the same one open.

    Opening it checks that the place can be trusted, and brings a store that an older release made
    up to date, after a backup beside the file.

    Args:
        place: Path of an SQLite file, made if absent, for its owner only; or an SQLAlchemy URL:
            ``sqlite://`` keeps all in memory, for one thread; ``postgresql+psycopg://...`` is a
            PostgreSQL database that holds nothing else (with the extra ``postgres``).
        clock: Gives the seconds since 1970. Nothing breaks if it jumps: the order of answers is
            that of their ids, and leases are a convenience.

    Raises:
        MissingExtraError: If psycopg is needed and not installed.
        StoreError: If the database cannot be opened safely, is not a label store, or was made by a
            newer release. Every other method raises it when the database refuses.
    """

    def __init__(
        self, place: str | os.PathLike[str], *, clock: Callable[[], float] = time.time
    ) -> None:
        self._database = Database(os.fspath(place))
        self._clock = clock
        self._server_ver = metadata.version("prefrl")

    def __enter__(self) -> LabelStore:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes all connections. The store cannot be used afterwards; what it held is on disk."""
        self._database.close()

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
            ValueError: If the priorities are not one finite number per query, or an id has a NUL.
        """
        queries = list(queries)
        priorities = [0.0] * len(queries) if priorities is None else list(priorities)
        if len(priorities) != len(queries) or not all(map(math.isfinite, priorities)):
            raise ValueError(
                f"expected a finite priority for each of {len(queries)} queries, got {priorities}."
            )
        about = {"created_at": self._clock(), "env_steps": env_steps}
        rows = [
            {"id": query.id, "left_item": query.left, "right_item": query.right}
            | {"priority": float(priority), **about}
            for query, priority in zip(queries, priorities, strict=True)
        ]
        for query in queries:
            check_text(query.id, query.left, query.right)
        with self._database.transaction(write=True) as connection:
            return add_queries(connection, [(row, "") for row in rows])

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
            StoreError: If there is no such query, or no such event on it.
            ValueError: If a number is not finite, or a text has a NUL.
        """
        submission = Submission(query_id, answer, submission_key, annotator_id, **about)
        return self.submit_many([submission])[0]

    def submit_many(self, submissions: Iterable[Submission]) -> list[LabelEvent]:
        """Stores answers, all or none; when this returns, they are on disk.

        Args:
            submissions: In the order in which they were given.

        Returns:
            The stored event for each; for a key that came before, what was stored the first time.

        Raises:
            SubmissionConflictError: If a key was used for another answer.
            StoreError: If there is no such query, or no such event on it.
        """
        drafts = [Draft(self._event(**vars(submission))) for submission in submissions]
        with self._database.transaction(write=True) as connection:
            return add_events(connection, drafts)

    def undo(self, event_id: int, *, annotator_id: str, submission_key: str) -> LabelEvent:
        """Withdraws an answer without giving a new one; or brings it back, by undoing that.

        Args:
            event_id: The newest event about the annotator's label on a query. An answer is
                withdrawn; an undo is undone by giving the withdrawn answer again.
            annotator_id: Who gave the answer.
            submission_key: The client's own name for this submission, as for ``submit``.

        Returns:
            The stored event. Its answer is None, or what came back.

        Raises:
            SubmissionConflictError: If the key was used for something else.
            StoreError: If that is no event of this annotator, or a newer one is about the label.
        """
        event = self._event("", None, submission_key, annotator_id, supersedes=event_id)
        check_text(submission_key, annotator_id)
        with self._database.transaction(write=True) as connection:
            return add_events(connection, [check_undo(connection, Draft(event))])[0]

    def lease(self, annotator_id: str, *, n: int = 1, seconds: float = 120.0) -> list[Lease]:
        """Keeps the most urgent open queries for a labeller, so that no one else is shown them.

        Those that the annotator has already are among them. An answer is stored whether or not its
        query is leased, also long after the lease ran out.

        Args:
            annotator_id: For whom.
            n: How many at most.
            seconds: For how long, at most an hour.

        Returns:
            The most urgent first. Fewer than ``n``, if others have the rest.
        """
        now = self._clock()
        expires_at = leases.expiry(now, seconds)
        with self._database.transaction(write=True) as connection:
            return leases.take(connection, annotator_id, n, now=now, expires_at=expires_at)

    def renew(self, lease: Lease, seconds: float = 120.0) -> Lease | None:
        """Keeps a leased query for longer, counted from now.

        Args:
            lease: What ``lease`` gave; its time may have run out.
            seconds: For how long, at most an hour.

        Returns:
            The lease from now on; None if someone else has it, or the query is not open any more.
        """
        expires_at = leases.expiry(self._clock(), seconds)
        with self._database.transaction(write=True) as connection:
            return leases.renew(connection, lease, expires_at=expires_at)

    def release(self, annotator_id: str, query_ids: Iterable[str]) -> int:
        """Gives leased queries back; how many of them this annotator had."""
        with self._database.transaction(write=True) as connection:
            return leases.release(connection, annotator_id, list(query_ids))

    def open_queries(self, limit: int) -> list[Query]:
        """Queries without a current answer from anyone, leased or not.

        Args:
            limit: How many at most.

        Returns:
            Those of the highest priority first, then the oldest, then by id.
        """
        most_urgent = sa.select(QUERY).where(IS_OPEN).order_by(*URGENCY).limit(limit)
        return [as_query(row) for row in self._database.rows(most_urgent)]

    def queries(self) -> list[Query]:
        """All queries, the oldest first."""
        oldest_first = sa.select(QUERY).order_by(QUERY.c.created_at, QUERY.c.id)
        return [as_query(row) for row in self._database.rows(oldest_first)]

    def events(self, *, since: int = 0) -> list[LabelEvent]:
        """All events after the one with the id ``since``, in their order."""
        newer = sa.select(EVENT).where(EVENT.c.id > since).order_by(EVENT.c.id)
        return [as_event(row) for row in self._database.rows(newer)]

    def changes(self, since: int = 0, limit: int | None = None) -> list[LabelChange]:
        """What happened to whose label, for a reader that keeps a dict up to date.

        Applied in order to a dict by query id and annotator, with None to take an entry out, the
        changes up to an event make the current labels as of that event.

        Args:
            since: The last event that the reader has applied.
            limit: How many events to read at most.

        Returns:
            In the order of the events, all changes of an event together: the last id is the next
            ``since``. Empty if there is no newer event.
        """
        old = EVENT.alias("old")
        newer = (
            sa.select(
                EVENT, QUERY.c.left_item, QUERY.c.right_item, old.c.annotator_id.label("whose")
            )
            .join(QUERY, QUERY.c.id == EVENT.c.query_id)
            .outerjoin(old, old.c.id == EVENT.c.supersedes)
            .where(EVENT.c.id > since)
            .order_by(EVENT.c.id)
            .limit(limit)
        )
        found = list[LabelChange]()
        for row in self._database.rows(newer):
            event, query = as_event(row), Query(row.query_id, row.left_item, row.right_item)
            found += [LabelChange(event.id, query, *label) for label in labels_of(event, row.whose)]
        return found

    def comparisons(self, *, since: int = 0) -> list[tuple[int, Comparison]]:
        """Current answers with the ids of their events, skips included.

        A query comes once per annotator, and again in a later call when there is a newer answer:
        the later one counts. Of withdrawn answers this says nothing; ``changes`` does.

        Args:
            since: Leave out events with this id or a smaller one.

        Returns:
            In the order of the event ids; the last id is the next ``since``.
        """
        answers = (
            sa.select(CURRENT.c.event_id, CURRENT.c.answer, QUERY)
            .join(QUERY, QUERY.c.id == CURRENT.c.query_id)
            .where(CURRENT.c.event_id > since, CURRENT.c.answer.is_not(None))
            .order_by(CURRENT.c.event_id)
        )
        rows = self._database.rows(answers)
        return [(row.event_id, Comparison(as_query(row), Answer(row.answer))) for row in rows]

    def most_urgent_answers(self, n: int) -> list[tuple[Comparison, float]]:
        """The n current answers to the queries of the highest priority, with that priority."""
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
        """How many queries there are, answered, skipped and open, at one moment."""
        by_state = sa.select(QUERY.c.state, sa.func.count().label("n")).group_by(QUERY.c.state)
        n = {"answered": 0, "skipped": 0, "open": 0}
        n.update((row.state, row.n) for row in self._database.rows(by_state))
        return Counts(queries=sum(n.values()), **n)

    def export_jsonl(self, path: str | os.PathLike[str]) -> None:
        """Writes all queries and events as lines of JSON, as they are at one moment.

        Args:
            path: Where the file appears when it is whole. A file that is there is replaced.
        """
        portable.export_jsonl(self._database, Path(path))

    def import_jsonl(self, path: str | os.PathLike[str]) -> None:
        """Adds what ``export_jsonl`` wrote, all or nothing; what is there already is left alone.

        The events come after those that are there, in their order, under new ids. Nobody else can
        write in the meantime, which is seconds for ten thousand events.

        Args:
            path: The file.

        Raises:
            SubmissionConflictError: If a submission key stands for something else here.
            StoreError: If a line is not as expected; with its number.
        """
        portable.import_jsonl(self._database, Path(path))

    def backup(self, path: str | os.PathLike[str]) -> None:
        """Copies an SQLite store as it is at one moment, while others go on using it.

        Args:
            path: Where the copy appears when it is whole. A file that is there is replaced.

        Raises:
            StoreError: If the copy cannot be written, or the store is in PostgreSQL.
        """
        self._database.back_up(Path(path))

    def check(self) -> list[str]:
        """What is wrong with the store, in words; empty if all is well.

        Has SQLite read the whole file, and compares what is derived from the events with them.
        """
        if damage := self._database.damage():
            return damage
        with self._database.transaction() as connection:
            return faults(connection)

    def rebuild(self) -> None:
        """Derives the current labels and the states of queries anew from the events."""
        with self._database.transaction(write=True) as connection:
            rebuild(connection)

    def _event(
        self,
        query_id: str,
        answer: Answer | None,
        submission_key: str,
        annotator_id: str,
        supersedes: int | None = None,
        **about: Any,
    ) -> LabelEvent:
        nothing = dict.fromkeys(("shown_at", "client_ms", "order_shown", "rubric_ver"))
        return LabelEvent(
            id=0,
            query_id=query_id,
            answer=answer,
            submission_key=submission_key,
            annotator_id=annotator_id,
            supersedes=supersedes,
            answered_at=self._clock(),
            server_ver=self._server_ver,
            **(nothing | about),
        )
