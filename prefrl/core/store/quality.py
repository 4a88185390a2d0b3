"""Pairs that are shown to measure the quality of labels; labellers do not know which these are.

There are three kinds: pairs that others have answered, for the agreement between people; pairs
that the same person has answered, shown mirrored, for self-consistency; and gold pairs, whose
right answer is known.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import sqlalchemy as sa

from prefrl.core.comparisons import Query
from prefrl.core.store.database import Database
from prefrl.core.store.labels import AI, DATASET, MACHINES
from prefrl.core.store.leases import IS_READY
from prefrl.core.store.ledger import as_query
from prefrl.core.store.schema import CURRENT, EVENT, MARK, QUERY

__all__ = ["Quality", "Repeat"]

_PAIRS = QUERY.c.group_id.is_(None)
_RECENT = 2000  # newest events that are searched for overlaps, which bounds the cost


@dataclass(frozen=True)
class Repeat:
    """A pair that an annotator should see again."""

    query: Query
    """The pair."""
    order_shown: str | None
    """Order of its items on the screen the first time."""


class Quality:
    """Finds pairs that measure the quality of labels.

    Args:
        database: Database of the store.
        machines: Annotators whose answers do not count for agreement.
    """

    def __init__(self, database: Database, machines: Collection[str] = MACHINES) -> None:
        self._database = database
        self._machines = machines

    def overlaps(self, annotator_id: str, *, people: int, n: int) -> list[Query]:
        """Finds pairs recently answered by others but by too few people, the newest first.

        They include pairs answered only by a model or a file, so that people can be compared with
        it; such an answer does not count as one of a person.

        Args:
            annotator_id: The person who would answer them, and has not yet.
            people: Number of people who should answer a pair.
            n: Most pairs to return.
        """
        newest = sa.select(sa.func.max(EVENT.c.id)).scalar_subquery()
        others = (
            sa.select(CURRENT.c.query_id, sa.func.max(CURRENT.c.event_id).label("newest"))
            .where(
                CURRENT.c.event_id > newest - _RECENT,
                CURRENT.c.answer.is_not(None),
                CURRENT.c.annotator_id.not_in(self._machines),
            )
            .group_by(CURRENT.c.query_id)
            .having(sa.func.sum(sa.case((_is_person(), 1), else_=0)) < people)
            .subquery()
        )
        pairs = (
            sa.select(QUERY)
            .join(others, others.c.query_id == QUERY.c.id)
            .where(_PAIRS, IS_READY, ~_has_label(annotator_id))
            .order_by(others.c.newest.desc())
            .limit(n)
        )
        return [as_query(row) for row in self._database.rows(pairs)]

    def gold(self, annotator_id: str, *, n: int) -> list[Query]:
        """Finds at most n gold pairs that this annotator has neither answered nor set."""
        newest = sa.select(sa.func.max(MARK.c.id)).where(MARK.c.kind == "gold")
        pairs = (
            sa.select(QUERY)
            .join(MARK, MARK.c.query_id == QUERY.c.id)
            .where(
                MARK.c.id.in_(newest.group_by(MARK.c.query_id)),
                MARK.c.value != "none",
                MARK.c.annotator_id != annotator_id,
                _PAIRS,
                IS_READY,
                ~_has_label(annotator_id),
            )
            .order_by(MARK.c.id)
            .limit(n)
        )
        return [as_query(row) for row in self._database.rows(pairs)]

    def repeats(self, annotator_id: str, *, after: int, n: int) -> list[Repeat]:
        """Finds pairs that this annotator answered only once, with a preference, some time ago.

        Args:
            annotator_id: The person who would answer them again.
            after: Least number of their newer answers.
            n: Most pairs to return.
        """
        mine = sa.select(EVENT.c.id).where(EVENT.c.annotator_id == annotator_id)
        recent = mine.order_by(EVENT.c.id.desc()).offset(after).limit(1).scalar_subquery()
        other = EVENT.alias("other")
        is_only_one = ~sa.exists().where(
            other.c.query_id == EVENT.c.query_id,
            other.c.annotator_id == annotator_id,
            other.c.id != EVENT.c.id,
        )
        pairs = (
            sa.select(QUERY, EVENT.c.order_shown)
            .join(CURRENT, CURRENT.c.query_id == QUERY.c.id)
            .join(EVENT, EVENT.c.id == CURRENT.c.event_id)
            .where(
                CURRENT.c.annotator_id == annotator_id,
                CURRENT.c.answer.in_(("left", "right")),
                CURRENT.c.event_id <= recent,
                is_only_one,
                _PAIRS,
                IS_READY,
            )
            .order_by(CURRENT.c.event_id.desc())
            .limit(n)
        )
        return [Repeat(as_query(row), row.order_shown) for row in self._database.rows(pairs)]


def _is_person() -> sa.ColumnElement[bool]:
    """Returns SQL for ``labels.is_person`` of a label's annotator."""
    name = CURRENT.c.annotator_id
    return sa.and_(
        name.not_in(MACHINES | {DATASET}),
        # Not LIKE, which ignores case in SQLite.
        *(sa.func.substr(name, 1, len(start)) != start for start in (AI, f"{DATASET}-")),
    )


def _has_label(annotator_id: str) -> sa.Exists:
    return sa.exists().where(
        CURRENT.c.query_id == QUERY.c.id, CURRENT.c.annotator_id == annotator_id
    )
