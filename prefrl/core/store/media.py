"""Records which film or text shows an item, so that the page hands out only what can be shown."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import sqlalchemy as sa

from prefrl.core.comparisons import Query
from prefrl.core.store.database import Database
from prefrl.core.store.labels import check_text
from prefrl.core.store.leases import IS_OPEN, IS_READY, URGENCY
from prefrl.core.store.ledger import as_query, by_column
from prefrl.core.store.schema import MEDIUM, QUERY

__all__ = ["SUFFIXES", "Media", "Medium"]

SUFFIXES = {"video/webm": ".webm", "video/mp4": ".mp4", "application/json": ".json"}
"""File suffixes by media type, for all types that can be shown."""


@dataclass(frozen=True)
class Medium:
    """The medium that shows an item."""

    media_id: str
    """Id that depends only on the content."""
    media_type: str
    """Media type, such as ``video/webm``."""


class Media:
    """The media of items. The files themselves are outside the store, and written first.

    Args:
        database: Database of the store.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, item_id: str, media_id: str, media_type: str) -> None:
        """Records the medium that shows an item from now on. The file must already be on disk."""
        check_text(item_id, media_id, media_type)
        row = {"item_id": item_id, "media_id": media_id, "media_type": media_type}
        with self._database.transaction(write=True) as connection:
            connection.execute(MEDIUM.delete().where(MEDIUM.c.item_id == item_id))
            connection.execute(MEDIUM.insert().values(row))

    def forget(self, media_id: str) -> int:
        """Records that a medium is lost, so that its items have none again.

        Returns the number of these items.
        """
        with self._database.transaction(write=True) as connection:
            lost = connection.execute(MEDIUM.delete().where(MEDIUM.c.media_id == media_id))
            return lost.rowcount

    def of(self, item_ids: Iterable[str]) -> dict[str, Medium]:
        """Returns the media of items, by item; omits items without one."""
        ids = list(item_ids)
        rows = self._database.read(lambda found: list(by_column(found, MEDIUM.c.item_id, ids)))
        return {row.item_id: Medium(row.media_id, row.media_type) for row in rows}

    def type_of(self, media_id: str) -> str | None:
        """Returns the type of a medium; None if no item has this medium."""
        found = sa.select(MEDIUM.c.media_type).where(MEDIUM.c.media_id == media_id).limit(1)
        rows = self._database.rows(found)
        return str(rows[0].media_type) if rows else None

    def missing(self, n: int) -> list[Query]:
        """Returns those of the n most urgent open queries that have an item without a medium."""
        urgent = sa.select(QUERY).where(IS_OPEN).order_by(*URGENCY).limit(n).subquery()
        shown = sa.select(MEDIUM.c.item_id)
        is_ready = urgent.c.left_item.in_(shown) & urgent.c.right_item.in_(shown)
        order = (urgent.c.priority.desc(), urgent.c.created_at, urgent.c.id)
        rows = self._database.rows(sa.select(urgent).where(~is_ready).order_by(*order))
        return [as_query(row) for row in rows]

    def n_ready(self) -> int:
        """Counts the open queries that can be shown."""
        ready = sa.select(sa.func.count()).select_from(QUERY).where(IS_OPEN, IS_READY)
        return int(self._database.rows(ready)[0][0])
