"""What the label store needs from SQLite: durable settings, immediate transactions, backups.

Nothing here knows the tables. ``core.store.postgres`` opens the other database.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.pool import QueuePool, StaticPool

from prefrl.core.disk import check_place, whole_file
from prefrl.errors import StoreError

__all__ = ["back_up", "look_through", "open_sqlite", "without_foreign_keys"]

# SQLite polls for a lock and is not fair: three processes that wrote without a pause, on a disk
# with 20 ms per commit, made each other wait for up to 7 s.
_BUSY_TIMEOUT_MS = 30_000
_SYNCHRONOUS_FULL = 2
# The first release with both RETURNING and UPSERT. None is known to be broken in rollback mode: the
# bug that corrupts files with more than one connection (3.7.0 to 3.51.2) concerns WAL mode.
_OLDEST = (3, 35, 0)
# PRAGMA quick_check reads the whole file: 1.3 s for the 188 MB of a million labels.
_LARGEST_TO_LOOK_THROUGH = 4 * 2**20


def open_sqlite(place: str) -> tuple[Engine, Engine]:
    """Opens an SQLite file so that commits survive a crash and a power cut.

    Args:
        place: Path of the file, which is made if absent, readable only by its owner; or
            ``sqlite:///PATH``; or ``sqlite://`` for a database in memory, for one thread.

    Returns:
        Two engines over the same connections: one with transactions that read, and one with
        transactions that write and begin with ``BEGIN IMMEDIATE``.

    Raises:
        StoreError: If SQLite is too old or refuses a setting, the path is on a network or a full
            disk, or the file cannot be made, read or written, is not a database, or is damaged.
    """
    url = sa.make_url(place) if "://" in place else _file_url(place)
    if url.drivername not in ("sqlite", "sqlite+pysqlite") or url.query:
        raise StoreError(
            f"expected the path of an SQLite file, sqlite:///PATH, or postgresql://..., got {url}; "
            "other databases are not supported."
        )
    if sqlite3.sqlite_version_info < _OLDEST:
        raise StoreError(
            f"expected SQLite {'.'.join(map(str, _OLDEST))} or newer, got "
            f"{sqlite3.sqlite_version}; use a newer Python."
        )
    if url.database in (None, "", ":memory:"):
        return _engines(url, "memory", StaticPool)
    path = Path(str(url.database))
    if path.parent.is_dir():
        check_place(path.parent)
    _make_private(path)
    if not os.access(path, os.R_OK | os.W_OK):
        raise StoreError(
            f"expected a label store that this user may read and write, but {path} is not; ask its "
            "owner, or work on a copy that is yours."
        )
    doubtful = _was_left_in_the_middle(path) or path.stat().st_size <= _LARGEST_TO_LOOK_THROUGH
    reader, writer = _engines(url, "truncate", QueuePool)
    if doubtful and (found := look_through(reader)):
        reader.dispose()
        raise StoreError(
            f"expected a sound database at {path}, but SQLite says: {'; '.join(found)}; take it "
            "from a backup."
        )
    return reader, writer


def look_through(engine: Engine, *, thoroughly: bool = False) -> list[str]:
    """Lets SQLite read the whole file and report what is wrong with it.

    Opening a store does this for small files, and after a process died during a commit. A large
    file takes more than a second, so otherwise it is checked only on request.

    Args:
        engine: Engine of the database.
        thoroughly: Whether to compare indexes with their tables, too.

    Returns:
        SQLite's messages; empty if nothing is wrong.
    """
    name = "integrity_check" if thoroughly else "quick_check"
    try:
        with engine.begin() as connection:
            said = connection.exec_driver_sql(f"PRAGMA {name}(5)").scalars().all()
    except sa.exc.DatabaseError as error:
        return [str(error.orig)]
    return [" ".join(str(line).split()) for line in said if line != "ok"]


def back_up(engine: Engine, path: Path) -> None:
    """Copies a snapshot of the database while others continue reading and writing.

    Commits wait meanwhile.

    Args:
        engine: Engine of the database.
        path: The copy, which appears only when it is complete. An existing file is replaced.

    Raises:
        StoreError: If the copy cannot be written.
    """
    source_path = engine.url.database
    if source_path and path.exists() and os.path.samefile(source_path, path):
        raise StoreError(f"expected another place for the backup than the store itself, {path}.")
    try:
        with whole_file(path) as part, engine.connect() as connection:
            source = connection.connection.dbapi_connection
            with closing(sqlite3.connect(part)) as copy:
                source.backup(copy)  # type: ignore[union-attr]
    except sqlite3.Error as error:
        raise StoreError(
            f"expected to write a backup to {path}, but {error}; make room."
        ) from error


@contextmanager
def without_foreign_keys(connection: Connection) -> Iterator[None]:
    """Allows replacing a table that others refer to; all references are checked at the end.

    Args:
        connection: Connection outside a transaction, in which SQLite would ignore the setting.

    Raises:
        StoreError: If a reference points to a missing row.
    """
    raw: sqlite3.Connection = connection.connection.dbapi_connection  # type: ignore[assignment]
    raw.execute("PRAGMA foreign_keys = 0")
    try:
        with connection.begin():
            yield
            if broken := connection.exec_driver_sql("PRAGMA foreign_key_check").all():
                raise StoreError(f"expected references that lead somewhere, got {broken[:3]}.")
    finally:
        raw.execute("PRAGMA foreign_keys = 1")


def _engines(
    url: sa.URL, journal_mode: str, pool: type[StaticPool] | type[QueuePool]
) -> tuple[Engine, Engine]:
    settings = {
        "busy_timeout": _BUSY_TIMEOUT_MS,
        "foreign_keys": 1,
        "journal_mode": journal_mode,
        "synchronous": _SYNCHRONOUS_FULL,
    }

    def prepare(connection: sqlite3.Connection, _record: object) -> None:
        # The driver would begin lazily and never IMMEDIATE, so _begin begins transactions instead.
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
                "another place, or restore this one from a backup."
            ) from error

    engine = sa.create_engine(url, poolclass=pool)
    sa.event.listen(engine, "connect", prepare)
    sa.event.listen(engine, "begin", _begin)
    return engine, engine.execution_options(immediate=True)


def _begin(connection: Connection) -> None:
    # After a plain BEGIN, a write that follows a read fails at once if another writer came between.
    immediate = connection.get_execution_options().get("immediate", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")


def _was_left_in_the_middle(path: Path) -> bool:
    """Whether there is a journal to roll back, or another process is in the middle of a commit."""
    journal = path.with_name(path.name + "-journal")
    try:
        return journal.stat().st_size > 0  # with TRUNCATE, every transaction empties it at its end
    except FileNotFoundError:
        return False


def _file_url(path: str) -> sa.URL:
    return sa.URL.create("sqlite", database=os.path.abspath(path))


def _make_private(path: Path) -> None:
    """Creates the file if it is absent, and lets only its owner read and write it."""
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    except FileExistsError:
        # Uses the path: opening and closing the file would drop this process's locks on it.
        if path.is_file() and path.stat().st_mode & 0o077:
            with suppress(OSError):  # another user's file, or a read-only disk
                path.chmod(0o600)
    except OSError as error:
        raise StoreError(
            f"expected a place for the label store at {path}, but {error.strerror}; make the "
            "folder, or choose another."
        ) from error
