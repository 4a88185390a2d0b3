"""Reserves open queries for one labeller for a while, so that two do not answer the same one.

Leases only save effort: an answer is stored no matter who holds the query.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from prefrl.core.store.labels import Lease
from prefrl.core.store.ledger import as_query, batches
from prefrl.core.store.schema import MEDIUM, QUERY

__all__ = ["IS_OPEN", "IS_READY", "URGENCY", "expiry", "release", "renew", "take"]

LONGEST = 3600.0
"""Longest duration of a lease, in seconds. One that ends later dates from before the clock was set
back."""

IS_OPEN = QUERY.c.state == sa.literal_column("'open'")
"""Written word for word as in the index of open queries, which a parameter would not match."""


def _is_ready(query: sa.FromClause) -> sa.ColumnElement[bool]:
    items = (query.c.left_item, query.c.right_item)
    return sa.and_(*(sa.exists().where(MEDIUM.c.item_id == item) for item in items))


IS_READY = _is_ready(QUERY)
"""SQL condition that both items of a query can be shown."""

_OTHER = QUERY.alias("other")
_IS_WHOLE = ~sa.exists().where(_OTHER.c.group_id == QUERY.c.group_id, ~_is_ready(_OTHER))
"""SQL condition that all queries of a query's group, if it has one, can be shown."""

URGENCY = (QUERY.c.priority.desc(), QUERY.c.created_at, QUERY.c.id)
"""The order in which queries are asked."""


def take(
    connection: Connection,
    annotator_id: str,
    n: int,
    *,
    now: float,
    expires_at: float,
    ready: bool = False,
    keep: Sequence[str] = (),
) -> list[Lease]:
    """Reserves the most urgent open queries that no one else has, including those already held.

    Args:
        connection: Connection in a transaction that writes.
        annotator_id: The labeller.
        n: Most queries to find; the groups of those that are found are taken completely.
        now: Present time, in seconds since 1970.
        expires_at: Time at which the leases expire.
        ready: Whether to take only queries that can be shown, together with all of their group.
        keep: Queries and groups that this labeller has, whose leases are only extended.

    Returns:
        The new leases, the most urgent first.
    """
    is_mine = QUERY.c.leased_by == annotator_id
    is_kept = sa.or_(QUERY.c.id.in_(keep), sa.func.coalesce(QUERY.c.group_id, "").in_(keep))
    if keep:
        longer = QUERY.update().where(IS_OPEN, is_mine, is_kept).values(leased_until=expires_at)
        connection.execute(longer)
    can_be_shown = sa.and_(IS_READY, _IS_WHOLE) if ready else sa.true()
    found = connection.execute(
        sa.select(QUERY.c.id, QUERY.c.group_id)
        .where(IS_OPEN, _is_free(annotator_id, now), can_be_shown, ~is_kept)
        .order_by(*URGENCY)
        .limit(n)
    ).all()
    groups = {row.group_id for row in found if row.group_id is not None}
    taken = (
        QUERY.update()
        .where(
            sa.or_(
                QUERY.c.id.in_([row.id for row in found]),
                sa.and_(QUERY.c.group_id.is_not(None), QUERY.c.group_id.in_(groups)),
            )
        )
        .values(
            leased_by=annotator_id,
            leased_until=expires_at,
            fence=QUERY.c.fence + sa.case((is_mine, 0), else_=1),
        )
        .returning(*QUERY.c)
    )
    rows = sorted(
        connection.execute(taken).all(), key=lambda row: (-row.priority, row.created_at, row.id)
    )
    return [Lease(as_query(row), annotator_id, row.fence, expires_at) for row in rows]


def _is_free(annotator_id: str, now: float) -> sa.ColumnElement[bool]:
    return sa.or_(
        QUERY.c.leased_by.is_(None),
        QUERY.c.leased_by == annotator_id,
        QUERY.c.leased_until <= now,
        QUERY.c.leased_until > now + LONGEST,
    )


def renew(connection: Connection, lease: Lease, *, expires_at: float) -> Lease | None:
    """Extends a lease, even an expired one if no one else has taken the query.

    Args:
        connection: Connection in a transaction that writes.
        lease: The lease to extend.
        expires_at: Time at which it now expires.

    Returns:
        The new lease; None if it was lost, or the query is no longer open.
    """
    is_held = (QUERY.c.leased_by == lease.annotator_id) & (QUERY.c.fence == lease.fence)
    renewed = connection.execute(
        QUERY.update()
        .where(QUERY.c.id == lease.query.id, IS_OPEN, is_held)
        .values(leased_until=expires_at)
    )
    return replace(lease, expires_at=expires_at) if renewed.rowcount else None


def release(connection: Connection, annotator_id: str, query_ids: Sequence[str]) -> int:
    """Returns queries to the pool.

    Args:
        connection: Connection in a transaction that writes.
        annotator_id: The labeller who has them.
        query_ids: Ids of the queries; those that this labeller does not have are left alone.

    Returns:
        Number of queries given back.
    """
    n_released = 0
    for batch in batches(query_ids):
        released = connection.execute(
            QUERY.update()
            .where(QUERY.c.id.in_(batch), QUERY.c.leased_by == annotator_id)
            .values(leased_by=None, leased_until=None)
        )
        n_released += released.rowcount
    return n_released


def expiry(now: float, seconds: float) -> float:
    """Returns the time at which a lease that starts now expires.

    Raises:
        ValueError: If the duration is not positive, or longer than ``LONGEST``.
    """
    if not (math.isfinite(seconds) and 0 < seconds <= LONGEST):
        raise ValueError(f"expected a lease of up to {LONGEST:.0f} seconds, got {seconds}.")
    return now + seconds
