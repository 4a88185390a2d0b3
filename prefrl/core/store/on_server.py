"""Label stores of runs on a PostgreSQL server: a schema for each run."""

from __future__ import annotations

import re
import uuid

import sqlalchemy as sa

from prefrl.core.store.label_store import LabelStore
from prefrl.core.store.postgres import open_postgres
from prefrl.core.store.schema import revision
from prefrl.errors import ConfigError, StoreError

__all__ = ["check_store", "drop_store", "new_store", "schema_of"]

_LONGEST = 40  # characters of the run's name in a schema's, of at most 63 in PostgreSQL
_SECRETS = ("password", "sslpassword")
_NOT_ALLOWED = "42501"  # insufficient_privilege


def new_store(database: str, name: str) -> str:
    """Makes a label store in a new schema of a database.

    Args:
        database: ``postgresql://USER@HOST/DATABASE``. It has no password, because runs store the
            URL: libpq reads the password from ``~/.pgpass`` or PGPASSWORD.
        name: Name on which the schema's unique name is based.

    Returns:
        The URL of the store, for ``LabelStore``.

    Raises:
        ConfigError: If it is not such a URL, or the user may not make schemas there.
        MissingExtraError: If psycopg is not installed.
        StoreError: If the server cannot be reached, is too old, may lose commits, or refuses. Then
            nothing is left there.
    """
    url = _checked(database)
    plain = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")[:_LONGEST]
    schema = f"prefrl_{plain}_{uuid.uuid4().hex[:8]}"
    _execute(url, sa.schema.CreateSchema(schema))
    place = url.update_query_dict({"options": f"-csearch_path={schema}"})
    store = place.render_as_string(hide_password=False)
    try:
        LabelStore(store).close()
    except BaseException:
        drop_store(store)
        raise
    return store


def check_store(store: str) -> None:
    """Refuses a URL that is not that of an existing label store; changes nothing.

    Args:
        store: The URL of a store that ``new_store`` has made.

    Raises:
        ConfigError: If it has a password, or there is no store.
        MissingExtraError: If psycopg is not installed.
        StoreError: If the server cannot be reached, or holds something else there.
    """
    url = _parsed(store, "expected store to be the URL of a run's label store")
    engine, _ = open_postgres(url.render_as_string(hide_password=False))
    try:
        with engine.connect() as connection:
            found = revision(connection)
    finally:
        engine.dispose()
    if found is None:
        raise ConfigError(f"expected the label store of a run at {url}, found none there.")


def drop_store(store: str) -> None:
    """Removes a store that ``new_store`` has made, with all its content.

    Args:
        store: Its URL.

    Raises:
        StoreError: If the server cannot be reached, or refuses.
    """
    _execute(sa.make_url(store), sa.schema.DropSchema(schema_of(store), cascade=True))


def schema_of(store: str) -> str:
    """Returns the name of the schema of a store that ``new_store`` has made, from its URL."""
    return str(sa.make_url(store).query["options"]).removeprefix("-csearch_path=")


def _execute(url: sa.URL, statement: sa.schema.ExecutableDDLElement) -> None:
    engine, _ = open_postgres(url.render_as_string(hide_password=False))
    try:
        with engine.begin() as connection:
            connection.execute(statement)
    except sa.exc.DBAPIError as error:
        why = str(error.orig).strip()
        if getattr(error.orig, "sqlstate", None) == _NOT_ALLOWED:
            raise ConfigError(
                f"expected to make a schema in {url}, but {why}; grant CREATE on this database to "
                "that user."
            ) from error
        raise StoreError(f"expected {url} to keep a label store, but {why}.") from error
    finally:
        engine.dispose()


def _checked(database: str) -> sa.URL:
    expected = "expected store to be postgresql://USER@HOST/DATABASE"
    url = _parsed(database, expected)
    if "options" in url.query:
        raise ConfigError(
            f"{expected} without options, got {url}: each run makes a schema of its own."
        )
    return url


def _parsed(database: str, expected: str) -> sa.URL:
    try:
        url = sa.make_url(database)
    except sa.exc.ArgumentError as error:
        raise ConfigError(f"{expected}, got {database!r}.") from error
    if url.password is not None or any(secret in url.query for secret in _SECRETS):
        raise ConfigError(
            f"{expected} without a password, got one: the run's directory keeps this URL. Put the "
            "password into ~/.pgpass, or set PGPASSWORD."
        )
    if url.get_backend_name() != "postgresql":
        raise ConfigError(
            f"{expected}, got {url}; leave it out to keep the answers in the run's directory."
        )
    return url
