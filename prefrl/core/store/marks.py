"""Marks: what annotators say about a query besides their answer.

The kinds of marks are:

- flag: something is wrong with the query;
- gold: the right answer, by which other answers are judged;
- fast: the answer came before the pair could be seen once;
- strength: how much better a side is;
- reason: why an answer was given;
- note: a person's remark on an answer;
- trial and qualified: a new person's first round, see ``core.store.trials``.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from prefrl.core.comparisons import Answer
from prefrl.core.store.database import Database
from prefrl.core.store.labels import Submission, check_text
from prefrl.core.store.schema import EVENT, MARK, QUERY
from prefrl.errors import StoreError, SubmissionConflictError

__all__ = ["Mark", "Marks", "add_mark"]

_VALUES = {
    "flag": ("raised", "lowered"),
    "gold": ("left", "right", "tie", "none"),
    "fast": ("given",),
    "strength": ("slightly", "clearly"),
    "reason": ("given",),
    "note": ("given",),
    "trial": ("left", "right", "tie", "skip", "ranked", "undone"),
    "qualified": ("passed", "failed", "admitted"),
}
_WHY = ": "  # between a mark's value and its reason
_SAY_WHY = ("flag", "reason", "note", "trial")
# Suffixes of the answer's submission key.
_FAST, _STRENGTH, _REASON, _NOTE = "/fast", "/strength", "/reason", "/note"


@dataclass(frozen=True)
class Mark:
    """A mark by one annotator. Like answers, marks are only ever added."""

    query_id: str
    """Id of the query that it is about."""
    annotator_id: str
    """The annotator who made it."""
    kind: str
    """"flag", "gold", "fast", "strength", "reason", "note", "trial" or "qualified"."""
    value: str
    """Flag: raised or lowered. Gold: the right answer, or none if it was withdrawn."""
    made_at: float
    """Time at which it was stored, in seconds since 1970."""
    why: str = ""
    """The annotator's words. Flag: what is wrong. Reason and note: the text itself."""


