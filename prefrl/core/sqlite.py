"""What the label store needs from SQLite: durable settings, immediate transactions, a sound place.

Nothing here knows what is in the tables.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.pool import QueuePool, StaticPool

from prefrl.errors import StoreError

__all__ = ["open_sqlite", "quick_check"]

# SQLite polls for a lock and is not fair: three processes that write without a pause on a disk with
# 20 ms per commit made one another wait for up to 7 s.
_BUSY_TIMEOUT_MS = 30_000
_SYNCHRONOUS_FULL = 2
_OLDEST = (3, 35, 0)
_SMALLEST_SPACE = 16 * 2**20
# Their locks do not hold what they promise: two processes on an NFS home corrupted a database.
_NETWORK = {
    "nfs",
    "nfs4",
    "cifs",
    "smb3",
    "smbfs",
    "lustre",
    "gpfs",
    "ceph",
    "afs",
    "9p",
    "fuse.sshfs",
}
_LARGEST_TO_CHECK = 64 * 2**20


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
            f"expected the path of an SQLite file, sqlite:///PATH or postgresql+psycopg://..., got "
            f"{url}; other databases are not supported."
        )
    in_memory = url.database in (None, "", ":memory:")
    if not in_memory:
        path = Path(str(url.database))
        _check_place(path)
        _make_private(path)
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
    if not in_memory and path.stat().st_size <= _LARGEST_TO_CHECK:
        quick_check(engine)
    return engine, engine.execution_options(immediate=True)


def quick_check(engine: Engine) -> None:
    """Has SQLite look at the whole file.

    It costs some 3 ms per MB, so a large file is only looked at when asked for.

    Raises:
        StoreError: If the file is damaged.
    """
    with engine.connect() as connection:
        found = [row[0] for row in connection.exec_driver_sql("PRAGMA quick_check(3)")]
    if found != ["ok"]:
        raise StoreError(
            f"expected a sound database at {engine.url.database}, but SQLite says: "
            f"{'; '.join(map(str, found))}; take it from a backup."
        )


def _check_place(path: Path, *, mounts: Path = Path("/proc/mounts")) -> None:
    """Refuses network file systems, full disks, and an SQLite that is too old.

    Raises:
        StoreError: With what to do instead.
    """
    if sqlite3.sqlite_version_info < _OLDEST:
        oldest = ".".join(map(str, _OLDEST))
        raise StoreError(
            f"expected SQLite {oldest} or newer, got {sqlite3.sqlite_version}; update Python."
        )
    folder = path.parent
    if not folder.is_dir():
        return  # to make the file will say it better
    with contextlib.suppress(OSError):
        lines = [line.split()[1:3] for line in mounts.read_text().splitlines()]
        above = [(place, kind) for place, kind in lines if folder.resolve().is_relative_to(place)]
        place, kind = max(above, key=lambda mount: len(mount[0]))
        if kind in _NETWORK:
            raise StoreError(
                f"expected a local disk for the label store, but {place} is {kind}, whose locks "
                "are not safe for SQLite; choose a local folder, or a PostgreSQL server."
            )
    free = shutil.disk_usage(folder).free
    if free < _SMALLEST_SPACE:
        raise StoreError(
            f"expected at least {_SMALLEST_SPACE // 2**20} MB free for the label store in "
            f"{folder}, got {free / 2**20:.1f} MB; make room."
        )


def _begin(connection: Connection) -> None:
    # A plain BEGIN that reads and then writes fails at once when another writer gets in between.
    immediate = connection.get_execution_options().get("immediate", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")


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
