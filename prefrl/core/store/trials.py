"""The first round of a new person: pairs whose right answer is known, before their answers count.

What they say in it is kept as marks of the pairs and not as labels: nothing is fitted to it, no
verdict of most people changes by it, and none of it is lost. What the round comes to is a mark,
too, so that it stays what it was when pairs become gold later, or are no more.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import sqlalchemy as sa

from prefrl.core.comparisons import Query
from prefrl.core.store.database import Database
from prefrl.core.store.marks import add_mark
from prefrl.core.store.quality import Quality
from prefrl.core.store.schema import CURRENT, MARK

__all__ = ["Trial", "Trials", "Verdict"]

Verdict = Literal["passed", "failed", "admitted"]
"""admitted: whoever runs the study lets them go on, whatever they said."""

_UNDONE = "undone"
_VERDICT = "/verdict"  # after the submission key of the answer that brought it


@dataclass(frozen=True)
class Trial:
    """How far somebody is."""

    n_answered: int = 0
    """Gold pairs that they have answered, and did not set."""
    n_right: int = 0
    """How many of them rightly; "can't tell" is not right."""
    verdict: Verdict | None = None
    """What it came to; None while it goes on."""


class Trials:
    """The first rounds in a store.

    Args:
        database: Of the store.
        quality: Knows the gold pairs.
        clock: Gives the seconds since 1970.
    """

    def __init__(self, database: Database, quality: Quality, clock: Callable[[], float]) -> None:
        self._database = database
        self._quality = quality
        self._clock = clock

    def of(self, annotator_id: str) -> Trial:
        """How far somebody is, by all gold pairs that they have answered, also before the round."""
        gold = self._gold(annotator_id)
        said = self._labels(annotator_id) | self._said(annotator_id)
        answered = gold.keys() & said.keys()
        n_right = sum(said[query_id] == gold[query_id] for query_id in answered)
        return Trial(len(answered), n_right, self.verdicts(annotator_id).get(annotator_id))

    def verdicts(self, annotator_id: str | None = None) -> dict[str, Verdict]:
        """What each person's round came to; the newest counts. Of one person, or of all if None."""
        marks = sa.select(MARK).where(MARK.c.kind == "qualified").order_by(MARK.c.id)
        if annotator_id is not None:
            marks = marks.where(MARK.c.annotator_id == annotator_id)
        return {row.annotator_id: row.value for row in self._database.rows(marks)}

    def pairs(self, annotator_id: str, *, n: int) -> list[Query]:
        """Gold pairs that somebody has not answered in any way, at most n."""
        said = self._said(annotator_id)
        found = self._quality.gold(annotator_id, n=n + len(said))
        return [query for query in found if query.id not in said][:n]

    def keeps(self, submission_key: str) -> bool:
        """Whether an answer is one of somebody's first round."""
        return bool(self._answer(submission_key))

    def add(
        self, query_id: str, annotator_id: str, said: str, *, submission_key: str, ranks: str = ""
    ) -> None:
        """Keeps an answer of the round; when this returns, it is on disk.

        Args:
            query_id: What was answered, or the first pair of a group.
            annotator_id: By whom.
            said: left, right, tie or skip, about the query as it is; ranked, of a group.
            submission_key: Of the answer. The same key again changes nothing.
            ranks: Of a group: the order in which it was shown, and the ranks.
        """
        value = f"{said}: {ranks}" if ranks else said
        self._mark(query_id, annotator_id, "trial", value, submission_key)

    def undo(self, undone: str, annotator_id: str, *, submission_key: str) -> bool:
        """Takes an answer of the round back; whether the key is of one."""
        rows = [row for row in self._answer(undone) if row.annotator_id == annotator_id]
        for row in rows:
            self._mark(row.query_id, annotator_id, "trial", _UNDONE, submission_key)
        return bool(rows)

    def decide(self, query_id: str, annotator_id: str, verdict: Verdict, *, key: str) -> None:
        """Stores what somebody's round came to.

        Args:
            query_id: Any query of the store: a mark is about one.
            annotator_id: Who.
            verdict: It.
            key: Of what brought it; the same again changes nothing.
        """
        self._mark(query_id, annotator_id, "qualified", verdict, key + _VERDICT)

    def _mark(self, query_id: str, annotator_id: str, kind: str, value: str, key: str) -> None:
        row = {"query_id": query_id, "annotator_id": annotator_id, "kind": kind, "value": value}
        with self._database.transaction(write=True) as connection:
            add_mark(connection, row | {"submission_key": key, "made_at": self._clock()})

    def _answer(self, key: str) -> list[sa.Row[Any]]:
        marks = sa.select(MARK).where(MARK.c.kind == "trial", MARK.c.submission_key == key)
        return list(self._database.rows(marks))

    def _gold(self, annotator_id: str) -> dict[str, str]:
        newest = sa.select(sa.func.max(MARK.c.id)).where(MARK.c.kind == "gold")
        marks = sa.select(MARK).where(
            MARK.c.id.in_(newest.group_by(MARK.c.query_id)),
            MARK.c.value != "none",
            MARK.c.annotator_id != annotator_id,
        )
        return {row.query_id: row.value for row in self._database.rows(marks)}

    def _said(self, annotator_id: str) -> dict[str, str]:
        """What they said in the round and did not take back."""
        marks = (
            sa.select(MARK)
            .where(MARK.c.kind == "trial", MARK.c.annotator_id == annotator_id)
            .order_by(MARK.c.id)
        )
        said = {row.query_id: row.value for row in self._database.rows(marks)}
        return {query_id: value for query_id, value in said.items() if value != _UNDONE}

    def _labels(self, annotator_id: str) -> dict[str, str]:
        """What they said of gold pairs as labels."""
        gold = sa.select(MARK.c.query_id).where(MARK.c.kind == "gold")
        labels = sa.select(CURRENT.c.query_id, CURRENT.c.answer).where(
            CURRENT.c.query_id.in_(gold),
            CURRENT.c.annotator_id == annotator_id,
            CURRENT.c.answer.is_not(None),
        )
        return {row.query_id: row.answer for row in self._database.rows(labels)}
