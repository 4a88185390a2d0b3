"""Bringing the label store of an older release to this one, by Alembic: forwards only."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

from alembic.migration import MigrationContext
from alembic.operations import Operations
from alembic.script import ScriptDirectory
from sqlalchemy.engine import Connection

from prefrl.core.schema import HEAD
from prefrl.errors import StoreError

__all__ = ["migrate"]


def migrate(connection: Connection, found: str) -> None:
    """Runs the revisions that are missing, after a backup of the file.

    Args:
        connection: In a transaction that writes; it all happens in there, or nothing does.
        found: The revision that the store has.

    Raises:
        StoreError: If the backup cannot be written.
    """
    _back_up(connection.engine.url.database, found)
    script = ScriptDirectory(str(Path(__file__).parent))
    revisions = list(script.iterate_revisions(HEAD, found))[::-1]
    with Operations.context(MigrationContext.configure(connection)):
        for revision in revisions:
            revision.module.upgrade()
    versions = "CREATE TABLE IF NOT EXISTS alembic_version (version_num VARCHAR(32) NOT NULL)"
    connection.exec_driver_sql(versions)
    connection.exec_driver_sql("DELETE FROM alembic_version")
    connection.exec_driver_sql(f"INSERT INTO alembic_version VALUES ('{HEAD}')")


def _back_up(path: str | None, found: str) -> None:
    """Copies an SQLite file before it is changed; other transactions still only read it."""
    if path is None or not os.path.isfile(path):
        return
    backup = f"{path}.before-{HEAD}"
    try:
        source, copy = sqlite3.connect(path), sqlite3.connect(backup)
        with source, copy:
            source.backup(copy)
        source.close()
        copy.close()
    except sqlite3.Error as error:
        raise StoreError(
            f"expected to write {backup} before bringing the store from revision {found} to "
            f"{HEAD}, but {error}; make room."
        ) from error
