import contextlib
import multiprocessing
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from store_places import raw

from prefrl.core.comparisons import Answer, Comparison, Query
from prefrl.core.store import Counts, LabelStore, migrations, schema
from prefrl.errors import StoreError

LEFT, RIGHT, TIE, SKIP = Answer
VERSION_1 = Path(__file__).with_name("store_version_1.sql").read_text()
VERSION_2 = Path(__file__).with_name("store_version_2.sql").read_text()


@pytest.fixture
def old(path):
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.executescript(VERSION_1)
    return path


def definitions(path):
    rows = raw(path, "SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL")
    tidy = {name: " ".join(sql.replace('"', "").split()) for name, sql in rows}
    tidy.pop("sqlite_sequence", None)  # SQLite keeps it once it was there
    return tidy


def open_once(path):
    with LabelStore(path) as store:
        return store.counts()


def test_a_store_of_version_1_loses_nothing(old):
    events = raw(old, "SELECT * FROM label_event")
    queries = raw(old, "SELECT * FROM query")
    with LabelStore(old) as store:
        assert store.comparisons() == [
            (2, Comparison(Query("q0", "left0", "right0"), RIGHT)),
            (4, Comparison(Query("q1", "left1", "right1"), LEFT)),
            (5, Comparison(Query("q2", "left2", "right2"), SKIP)),
            (6, Comparison(Query("q3", "left3", "right3"), SKIP)),
            (7, Comparison(Query("q3", "left3", "right3"), TIE)),
        ]
        assert store.counts() == Counts(queries=5, answered=3, skipped=1, open=1)
        assert [lease.query.id for lease in store.lease("ann", n=9)] == ["q4"]
        assert store.check() == []
        undone = store.undo(2, annotator_id="ann", submission_key="u")
        assert undone.id == 8
    assert raw(old, "SELECT * FROM label_event WHERE id < 8") == events
    columns = "id, left_item, right_item, created_at, env_steps, priority"
    assert raw(old, f"SELECT {columns} FROM query") == queries


def test_an_old_store_becomes_what_a_new_one_is(old, tmp_path):
    LabelStore(old).close()
    LabelStore(tmp_path / "new.db").close()
    assert definitions(old) == definitions(tmp_path / "new.db")
    for path in (old, tmp_path / "new.db"):
        assert raw(path, "SELECT version_num FROM alembic_version") == [(schema.HEAD,)]
        assert raw(path, "PRAGMA user_version") == [(int(schema.HEAD),)]  # for old releases


def test_a_store_of_version_2_loses_nothing(path, tmp_path):
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.executescript(VERSION_2)
    before = [raw(path, f"SELECT * FROM {table}") for table in ("label_event", "current_label")]
    with LabelStore(path) as store:
        assert store.counts() == Counts(queries=4, answered=1, skipped=1, open=2)
        assert store.comparisons() == [
            (1, Comparison(Query("q0", "left0", "right0"), LEFT)),
            (4, Comparison(Query("q2", "left2", "right2"), SKIP)),
        ]
        assert store.media.missing(9) == store.open_queries(9)
        assert store.check() == []
    after = [raw(path, f"SELECT * FROM {table}") for table in ("label_event", "current_label")]
    assert after == before
    LabelStore(tmp_path / "new.db").close()
    assert definitions(path) == definitions(tmp_path / "new.db")


def test_a_store_of_version_2_in_postgresql_too(place):
    """Made by taking from a new one what version 2 did not have."""
    if "://" not in place:
        pytest.skip("SQLite has a dump of the real one")
    with LabelStore(place) as store:
        store.add_queries([Query("q", "a", "b")])
        store.submit("q", LEFT, submission_key="k", annotator_id="ann")
    raw(
        place,
        "DROP TABLE mark, medium, notice",
        "DROP INDEX ix_query_group",
        "DROP INDEX ix_label_event_query, ix_label_event_annotator",
        "ALTER TABLE query DROP COLUMN group_id",
        "UPDATE alembic_version SET version_num = '0002'",
    )
    with LabelStore(place) as store:
        assert store.comparisons() == [(1, Comparison(Query("q", "a", "b"), LEFT))]
        store.marks.add("q", "ann", "flag", "raised", submission_key="m")
        store.media.add("a", "m", "video/webm")
        assert store.check() == []