class Marks:
    """The marks in a store. The newest gold mark of a query counts for everyone.

    Args:
        database: Database of the store.
        clock: Returns the seconds since 1970.
    """

    def __init__(self, database: Database, clock: Callable[[], float]) -> None:
        self._database = database
        self._clock = clock

    def add(
        self,
        query_id: str,
        annotator_id: str,
        kind: str,
        value: str,
        *,
        submission_key: str,
        why: str = "",
    ) -> None:
        """Adds a mark; when this returns, it is on disk. The same key again changes nothing.

        Raises:
            ValueError: If there is no such kind or value of a mark, or a text cannot be stored.
            StoreError: If there is no such query.
            SubmissionConflictError: If the key was used for another mark.
        """
        value = f"{value}{_WHY}{why}" if why else value
        row = {"query_id": query_id, "annotator_id": annotator_id, "kind": kind, "value": value}
        about = {"submission_key": submission_key, "made_at": self._clock()}
        with self._database.transaction(write=True) as connection:
            add_mark(connection, row | about)

    def add_fast(self, query_id: str, annotator_id: str, *, answer_key: str) -> None:
        """Marks an answer, by its submission key, as given before the pair could be seen."""
        self.add(query_id, annotator_id, "fast", "given", submission_key=answer_key + _FAST)

    def add_reason(self, query_id: str, annotator_id: str, why: str, *, answer_key: str) -> None:
        """Stores the reason for an answer, by the answer's submission key."""
        self.add(
            query_id, annotator_id, "reason", "given", submission_key=answer_key + _REASON, why=why
        )

    def reasons(self) -> dict[str, str]:
        """Returns the reasons for answers, by the answers' submission keys."""
        rows = self._database.rows(sa.select(MARK).where(MARK.c.kind == "reason"))
        return {row.submission_key.removesuffix(_REASON): _as_mark(row).why for row in rows}

    def add_note(self, query_id: str, annotator_id: str, note: str, *, answer_key: str) -> None:
        """Adds a person's note to an answer, by the answer's submission key."""
        key = answer_key + _NOTE
        self.add(query_id, annotator_id, "note", "given", submission_key=key, why=note)

    def notes(self) -> dict[str, Mark]:
        """Returns people's notes by the submission keys of the answers, the oldest first."""
        noted = sa.select(MARK).where(MARK.c.kind == "note").order_by(MARK.c.id)
        rows = self._database.rows(noted)
        return {row.submission_key.removesuffix(_NOTE): _as_mark(row) for row in rows}

    def fast(self) -> frozenset[str]:
        """Returns the submission keys of the answers that were given too fast."""
        rows = self._database.rows(sa.select(MARK.c.submission_key).where(MARK.c.kind == "fast"))
        return frozenset(row.submission_key.removesuffix(_FAST) for row in rows)

    def add_strength(
        self, query_id: str, annotator_id: str, strength: str, *, answer_key: str
    ) -> None:
        """Stores a strength, "slightly" or "clearly", by the answer's submission key.

        Store it before the answer, so that whoever reads the answer finds it.
        """
        key = answer_key + _STRENGTH
        self.add(query_id, annotator_id, "strength", strength, submission_key=key)

    def add_strengths(
        self, connection: Connection, answers: Iterable[Submission], strengths: Mapping[str, str]
    ) -> None:
        """Stores the strengths of answers in the same transaction, before the answers.

        Args:
            connection: Connection in a transaction that writes.
            answers: The answers.
            strengths: How much better the chosen side is, by the submission key of the answer;
                those of other answers are ignored.
        """
        for given in answers:
            if strength := strengths.get(given.submission_key):
                row = {
                    "query_id": given.query_id,
                    "annotator_id": given.annotator_id,
                    "kind": "strength",
                    "value": strength,
                    "made_at": self._clock(),
                    "submission_key": given.submission_key + _STRENGTH,
                }
                add_mark(connection, row)

    def strengths(self, *, since: int = 0, until: int | None = None) -> dict[int, str]:
        """Returns the strengths of answers, by the id of the answer's event.

        Args:
            since: Only for events after this id.
            until: Only for events up to this id; None for all.
        """
        key = EVENT.c.submission_key + _STRENGTH
        found = (
            sa.select(EVENT.c.id, MARK.c.value)
            .join(EVENT, MARK.c.submission_key == key)
            .where(MARK.c.kind == "strength", EVENT.c.id > since)
        )
        if until is not None:
            found = found.where(EVENT.c.id <= until)
        return {row.id: row.value for row in self._database.rows(found)}

    def flags(self, queries: Collection[str] | None = None) -> list[Mark]:
        """Returns the raised flags on some queries, or on all if None; the newest last."""
        newest = self._newest("flag", MARK.c.annotator_id, queries=queries)
        return [mark for mark in newest if mark.value == "raised"]

    def gold(self) -> dict[str, Answer]:
        """Returns the right answers to the gold pairs, by query."""
        return {mark.query_id: Answer(mark.value) for mark in self.gold_marks()}

    def gold_marks(self, queries: Collection[str] | None = None) -> list[Mark]:
        """Returns the current gold marks on some queries, or on all if None; the newest last."""
        return [mark for mark in self._newest("gold", queries=queries) if mark.value != "none"]

    def _newest(
        self, kind: str, *per: sa.ColumnElement[str], queries: Collection[str] | None = None
    ) -> list[Mark]:
        newest = (
            sa.select(sa.func.max(MARK.c.id))
            .where(MARK.c.kind == kind)
            .group_by(MARK.c.query_id, *per)
        )
        if queries is not None:
            newest = newest.where(MARK.c.query_id.in_(queries))
        rows = self._database.rows(sa.select(MARK).where(MARK.c.id.in_(newest)).order_by(MARK.c.id))
        return [_as_mark(row) for row in rows]


def _as_mark(row: sa.Row[Any]) -> Mark:
    value, _, why = row.value.partition(_WHY)
    return Mark(row.query_id, row.annotator_id, row.kind, value, row.made_at, why)


def add_mark(connection: Connection, row: Mapping[str, Any], where: str = "") -> None:
    """Adds a mark, unless its key already exists.

    Args:
        connection: Connection in a transaction that writes.
        row: The columns of the mark, in which ``why`` is part of the value.
        where: Prefix of error messages about it.
    """
    value, _, why = row["value"].partition(_WHY)
    if value not in _VALUES.get(row["kind"], ()) or (why and row["kind"] not in _SAY_WHY):
        raise ValueError(
            f"{where}expected a mark of {_VALUES}, got {row['kind']} {row['value']!r}."
        )
    check_text(row["query_id"], row["annotator_id"], row["submission_key"], why)
    there = sa.select(MARK).where(MARK.c.submission_key == row["submission_key"])
    if first := connection.execute(there).first():
        if any(first._mapping[name] != row[name] for name in row if name != "made_at"):
            raise SubmissionConflictError(
                f"{where}submission key {row['submission_key']!r} was used for another mark; make "
                "a new key for each."
            )
        return
    if not connection.execute(sa.select(QUERY.c.id).where(QUERY.c.id == row["query_id"])).first():
        raise StoreError(f"{where}expected a query of this store, got {row['query_id']!r}.")
    newest = connection.execute(sa.select(sa.func.max(MARK.c.id))).scalar() or 0
    connection.execute(MARK.insert().values(id=newest + 1, **row))
