"""Pairs that are shown again to measure the quality of labels; labellers do not know which.

Three kinds: a pair that another person has answered, for the agreement between people; a pair of
one's own, mirrored, for the agreement with oneself; a gold pair, whose right answer is known.
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
_RECENT = 2000  # events among which an overlap is looked for, so that it costs the same for ever


@dataclass(frozen=True)
class Repeat:
    """A pair that an annotator should see again."""

    query: Query
    """The pair."""
    order_shown: str | None
    """How it lay on the screen the first time."""


class Quality:
    """Finds pairs to be shown again.

    Args:
        database: Database of the store.
        machines: Annotators that are not people: their answers do not count for agreement.
    """

    def __init__(self, database: Database, machines: Collection[str] = MACHINES) -> None:
        self._database = database
        self._machines = machines

    def overlaps(self, annotator_id: str, *, people: int, n: int) -> list[Query]:
        """Pairs of late with answers of fewer than so many people, none of this one; newest first.

        Those that a model or a file has answered are among them, so that people can be compared
        with it: only its answer is not one of a person.

        Args:
            annotator_id: Who is to answer them.
            people: How many are to answer a pair.
            n: How many pairs at most.
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
        """Gold pairs that this annotator has not answered."""
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
        """Pairs that this annotator preferred one side of, once, some answers ago.

        Args:
            annotator_id: Who is to answer them again.
            after: How many answers of theirs must lie in between at least.
            n: How many pairs at most.
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
    """What ``labels.is_person`` says of whose label it is."""
    name = CURRENT.c.annotator_id
    return sa.and_(
        name.not_in(MACHINES | {DATASET}),
        # Not LIKE, which makes no difference between small and capital letters in SQLite.
        *(sa.func.substr(name, 1, len(start)) != start for start in (AI, f"{DATASET}-")),
    )


def _has_label(annotator_id: str) -> sa.Exists:
    return sa.exists().where(
        CURRENT.c.query_id == QUERY.c.id, CURRENT.c.annotator_id == annotator_id
    )