def test_a_store_of_version_3_gets_notices(place):
    """Made by taking from a new one what version 3 did not have."""
    with LabelStore(place) as store:
        store.add_queries([Query("q", "a", "b")])
        store.submit("q", LEFT, submission_key="k", annotator_id="ann")
    raw(place, "DROP TABLE notice", "UPDATE alembic_version SET version_num = '0003'")
    with LabelStore(place) as store:
        assert store.comparisons() == [(1, Comparison(Query("q", "a", "b"), LEFT))]
        store.notices.put("agent", {"state": "training"})
        assert store.notices.get("agent") == {"state": "training"}
    assert raw(place, "SELECT version_num FROM alembic_version") == [(schema.HEAD,)]


def test_a_backup_is_kept_of_what_was_there(old):
    before = raw(old, "SELECT * FROM label_event"), definitions(old)
    LabelStore(old).close()
    kept = Path(f"{old}.version-1")
    assert kept.stat().st_mode & 0o077 == 0
    assert (raw(kept, "SELECT * FROM label_event"), definitions(kept)) == before
    kept.unlink()
    LabelStore(old).close()
    assert not kept.exists()
    assert len(list(Path(old).parent.iterdir())) == 2  # the store and its empty journal


def test_a_migration_that_fails_changes_nothing(old, monkeypatch):
    before = definitions(old)

    def fail(connection, found):
        connection.exec_driver_sql("DROP VIEW current_label")
        connection.exec_driver_sql("DROP TABLE query")
        connection.exec_driver_sql("SELECT * FROM nowhere")

    with monkeypatch.context() as patch:
        patch.setattr(migrations, "upgrade", fail)
        with pytest.raises(StoreError, match=r"no such table: nowhere; nothing of this was stored"):
            LabelStore(old)
    assert definitions(old) == before
    assert open_once(old).queries == 5


def test_a_reference_that_leads_nowhere_is_not_carried_on(old):
    row = "(9, 'gone', 'ann', 'k9', 'left', NULL, NULL, 0, NULL, NULL, NULL, '')"
    with contextlib.closing(sqlite3.connect(old)) as connection, connection:
        connection.execute(f"INSERT INTO label_event VALUES {row}")
    with pytest.raises(StoreError, match="expected references that lead somewhere"):
        LabelStore(old)
    assert raw(old, "PRAGMA user_version") == [(1,)]


def test_processes_that_open_an_old_store_at_once_all_can(old):
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        assert pool.map(open_once, [old] * 6, chunksize=1) == [Counts(5, 3, 1, 1)] * 6
    with LabelStore(old) as store:
        assert store.check() == []


def test_a_newer_store_is_refused_on_every_database(place):
    LabelStore(place).close()
    raw(place, "UPDATE alembic_version SET version_num = '0005'")
    with pytest.raises(StoreError, match="version 4 or older, got version 5; update prefrl"):
        LabelStore(place)


def test_what_is_no_store_is_refused_on_every_database(place):
    raw(place, "CREATE TABLE alembic_version (version_num TEXT)")
    with pytest.raises(StoreError, match=r"tables \['alembic_version'\]; choose another place"):
        LabelStore(place)
    raw(place, "CREATE TABLE label_event (id INTEGER)")
    raw(place, "INSERT INTO alembic_version VALUES ('ae1027a6acf')")
    with pytest.raises(StoreError, match="choose another place"):
        LabelStore(place)


def test_every_revision_has_a_file_and_alembic_is_not_loaded_without_need(path):
    files = sorted(Path(migrations.__file__).parent.glob("r*.py"))
    assert [file.name[1:5] for file in files] == ["0001", "0002", "0003", schema.HEAD]
    code = (
        "import sys; from prefrl.core.store import LabelStore; LabelStore(sys.argv[1]).close(); "
        "print(sorted({'alembic', 'psycopg'} & set(sys.modules)))"
    )
    command = [sys.executable, "-c", code, path]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "[]\n"


def test_an_old_file_may_be_put_back(old, tmp_path):
    LabelStore(old).close()
    shutil.copy(f"{old}.version-1", tmp_path / "back.db")
    assert open_once(tmp_path / "back.db") == open_once(old)
