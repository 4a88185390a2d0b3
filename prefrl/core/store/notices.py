"""Short notices by name that processes on different machines leave for one another.

They hold short-lived news, such as what the agent is doing or how many people are at a page. A
new notice replaces the old one of that name. They carry no time, because the clocks of different
machines differ: a reader takes a notice as new if its content has changed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from prefrl.core.store.database import Database
from prefrl.core.store.labels import check_text
from prefrl.core.store.schema import NOTICE

__all__ = ["Notices"]


class Notices:
    """The notices in a label store.

    Args:
        database: Database of the store.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def put(self, name: str, content: Mapping[str, Any]) -> None:
        """Leaves a notice, in place of an older one of this name.

        Args:
            name: Its name.
            content: Anything that JSON can hold.
        """
        check_text(name)
        row = {"name": name, "content": json.dumps(dict(content), allow_nan=False)}
        with self._database.transaction(write=True) as connection:
            connection.execute(NOTICE.delete().where(NOTICE.c.name == name))
            connection.execute(NOTICE.insert().values(row))

    def get(self, name: str) -> dict[str, Any] | None:
        """Returns the notice of this name; None if there is none."""
        return self.all(name).get(name)

    def all(self, prefix: str = "") -> dict[str, dict[str, Any]]:
        """Returns the notices by name.

        Args:
            prefix: Only those whose names begin like this.
        """
        found = sa.select(NOTICE).where(NOTICE.c.name.startswith(prefix, autoescape=True))
        return {row.name: json.loads(row.content) for row in self._database.rows(found)}

    def remove(self, name: str) -> None:
        """Removes the notice of this name, if there is one."""
        with self._database.transaction(write=True) as connection:
            connection.execute(NOTICE.delete().where(NOTICE.c.name == name))
