"""Where the tests keep label stores: an SQLite file, or a schema of its own in PostgreSQL."""

import os
import uuid
from contextlib import contextmanager

import pytest
import sqlalchemy as sa

SERVER = os.environ.get("PREFRL_TEST_POSTGRES") or "none"
needs_postgres = pytest.mark.skipif(
    SERVER == "none",
    reason="PREFRL_TEST_POSTGRES names no PostgreSQL server; scripts/test starts one",
)
DATABASES = ["sqlite", pytest.param("postgresql", marks=needs_postgres)]


@contextmanager
def new_place(database, folder):
    """The path of a new SQLite file, or the URL of a new schema that is dropped afterwards."""
    if database == "sqlite":
        yield str(folder / f"{uuid.uuid4().hex}.db")
        return
    name = f"test_{uuid.uuid4().hex}"
    raw(SERVER, f"CREATE SCHEMA {name}")
    try:
        url = sa.make_url(SERVER).update_query_dict({"options": f"-csearch_path={name}"})
        yield url.render_as_string(hide_password=False)
    finally:
        raw(SERVER, f"DROP SCHEMA {name} CASCADE")


def raw(place, *statements):
    """Runs statements on a connection of its own, as another program would; the last one's rows."""
    place = str(place)
    url = place if "://" in place else f"sqlite:///{place}"
    engine = sa.create_engine(url, poolclass=sa.pool.NullPool)
    rows = []
    with engine.begin() as connection:
        if "://" not in place:
            connection.exec_driver_sql("PRAGMA foreign_keys = ON")
        for statement in statements:
            result = connection.exec_driver_sql(statement)
            rows = [tuple(row) for row in result] if result.returns_rows else []
    return rows
