"""What the label store needs from SQLite: durable settings, immediate transactions, the schema.

Nothing here knows what is in the tables. Another database would get a module with the same two
functions.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Sequence
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.pool import QueuePool, StaticPool

from prefrl.errors import StoreError

__all__ = ["create_schema", "open_sqlite"]

# SQLite polls for a lock and is not fair: three processes that write without a pause on a disk with
# 20 ms per commit made one another wait for up to 7 s.
_BUSY_TIMEOUT_MS = 30_000
_SYNCHRONOUS_FULL = 2


def open_sqlite(place: str) -> tuple[Engine, Engine]:
    """Opens an SQLite file so that what was committed survives a crash and a power cut.

    Args:
        place: Path of the file, made if absent, for its owner only; or ``sqlite:///PATH``, or
            ``sqlite://`` for a database in memory, for one thread.

    Returns:
        Two engines over the same connections: one whose transactions read, one whose transactions
        write and begin with ``BEGIN IMMEDIATE``.

    Raises:
        StoreError: If the file cannot be made. Opening a connection raises it when the file is no
            database, or SQLite does not take a setting.
    """
    url = sa.make_url(place) if "://" in place else _file_url(place)
    if url.drivername not in ("sqlite", "sqlite+pysqlite") or url.query:
        raise StoreError(
            f"expected the path of an SQLite file, or sqlite:///PATH, got {url}; other databases "
            "are not supported yet."
        )
    in_memory = url.database in (None, "", ":memory:")
    if not in_memory:
        _make_private(Path(str(url.database)))
    settings = {
        "busy_timeout": _BUSY_TIMEOUT_MS,
        "foreign_keys": 1,
        "journal_mode": "memory" if in_memory else "truncate",
        "synchronous": _SYNCHRONOUS_FULL,
    }

    def prepare(connection: sqlite3.Connection, _record: object) -> None:
        # The driver would begin lazily and never IMMEDIATE: transactions begin in _begin instead.
        connection.isolation_level = None
        try:
            for name, wanted in settings.items():
                connection.execute(f"PRAGMA {name} = {wanted}").fetchall()
                (got,) = connection.execute(f"PRAGMA {name}").fetchone()
                if got != wanted:
                    raise StoreError(
                        f"expected SQLite to run with {name} = {wanted}, got {got}; put the label "
                        "store on a local disk."
                    )
        except sqlite3.Error as error:
            raise StoreError(
                f"expected an SQLite database at {url.database}, but SQLite says: {error}; choose "
                "another place, or mend this one from a backup."
            ) from error

    engine = sa.create_engine(url, poolclass=StaticPool if in_memory else QueuePool)
    sa.event.listen(engine, "connect", prepare)
    sa.event.listen(engine, "begin", _begin)
    return engine, engine.execution_options(immediate=True)


def create_schema(
    connection: Connection,
    tables: sa.MetaData,
    *,
    version: int,
    views: Sequence[str],
    append_only: sa.Table,
) -> None:
    """Makes the schema in an empty database, or checks the version of the one that is there.

    Args:
        connection: In a transaction that writes.
        tables: Tables to make.
        version: Of the schema; kept in ``user_version``.
        views: Statements to run after the tables are made.
        append_only: The table whose rows may only be added. It has an ``id``; rows also clash on
            the columns that are unique.

    Raises:
        StoreError: If the database has a newer schema, or tables but no schema of ours.
    """
    found = connection.exec_driver_sql("PRAGMA user_version").scalar_one()
    if found > version:
        raise StoreError(
            f"expected a label store of version {version}, got version {found}; update prefrl."
        )
    if found == version:
        return
    if strangers := sa.inspect(connection).get_table_names():
        raise StoreError(
            f"expected a new file or a label store, got a database with the tables {strangers}; "
            "choose another place."
        )
    tables.create_all(connection)
    for statement in (*views, *_append_only_triggers(append_only)):
        connection.exec_driver_sql(statement)
    connection.exec_driver_sql(f"PRAGMA user_version = {version}")


def _begin(connection: Connection) -> None:
    # A plain BEGIN that reads and then writes fails at once when another writer gets in between.
    immediate = connection.get_execution_options().get("immediate", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")


def _append_only_triggers(table: sa.Table) -> list[str]:
    keys = ["id", *(column.name for column in table.columns if column.unique)]
    clash = " OR ".join(f"{key} = NEW.{key}" for key in keys)
    events = {
        "update": f"UPDATE ON {table}",
        "delete": f"DELETE ON {table}",
        # INSERT OR REPLACE deletes the old row without firing a DELETE trigger.
        "replace": f"INSERT ON {table} WHEN EXISTS (SELECT 1 FROM {table} WHERE {clash})",
    }
    return [
        f"CREATE TRIGGER {table}_no_{name} BEFORE {event} "
        f"BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
        for name, event in events.items()
    ]


def _file_url(path: str) -> sa.URL:
    return sa.URL.create("sqlite", database=os.path.abspath(path))


def _make_private(path: Path) -> None:
    """Makes the file, if absent, and lets only its owner read and write it."""
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    except FileExistsError:
        # By name: to open and close a file drops the locks that this process holds on it.
        if path.is_file() and path.stat().st_mode & 0o077:
            path.chmod(0o600)
    except OSError as error:
        raise StoreError(
            f"expected a place for the label store at {path}, but {error.strerror}; make the "
            "folder, or choose another."
        ) from error
