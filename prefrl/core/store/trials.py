"""The first round of a new person: gold pairs, before the person's answers count.

The answers in it are stored as marks on the pairs, and not as labels: nothing is fitted to them,
they change no majority, and none is lost. The result of the round is a mark, too, so that it does
not change if more pairs become gold later, or some no longer are.
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
"""Result of a round; "admitted" if whoever runs the study lets the person go on anyway."""

_UNDONE = "undone"
_VERDICT = "/verdict"  # suffix of the submission key of the answer that decided the round


@dataclass(frozen=True)
class Trial:
    """A person's progress in the first round."""

    n_answered: int = 0
    """Number of gold pairs that they have answered, without those that they set themselves."""
    n_right: int = 0
    """Number of these that they answered rightly; "can't tell" is not right."""
    verdict: Verdict | None = None
    """Result of the round; None before it is decided."""


class Trials:
    """The first rounds in a store.

    Args:
        database: Database of the store.
        quality: Finds the gold pairs.
        clock: Returns the seconds since 1970.
    """

    def __init__(self, database: Database, quality: Quality, clock: Callable[[], float]) -> None:
        self._database = database
        self._quality = quality
        self._clock = clock

    def of(self, annotator_id: str) -> Trial:
        """Returns a person's progress on all gold pairs, including those answered as labels."""
        gold = self._gold(annotator_id)
        said = self._labels(annotator_id) | self._said(annotator_id)
        answered = gold.keys() & said.keys()
        n_right = sum(said[query_id] == gold[query_id] for query_id in answered)
        return Trial(len(answered), n_right, self.verdicts(annotator_id).get(annotator_id))

    def verdicts(self, annotator_id: str | None = None) -> dict[str, Verdict]:
        """Returns the newest result of each person, or only that of one."""
        marks = sa.select(MARK).where(MARK.c.kind == "qualified").order_by(MARK.c.id)
        if annotator_id is not None:
            marks = marks.where(MARK.c.annotator_id == annotator_id)
        return {row.annotator_id: row.value for row in self._database.rows(marks)}

    def pairs(self, annotator_id: str, *, n: int) -> list[Query]:
        """Returns at most n gold pairs that a person has not answered, in the round or not."""
        said = self._said(annotator_id)
        found = self._quality.gold(annotator_id, n=n + len(said))
        return [query for query in found if query.id not in said][:n]

    def keeps(self, submission_key: str) -> bool:
        """Whether an answer belongs to someone's first round."""
        return bool(self._answer(submission_key))

    def add(
        self, query_id: str, annotator_id: str, said: str, *, submission_key: str, ranks: str = ""
    ) -> None:
        """Stores an answer of the round; when this returns, it is on disk.

        Args:
            query_id: Id of the answered query, or of the first pair of a group.
            annotator_id: The person who answered.
            said: "left", "right", "tie" or "skip", in terms of the query; "ranked" for a group.
            submission_key: Submission key of the answer. Repeating it with its key changes nothing.
            ranks: For a group, the order in which it was shown, and the ranks.
        """
        value = f"{said}: {ranks}" if ranks else said
        self._mark(query_id, annotator_id, "trial", value, submission_key)

    def undo(self, undone: str, annotator_id: str, *, submission_key: str) -> bool:
        """Takes back an answer of the round, and returns whether the key is that of one."""
        rows = [row for row in self._answer(undone) if row.annotator_id == annotator_id]
        for row in rows:
            self._mark(row.query_id, annotator_id, "trial", _UNDONE, submission_key)
        return bool(rows)

    def decide(self, query_id: str, annotator_id: str, verdict: Verdict, *, key: str) -> None:
        """Stores the result of a person's round.

        Args:
            query_id: Id of any query in the store, as a mark needs one.
            annotator_id: The person.
            verdict: The result.
            key: Submission key of the answer that decided it; repeating it changes nothing.
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
        """Returns a person's answers in the round, without those taken back, by query."""
        marks = (
            sa.select(MARK)
            .where(MARK.c.kind == "trial", MARK.c.annotator_id == annotator_id)
            .order_by(MARK.c.id)
        )
        said = {row.query_id: row.value for row in self._database.rows(marks)}
        return {query_id: value for query_id, value in said.items() if value != _UNDONE}

    def _labels(self, annotator_id: str) -> dict[str, str]:
        """Returns a person's labels on gold pairs, by query."""
        gold = sa.select(MARK.c.query_id).where(MARK.c.kind == "gold")
        labels = sa.select(CURRENT.c.query_id, CURRENT.c.answer).where(
            CURRENT.c.query_id.in_(gold),
            CURRENT.c.annotator_id == annotator_id,
            CURRENT.c.answer.is_not(None),
        )
        return {row.query_id: row.answer for row in self._database.rows(labels)}
