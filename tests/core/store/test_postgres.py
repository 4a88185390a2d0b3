import subprocess
import sys

import pytest
import sqlalchemy as sa
from store_places import SERVER, needs_postgres, new_place, raw

from prefrl.core.comparisons import Answer, Query
from prefrl.core.store import LabelStore, postgres
from prefrl.errors import StoreError


@pytest.fixture
def place(tmp_path):
    with new_place("postgresql", tmp_path) as place:
        yield place


@needs_postgres
def test_every_connection_is_durable(place):
    with LabelStore(place) as store, store._database.transaction() as connection:
        for name, value in {
            "synchronous_commit": "on",
            "fsync": "on",
            "lock_timeout": "30s",
        }.items():
            assert connection.exec_driver_sql(f"SHOW {name}").scalar_one() == value


@needs_postgres
def test_a_server_that_may_lose_answers_is_refused(place, monkeypatch):
    monkeypatch.setattr(postgres, "_LOCK_TIMEOUT", "0.1s")  # which the server says as 100ms
    with pytest.raises(StoreError, match=r"to run with lock_timeout = 0\.1s, got 100ms"):
        LabelStore(place)
    monkeypatch.setattr(postgres, "_OLDEST", 1000)
    with pytest.raises(StoreError, match="expected PostgreSQL 1000 or newer, got 1"):
        LabelStore(place)


@needs_postgres
def test_stores_in_two_schemas_do_not_meet(place, tmp_path):
    with new_place("postgresql", tmp_path) as second, LabelStore(place) as one:
        with LabelStore(second) as other, one._database.transaction(write=True):
            other.add_queries([Query("q", "a", "b")])  # and it does not wait
        assert one.counts().queries == 0


@needs_postgres
def test_the_driver_need_not_be_named(place):
    with LabelStore(place.replace("postgresql+psycopg", "postgresql")) as store:
        store.add_queries([Query("q", "a", "b")])
    with pytest.raises(StoreError, match="use psycopg 3"):
        LabelStore(place.replace("psycopg", "asyncpg"))


@needs_postgres
def test_a_store_outlives_its_connections(place):
    with LabelStore(place) as store:
        store.add_queries([Query("q", "a", "b")])
        with store._database.transaction() as connection:
            (pid,) = connection.exec_driver_sql("SELECT pg_backend_pid()").one()
        raw(SERVER, f"SELECT pg_terminate_backend({pid})")
        store.submit("q", Answer.LEFT, submission_key="k", annotator_id="ann")
        assert store.counts().answered == 1


@needs_postgres
def test_an_event_written_without_the_lock_is_refused_rather_than_passed_over(place):
    # Another program that takes the next id itself: one of the two fails, and no reader skips one.
    with LabelStore(place) as store:
        store.add_queries([Query("q", "a", "b")])
        engine = sa.create_engine(place)
        row = "(1, 'q', 'x', 'other', 'left', 0, '')"
        columns = "id, query_id, annotator_id, submission_key, answer, answered_at, server_ver"
        with engine.connect() as connection, connection.begin():
            store.submit("q", Answer.LEFT, submission_key="k", annotator_id="ann")
            with pytest.raises(sa.exc.IntegrityError, match="duplicate key"):
                connection.exec_driver_sql(f"INSERT INTO label_event ({columns}) VALUES {row}")
        engine.dispose()
        assert [change.event_id for change in store.changes()] == [1]


def test_a_server_that_is_not_there_is_named_without_its_password():
    with pytest.raises(
        StoreError, match=r"server at postgresql\+psycopg://me:\*\*\*@/db"
    ) as caught:
        LabelStore("postgresql://me:secret@/db?host=/nowhere")
    assert "secret" not in str(caught.value)


def test_without_psycopg_the_extra_is_named():
    code = (
        "import sys; sys.modules['psycopg'] = None\n"
        "from prefrl.core.store import LabelStore\n"
        "from prefrl.errors import MissingExtraError\n"
        "try: LabelStore('postgresql://host/db')\n"
        "except MissingExtraError as error: print(error)"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "pip install 'prefrl[postgres]'" in said.stdout
