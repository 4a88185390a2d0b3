"""The label store: queries, and answers as append-only events.

An acknowledged label is in the store exactly once, no matter which process is killed, or when:
``submit`` returns after the commit, and its submission key makes a retry harmless. SQLite runs with
a rollback journal (TRUNCATE), ``synchronous=FULL`` and ``BEGIN IMMEDIATE`` for every write; WAL is
not used, because several releases of SQLite can corrupt it with more than one connection.
PostgreSQL runs with ``synchronous_commit=on``, and a lock of our own admits one writer at a time
there, too.

An annotator's label on a query is given by the newest event about it: an answer, or nothing. An
event is about the label of its own annotator. An answer that supersedes someone else's is also
about their label, and withdraws it. An undo replaces an answer by nothing; undoing the undo gives
that answer again. An earlier answer does not come back when a later one is undone.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from prefrl.core.comparisons import Answer, Query
from prefrl.core.store import leases, portable
from prefrl.core.store.database import Database
from prefrl.core.store.labels import (
    Counts,
    LabelChange,
    LabelEvent,
    Lease,
    Submission,
    check_text,
    draft_event,
)
from prefrl.core.store.ledger import (
    Draft,
    add_events,
    add_queries,
    check_undo,
    faults,
    rebuild,
)
from prefrl.core.store.marks import Marks
from prefrl.core.store.media import Media
from prefrl.core.store.notices import Notices
from prefrl.core.store.quality import Quality
from prefrl.core.store.reader import LabelReader
from prefrl.core.store.schema import EVENT
from prefrl.core.store.trials import Trials
from prefrl.errors import StoreError

__all__ = ["Counts", "LabelChange", "LabelEvent", "LabelStore", "Lease", "Submission"]


class LabelStore(LabelReader):
    """Queries and answers in a database that several processes may have open.

    Opening it checks that the place is safe, and upgrades a store of an older release, after a
    backup next to the file.

    Args:
        place: Path of an SQLite file, made if absent, for its owner only; or an SQLAlchemy URL:
            ``sqlite://`` keeps all in memory, for one thread; ``postgresql+psycopg://...`` is a
            PostgreSQL database, or a schema in one, that holds nothing else (extra
            ``postgres``).
        clock: Returns the seconds since 1970. It may jump: the order of answers is that of their
            ids, and leases are only a convenience.

    Raises:
        MissingExtraError: If psycopg is needed and not installed.
        StoreError: If the database cannot be opened safely, is not a label store, or was made by a
            newer release. Every other method raises it when the database refuses.
    """

    def __init__(
        self, place: str | os.PathLike[str], *, clock: Callable[[], float] = time.time
    ) -> None:
        super().__init__(Database(os.fspath(place)))
        self._clock = clock
        self._server_ver = metadata.version("prefrl")
        self.media = Media(self._database)
        """The films and texts that show items."""
        self.marks = Marks(self._database, clock)
        """Flags, gold pairs, and other remarks on queries and answers."""
        self.quality = Quality(self._database)
        """Pairs to show again."""
        self.trials = Trials(self._database, self.quality, clock)
        """First rounds of new people."""
        self.notices = Notices(self._database)
        """Notices between processes on different machines."""

    def __enter__(self) -> LabelStore:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes all connections. The store cannot be used afterwards; its content is on disk."""
        self._database.close()

    def add_queries(
        self,
        queries: Iterable[Query],
        *,
        run_steps: int = 0,
        priorities: Sequence[float] | None = None,
    ) -> int:
        """Stores queries; existing ones stay unchanged.

        Args:
            queries: The queries to ask.
            run_steps: Steps of the run so far: of environments, or responses.
            priorities: One finite number per query; higher ones are asked sooner. None means 0 for
                all.

        Returns:
            Number of new queries.

        Raises:
            StoreError: If a query's id is taken by a query about other items. Nothing is stored.
            ValueError: If the priorities are not one finite number per query, or an id has a NUL.
        """
        rows = self._rows(list(queries), run_steps, priorities)
        with self._database.transaction(write=True) as connection:
            return add_queries(connection, rows)

    def add_answered(
        self,
        queries: Iterable[Query],
        submissions: Iterable[Submission],
        strengths: Mapping[str, str] | None = None,
    ) -> list[LabelEvent]:
        """Stores queries together with existing answers, all or none; nobody ever sees them open.

        Args:
            queries: The answered queries; existing ones stay unchanged.
            submissions: The answers, as for ``submit_many``.
            strengths: How much better the chosen side is, "slightly" or "clearly", by the
                submission key of the answer.

        Returns:
            The stored event for each; for a key that was used before, what was stored then.

        Raises:
            SubmissionConflictError: If a key was used for another answer.
            StoreError: If a query's id is taken by a query about other items, or an answer is to
                a query that does not exist.
            ValueError: If an id has a NUL.
        """
        rows = self._rows(list(queries))
        given = list(submissions)
        drafts = [Draft(self._event(**vars(submission))) for submission in given]
        with self._database.transaction(write=True) as connection:
            add_queries(connection, rows)
            self.marks.add_strengths(connection, given, strengths or {})
            return add_events(connection, drafts)

    def submit(
        self, query_id: str, answer: Answer, *, submission_key: str, annotator_id: str, **about: Any
    ) -> LabelEvent:
        """Stores an answer; when this returns, it is on disk.

        Args:
            query_id: Id of the answered query.
            answer: The answer, in terms of the query's left and right.
            submission_key: The client's own name for this submission.
            annotator_id: The annotator who answered.
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
            submissions: The answers, in the order in which they were given.

        Returns:
            The stored event for each; for a key that was used before, what was stored then.

        Raises:
            SubmissionConflictError: If a key was used for another answer.
            StoreError: If there is no such query, or no such event on it.
        """
        drafts = [Draft(self._event(**vars(submission))) for submission in submissions]
        with self._database.transaction(write=True) as connection:
            return add_events(connection, drafts)

    def undo(self, event_id: int, *, annotator_id: str, submission_key: str) -> LabelEvent:
        """Withdraws an answer without giving a new one, or restores it by undoing an undo.

        Args:
            event_id: The newest event about the annotator's label on a query. An answer is
                withdrawn; an undo is undone by giving the withdrawn answer again.
            annotator_id: The annotator who gave the answer.
            submission_key: The client's own name for this submission, as for ``submit``.

        Returns:
            The stored event. Its answer is None, or the restored one.

        Raises:
            SubmissionConflictError: If the key was used for something else.
            StoreError: If it is not an event of this annotator, or not the newest about the label.
        """
        event = self._undo(event_id, annotator_id, submission_key)
        check_text(submission_key, annotator_id)
        with self._database.transaction(write=True) as connection:
            return add_events(connection, [check_undo(connection, Draft(event))])[0]

    def undo_submission(
        self, undone: str, *, annotator_id: str, submission_key: str
    ) -> list[LabelEvent]:
        """Withdraws everything stored under a submission key: an answer, or all pairs of a ranking.

        The pairs of a ranking have the keys KEY/0, KEY/1 and so on; their undos are named likewise.

        Args:
            undone: The submission key.
            annotator_id: The annotator who gave the answers.
            submission_key: The client's own name for this submission, as for ``submit``.

        Returns:
            The stored events.

        Raises:
            SubmissionConflictError: If the key was used for something else.
            StoreError: If this annotator stored nothing under that key, or newer events are about
                the labels.
        """
        check_text(undone, submission_key, annotator_id)
        key = EVENT.c.submission_key
        # "0" is the character after "/".
        under_it = sa.or_(key == undone, sa.and_(key >= f"{undone}/", key < f"{undone}0"))
        with self._database.transaction(write=True) as connection:
            found = connection.execute(sa.select(EVENT.c.id, key).where(under_it)).all()
            if not found:
                raise StoreError(f"expected a submission key to undo, got {undone!r}.")
            events = [
                self._undo(id_, annotator_id, submission_key + old.removeprefix(undone))
                for id_, old in sorted(map(tuple, found))
            ]
            return add_events(connection, [check_undo(connection, Draft(e)) for e in events])

    def lease(
        self,
        annotator_id: str,
        *,
        n: int = 1,
        seconds: float = 120.0,
        ready: bool = False,
        keep: Sequence[str] = (),
    ) -> list[Lease]:
        """Reserves the most urgent open queries for a labeller, so that no one else sees them.

        They may include queries that the labeller already has. An answer is stored whether or not
        its query is leased, even long after the lease has expired.

        Args:
            annotator_id: The labeller.
            n: Most queries to find; the groups of those that are found are leased completely.
            seconds: Duration of the leases, at most an hour.
            ready: Whether to lease only queries that can be shown: all items of the query, and of
                its group, have a medium.
            keep: Queries and groups that this labeller has, whose leases are only extended.

        Returns:
            The leases, the most urgent first; fewer than ``n`` if others have the rest.
        """
        now = self._clock()
        until = leases.expiry(now, seconds)
        with self._database.transaction(write=True) as connection:
            return leases.take(
                connection, annotator_id, n, now=now, expires_at=until, ready=ready, keep=keep
            )

    def renew(self, lease: Lease, seconds: float = 120.0) -> Lease | None:
        """Extends the lease of a query, counted from now.

        Args:
            lease: A lease from ``lease``, which may have expired.
            seconds: Its new duration, at most an hour.

        Returns:
            The new lease; None if someone else has one, or the query is no longer open.
        """
        expires_at = leases.expiry(self._clock(), seconds)
        with self._database.transaction(write=True) as connection:
            return leases.renew(connection, lease, expires_at=expires_at)

    def release(self, annotator_id: str, query_ids: Iterable[str]) -> int:
        """Gives leased queries back, and returns how many of them this annotator held."""
        with self._database.transaction(write=True) as connection:
            return leases.release(connection, annotator_id, list(query_ids))

    def export_jsonl(self, path: str | os.PathLike[str]) -> None:
        """Writes a snapshot of all queries and events as lines of JSON.

        Args:
            path: The new file, which appears only when it is complete. An existing one is replaced.
        """
        portable.export_jsonl(self._database, Path(path))

    def import_jsonl(self, path: str | os.PathLike[str]) -> None:
        """Adds the contents of an ``export_jsonl`` file, all or nothing; skips existing entries.

        The events are appended in their order, under new ids. Nobody else can write meanwhile,
        which takes seconds for ten thousand events.

        Args:
            path: The file.

        Raises:
            SubmissionConflictError: If a submission key was used for something else here.
            StoreError: If a line is not as expected; names the line.
        """
        portable.import_jsonl(self._database, Path(path))

    def backup(self, path: str | os.PathLike[str]) -> None:
        """Copies a snapshot of an SQLite store while others continue using it.

        Args:
            path: The copy, which appears only when it is complete. An existing file is replaced.

        Raises:
            StoreError: If the copy cannot be written, or the store is in PostgreSQL.
        """
        self._database.back_up(Path(path))

    def check(self) -> list[str]:
        """Returns what is wrong with the store, in words; empty if nothing is.

        Lets SQLite read the whole file, and compares the derived tables with the events.
        """
        if damage := self._database.damage():
            return damage
        with self._database.transaction() as connection:
            return faults(connection)

    def rebuild(self) -> None:
        """Derives the current labels and the states of queries from the events again."""
        with self._database.transaction(write=True) as connection:
            rebuild(connection)

    def _rows(
        self,
        queries: Sequence[Query],
        run_steps: int = 0,
        priorities: Sequence[float] | None = None,
    ) -> list[tuple[dict[str, Any], str]]:
        priorities = [0.0] * len(queries) if priorities is None else list(priorities)
        if len(priorities) != len(queries) or not all(map(math.isfinite, priorities)):
            raise ValueError(
                f"expected a finite priority for each of {len(queries)} queries, got {priorities}."
            )
        about = {"created_at": self._clock(), "env_steps": run_steps}
        rows: list[dict[str, Any]] = [
            {"id": query.id, "left_item": query.left, "right_item": query.right}
            | {"group_id": query.group, "priority": float(priority), **about}
            for query, priority in zip(queries, priorities, strict=True)
        ]
        for query in queries:
            check_text(query.id, query.left, query.right, query.group)
        return [(row, "") for row in rows]

    def _event(self, **content: Any) -> LabelEvent:
        return draft_event(**content, answered_at=self._clock(), server_ver=self._server_ver)

    def _undo(self, event_id: int, annotator_id: str, submission_key: str) -> LabelEvent:
        return self._event(
            query_id="",  # check_undo fills it in
            answer=None,
            submission_key=submission_key,
            annotator_id=annotator_id,
            supersedes=event_id,
        )
