"""Label stores of runs on a PostgreSQL server: a schema for each run."""

from __future__ import annotations

import re
import uuid

import sqlalchemy as sa

from prefrl.core.store.label_store import LabelStore
from prefrl.core.store.postgres import open_postgres
from prefrl.errors import ConfigError

__all__ = ["drop_store", "new_store"]

_LONGEST = 40  # of PostgreSQL's 63


def new_store(database: str, name: str) -> str:
    """Makes a label store in a new schema of a database.

    Args:
        database: ``postgresql://USER@HOST/DATABASE``. The password is not part of it, because runs
            keep the URL: libpq reads it from ``~/.pgpass`` or PGPASSWORD.
        name: What the schema is named after; its name is made different from all others.

    Returns:
        The URL of the store, for ``LabelStore``.

    Raises:
        ConfigError: If it is not such a URL, or no schema can be made there.
        MissingExtraError: If psycopg is not installed.
        StoreError: If the server cannot be reached, is too old, or may lose what it committed.
    """
    url = _checked(database)
    plain = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")[:_LONGEST]
    schema = f"prefrl_{plain}_{uuid.uuid4().hex[:8]}"
    engine, _ = open_postgres(url.render_as_string(hide_password=False))
    try:
        with engine.begin() as connection:
            connection.execute(sa.schema.CreateSchema(schema))
    except sa.exc.DBAPIError as error:
        raise ConfigError(
            f"expected to make a schema in {url}, but {str(error.orig).strip()}; grant CREATE on "
            "this database to that user."
        ) from error
    finally:
        engine.dispose()
    place = url.update_query_dict({"options": f"-csearch_path={schema}"})
    store = place.render_as_string(hide_password=False)
    LabelStore(store).close()
    return store


def drop_store(store: str) -> None:
    """Removes a store that ``new_store`` has made, with all that is in it.

    Args:
        store: Its URL.
    """
    options = str(sa.make_url(store).query["options"])
    engine, _ = open_postgres(store)
    with engine.begin() as connection:
        schema = options.removeprefix("-csearch_path=")
        connection.execute(sa.schema.DropSchema(schema, cascade=True))
    engine.dispose()


def _checked(database: str) -> sa.URL:
    expected = "expected store to be postgresql://USER@HOST/DATABASE"
    try:
        url = sa.make_url(database)
    except sa.exc.ArgumentError as error:
        raise ConfigError(f"{expected}, got {database!r}.") from error
    if url.get_backend_name() != "postgresql":
        raise ConfigError(
            f"{expected}, got {url}; leave it out to keep the answers in the run's directory."
        )
    if url.password is not None:
        raise ConfigError(
            f"{expected} without a password, got {url}: the run's directory keeps this URL. Put "
            "the password into ~/.pgpass, or set PGPASSWORD."
        )
    if "options" in url.query:
        raise ConfigError(
            f"{expected} without options, got {url}: each run makes a schema of its own."
        )
    return url
