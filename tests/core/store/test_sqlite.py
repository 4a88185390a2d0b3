import contextlib
import sqlite3
import stat

import pytest

from prefrl.core.comparisons import Answer, Query
from prefrl.core.store import LabelStore, schema, sqlite
from prefrl.errors import StoreError


@pytest.fixture
def path(tmp_path):
    return tmp_path / "labels.db"


def label(store):
    store.add_queries([Query("q0", "a", "b")])
    store.submit("q0", Answer.LEFT, submission_key="k", annotator_id="ann")


def raw(path, statement):
    """Runs a statement on a connection of its own, as another program would."""
    with contextlib.closing(sqlite3.connect(path, timeout=30)) as connection, connection:
        return connection.execute(statement).fetchall()


def test_the_file_is_for_its_owner_only(tmp_path):
    wide = tmp_path / "wide.db"
    wide.touch(0o666)
    for path in (wide, tmp_path / "new.db"):
        LabelStore(path).close()
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_store_can_be_opened_again(path):
    for place in (path, str(path), f"sqlite:///{path}"):
        with LabelStore(place) as store:
            label(store)
    with LabelStore(path) as store:
        assert len(store.comparisons()) == 1


def test_a_path_is_taken_as_it_is(tmp_path):
    (tmp_path / "what? 100%#1").mkdir()
    path = tmp_path / "what? 100%#1" / "labels.db"
    LabelStore(path).close()
    assert path.stat().st_size > 0


def test_every_connection_is_durable_and_checked(path, monkeypatch):
    LabelStore(path).close()
    reader, writer = sqlite.open_sqlite(str(path))
    with reader.connect() as first, writer.connect() as second:
        for connection in (first, second):
            for name, value in {
                "journal_mode": "truncate",
                "synchronous": 2,
                "foreign_keys": 1,
                "busy_timeout": 30_000,
            }.items():
                assert connection.exec_driver_sql(f"PRAGMA {name}").scalar_one() == value
    reader.dispose()
    monkeypatch.setattr(sqlite, "_SYNCHRONOUS_FULL", 9)  # what SQLite would not take
    with pytest.raises(StoreError, match="expected SQLite to run with synchronous = 9, got"):
        LabelStore(path)


def test_a_store_in_wal_mode_is_turned_back(path, monkeypatch):
    LabelStore(path).close()
    raw(path, "PRAGMA journal_mode = WAL")
    LabelStore(path).close()
    assert raw(path, "PRAGMA journal_mode") == [("delete",)]  # what a rollback journal reads as
    assert raw(path, "SELECT version_num FROM alembic_version") == [(schema.HEAD,)]

    raw(path, "PRAGMA journal_mode = WAL")
    monkeypatch.setattr(sqlite, "_BUSY_TIMEOUT_MS", 50)
    with contextlib.closing(sqlite3.connect(path)) as holder:
        holder.execute("SELECT * FROM query").fetchall()
        with pytest.raises(StoreError, match="database is locked"):
            LabelStore(path)


def test_a_newer_store_is_refused(path):
    LabelStore(path).close()
    raw(path, "UPDATE alembic_version SET version_num = '9000'")
    with pytest.raises(StoreError, match="version 4 or older, got version 9000; update"):
        LabelStore(path)


def test_what_is_no_label_store_is_refused(tmp_path):
    (tmp_path / "text.db").write_text("no database " * 100)
    with pytest.raises(StoreError, match="file is not a database"):
        LabelStore(tmp_path / "text.db")
    raw(tmp_path / "other.db", "CREATE TABLE diary (day TEXT)")
    with pytest.raises(StoreError, match=r"one with the tables \['diary'\]"):
        LabelStore(tmp_path / "other.db")
    with pytest.raises(StoreError, match="make the folder"):
        LabelStore(tmp_path / "missing" / "labels.db")
    with pytest.raises(StoreError, match=r"got mysql://me:\*\*\*@host/db; other databases"):
        LabelStore("mysql://me:secret@host/db")


def test_a_lock_that_lasts_is_an_error_and_nothing_is_stored(path, monkeypatch):
    monkeypatch.setattr(sqlite, "_BUSY_TIMEOUT_MS", 50)
    with LabelStore(path) as store, contextlib.closing(sqlite3.connect(path)) as holder:
        holder.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match="database is locked; nothing of this was stored"):
            label(store)
        holder.rollback()
        assert store.counts().queries == 0
        label(store)
