"""What the label store needs from PostgreSQL: durable commits, and writes one after the other."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from prefrl.errors import ConfigError, MissingExtraError, StoreError

__all__ = ["open_postgres"]

_WRITE_LOCK = 0x70726566726C  # "prefrl"; the number has no other meaning
_OLDEST = 120000


def open_postgres(place: str) -> tuple[Engine, Engine]:
    """Opens a PostgreSQL database.

    Serial ids are given out before the commit, so with two writers at once a reader with a cursor
    could pass over an id that is committed late. Those who write therefore take a lock first, which
    goes with the transaction: labels come a few per second, commits take milliseconds.

    Args:
        place: An SQLAlchemy URL.

    Returns:
        Two engines over the same connections: one whose transactions read, one whose transactions
        write.

    Raises:
        MissingExtraError: If psycopg is not installed.
        StoreError: If the server cannot be reached, is too old, or may lose commits.
    """
    try:
        url = sa.make_url(place).set(drivername="postgresql+psycopg")
    except sa.exc.ArgumentError as error:
        raise ConfigError(f"expected a database URL, got {place!r}: {error}") from error
    try:
        engine = sa.create_engine(url, pool_pre_ping=True)
    except ImportError as error:
        raise MissingExtraError(
            "expected psycopg for a PostgreSQL label store; install it: "
            "pip install 'prefrl[postgres]'"
        ) from error
    sa.event.listen(engine, "connect", _prepare)
    sa.event.listen(engine, "begin", _begin)
    try:
        with engine.connect() as connection:
            version = connection.exec_driver_sql("SHOW server_version_num").scalar_one()
    except sa.exc.DBAPIError as error:
        raise StoreError(
            f"expected a PostgreSQL server at {url.host}:{url.port or 5432}, but {error.orig}; "
            "look at the address, the user and whether it runs."
        ) from error
    if int(version) < _OLDEST:
        raise StoreError(f"expected PostgreSQL 12 or newer, got {version}; update the server.")
    return engine, engine.execution_options(immediate=True)


def _prepare(connection: Any, _record: object) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET synchronous_commit TO on")
        cursor.execute("SHOW fsync")
        (fsync,) = cursor.fetchone()
    connection.commit()
    if fsync != "on":
        raise StoreError(
            f"expected a PostgreSQL server with fsync = on, got {fsync}: acknowledged labels could "
            "be lost; set it in postgresql.conf."
        )


def _begin(connection: Connection) -> None:
    if connection.get_execution_options().get("immediate", False):
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_WRITE_LOCK})")
