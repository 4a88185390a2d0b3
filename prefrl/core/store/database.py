"""The database under the label store: opens it safely, migrates it, and translates its errors."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine, RootTransaction, Row

from prefrl.core.store import schema
from prefrl.core.store.postgres import open_postgres
from prefrl.core.store.sqlite import back_up, look_through, open_sqlite, without_foreign_keys
from prefrl.core.store.waiting import is_away, patiently
from prefrl.errors import StoreError, StoreUnavailableError
from prefrl.failpoints import fail_point

__all__ = ["Database"]

_T = TypeVar("_T")


class Database:
    """An SQLite file or a PostgreSQL database with the tables of this release.

    Opening it upgrades a store of an older release, in SQLite after a backup beside the file.

    Args:
        place: Path or URL, as ``LabelStore`` takes it.

    Raises:
        StoreError: If it cannot be opened safely, holds something else, or is too new. Every method
            raises it when the database refuses.
    """

    def __init__(self, place: str) -> None:
        is_postgres = place.startswith(("postgresql:", "postgresql+"))
        if is_postgres:
            self._reader, self._writer = patiently(lambda: open_postgres(place))
        else:
            self._reader, self._writer = open_sqlite(place)
        self._is_on_server = is_postgres
        self._name = str(self._reader.url.database)
        self._closed = False
        try:
            self._bring_up_to_date()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Closes all connections."""
        self._closed = True
        self._reader.dispose()

    @contextmanager
    def transaction(self, *, write: bool = False) -> Iterator[Connection]:
        """Context with a transaction, which takes effect completely or not at all.

        Args:
            write: Whether it writes. Writers take turns.
        """
        if self._closed:
            raise StoreError("expected an open label store, got a closed one; open it again.")
        with self._errors_as_ours(), self._begun(self._writer if write else self._reader) as opened:
            yield opened
            if write:
                fail_point("store:before-commit")
        if write:
            fail_point("store:after-commit")

    @contextmanager
    def _begun(self, engine: Engine) -> Iterator[Connection]:
        begin = functools.partial(_begin, engine)
        connection, transaction = patiently(begin) if self._is_on_server else begin()
        with connection, transaction:
            yield connection

    def rows(self, statement: sa.Select[Any]) -> Sequence[Row[Any]]:
        """Returns all rows at once, because an open cursor would block commits in SQLite."""
        return self.read(lambda connection: connection.execute(statement).all())

    def read(self, look: Callable[[Connection], _T]) -> _T:
        """Reads in a transaction; begins again if a server goes away in the middle.

        Args:
            look: Reads, and changes nothing.
        """

        def once() -> _T:
            with self.transaction() as connection:
                return look(connection)

        return patiently(once) if self._is_on_server else once()

    def back_up(self, path: Path) -> None:
        """Copies a snapshot of an SQLite database; see ``core.store.sqlite``."""
        if self._reader.dialect.name != "sqlite":
            raise StoreError(
                f"expected a label store in SQLite to back up, got one in PostgreSQL, "
                f"{self._name}; use pg_dump, or export_jsonl."
            )
        with self._errors_as_ours():
            back_up(self._reader, path)

    def damage(self) -> list[str]:
        """Returns what SQLite finds wrong with its file; nothing for PostgreSQL."""
        if self._reader.dialect.name != "sqlite":
            return []
        return look_through(self._reader, thoroughly=True)

    def _bring_up_to_date(self) -> None:
        with self.transaction() as connection:
            found = schema.revision(connection)
        if found is None:
            with self.transaction(write=True) as connection:
                found = schema.revision(connection)  # another process may have made it meanwhile
                if found is None:
                    schema.create(connection)
                    return
        if found != schema.HEAD:
            self._migrate()

    def _migrate(self) -> None:
        from prefrl.core.store.migrations import (
            upgrade,  # Alembic is slow to import, and rarely needed
        )

        with self._errors_as_ours(), self._writer.connect() as connection:
            with self._begun_to_migrate(connection):
                found = schema.revision(connection)
                if found is None or found == schema.HEAD:
                    return
                self._keep(found)
                upgrade(connection, found)
                schema.stamp(connection)

    @contextmanager
    def _begun_to_migrate(self, connection: Connection) -> Iterator[None]:
        is_sqlite = connection.dialect.name == "sqlite"
        with without_foreign_keys(connection) if is_sqlite else connection.begin():
            yield

    def _keep(self, found: str) -> None:
        """Backs up an SQLite file before an upgrade, while this process holds the write lock."""
        path = Path(self._name)
        if self._reader.dialect.name == "sqlite" and path.is_file():
            back_up(self._reader, path.with_name(f"{path.name}.version-{int(found)}"))

    @contextmanager
    def _errors_as_ours(self) -> Iterator[None]:
        try:
            yield
        except sa.exc.DBAPIError as error:
            why = " ".join(str(error.orig).split())
            if self._is_on_server and is_away(error):
                raise StoreUnavailableError(
                    f"the label store at {self._name} is away: {why}; try again when it is back. "
                    "Nothing is stored twice."
                ) from error
            raise StoreUnavailableError(
                f"the label store at {self._name} refused: {why}; nothing of "
                "this was stored. Look for a full disk or another program that holds the store."
            ) from error
        except sa.exc.TimeoutError as error:
            raise StoreUnavailableError(
                f"the label store at {self._name} has no connection to spare: {error}; use fewer "
                "threads."
            ) from error


def _begin(engine: Engine) -> tuple[Connection, RootTransaction]:
    """Connects and begins a transaction, or leaves nothing open."""
    connection = engine.connect()
    try:
        return connection, connection.begin()
    except BaseException:
        connection.close()
        raise
