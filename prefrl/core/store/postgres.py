"""What the label store needs from PostgreSQL: durable commits, and one writer at a time."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from prefrl.errors import MissingExtraError, StoreError, StoreUnavailableError

__all__ = ["open_postgres"]

_OLDEST = 14
_LOCK_TIMEOUT = "30s"
# A cable that is pulled out says nothing: a process would wait for a quarter of an hour.
_CONNECTION = {
    "connect_timeout": 10,
    "tcp_user_timeout": 15_000,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
}
# The lock's key is a number of ours, "pref", and one of the schema, so that stores in one database
# do not wait for each other. Every write takes it first, like BEGIN IMMEDIATE in SQLite. So ids are
# committed in order, and a reader with a cursor misses none.
_WRITE_LOCK = "SELECT pg_advisory_xact_lock(1886545254, hashtext(current_schema()))"


def open_postgres(place: str) -> tuple[Engine, Engine]:
    """Opens a PostgreSQL database, or a schema in one, that holds a label store or nothing.

    Args:
        place: An SQLAlchemy URL such as ``postgresql+psycopg://user@host/database``. The store is
            in the first schema of the search path: ``?options=-csearch_path%3Dname`` chooses one.

    Returns:
        Two engines over the same connections: one with transactions that read, and one with
        transactions that write, one at a time.

    Raises:
        MissingExtraError: If psycopg is not installed.
        StoreError: If the server is too old, or may lose commits.
        StoreUnavailableError: If it cannot be reached.
    """
    url = sa.make_url(place)
    if url.drivername == "postgresql":
        url = url.set(drivername="postgresql+psycopg")
    if url.drivername != "postgresql+psycopg":
        raise StoreError(f"expected postgresql+psycopg://..., got {url}; use psycopg 3.")
    try:
        engine = sa.create_engine(
            url,
            # The server may restart while the store is open.
            pool_pre_ping=True,
            connect_args=_CONNECTION,
        )
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            "expected psycopg for a label store in PostgreSQL, and it is not installed: "
            "pip install 'prefrl[postgres]'."
        ) from error
    sa.event.listen(engine, "connect", _prepare)
    sa.event.listen(engine, "begin", _begin)
    try:
        engine.connect().close()
    except sa.exc.DBAPIError as error:
        raise StoreUnavailableError(
            f"expected a PostgreSQL server at {url}, but {error.orig}; start it, or fix the URL."
        ) from error
    return engine, engine.execution_options(immediate=True)


def _prepare(connection: Any, _record: object) -> None:
    version = connection.info.server_version
    if version < _OLDEST * 10_000:
        raise StoreError(f"expected PostgreSQL {_OLDEST} or newer, got {version // 10_000}.")
    wanted = {"synchronous_commit": "on", "fsync": "on", "lock_timeout": _LOCK_TIMEOUT}
    with connection.cursor() as cursor:
        cursor.execute("SET synchronous_commit TO on")
        cursor.execute(f"SET lock_timeout TO '{_LOCK_TIMEOUT}'")
        for name, value in wanted.items():
            (got,) = cursor.execute(f"SHOW {name}").fetchone()
            if got != value:
                raise StoreError(
                    f"expected PostgreSQL to run with {name} = {value}, got {got}; answers could "
                    "get lost. Change it in postgresql.conf."
                )
    connection.commit()


def _begin(connection: Connection) -> None:
    if connection.get_execution_options().get("immediate", False):
        connection.exec_driver_sql(_WRITE_LOCK)
