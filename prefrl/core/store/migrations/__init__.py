"""Upgrades the label store of an older release with Alembic; there are no downgrades.

Each revision has a file, which never changes once it is released.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.script import ScriptDirectory
from sqlalchemy.engine import Connection

from prefrl.core.store.schema import HEAD

__all__ = ["upgrade"]


def upgrade(connection: Connection, found: str) -> None:
    """Runs the revisions that a store lacks.

    Args:
        connection: Connection in a transaction that writes, in which everything is done.
        found: The store's present revision.
    """
    folder = str(Path(__file__).parent)
    script = ScriptDirectory(folder, version_locations=[folder])

    def missing(has: Any, _context: object) -> Any:
        return script._upgrade_revs(HEAD, has)

    with EnvironmentContext(Config(), script, fn=missing) as environment:
        environment.configure(connection=connection)
        context = environment.get_context()
        if not context.get_current_heads():  # the store is older than Alembic's revisions
            context.stamp(script, found)
        environment.run_migrations()
