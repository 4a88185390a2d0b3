"""A server that is away for a while: roles wait for it, pages do not."""

import threading
import time

import pytest
from lines import running_line
from store_places import needs_postgres, new_place

from prefrl.core.comparisons import Answer, Query
from prefrl.core.store import LabelStore
from prefrl.core.store.waiting import WAITING_FOR_STORE, patient
from prefrl.errors import StoreUnavailableError

pytestmark = needs_postgres


@pytest.fixture
def line():
    with running_line() as line:
        yield line


@pytest.fixture
def place(line, tmp_path):
    with new_place("postgresql", tmp_path) as place:
        yield line.url(place)


def test_a_role_waits_until_the_server_is_back(line, place):
    said = []

    def waiting(state):
        said.append(state)
        return False

    with LabelStore(place) as store, patient(waiting):
        store.add_queries([Query("q", "a", "b")])
        line.cut()
        threading.Timer(2.0, line.mend).start()
        began = time.monotonic()
        store.submit("q", Answer.LEFT, submission_key="k", annotator_id="ann")
        assert time.monotonic() - began > 1.5
        assert set(said) == {WAITING_FOR_STORE}
        assert store.counts().answered == 1
        assert [event.submission_key for event in store.events()] == ["k"]


def test_a_store_that_is_opened_while_the_server_is_away_waits_too(line, place):
    line.cut()
    threading.Timer(1.0, line.mend).start()
    with patient(lambda state: False), LabelStore(place) as store:
        assert store.counts().queries == 0


def test_a_page_does_not_wait(line, place):
    with LabelStore(place) as store:
        line.cut()
        began = time.monotonic()
        with pytest.raises(StoreUnavailableError, match=r"is away: .* Nothing is stored twice\."):
            store.add_queries([Query("q", "a", "b")])
        assert time.monotonic() - began < 5.0
        with pytest.raises(StoreUnavailableError, match="expected a PostgreSQL server at"):
            LabelStore(place)
        line.mend()
        assert store.add_queries([Query("q", "a", "b")]) == 1


def test_who_is_told_to_stop_gives_up(line, place):
    with LabelStore(place) as store:
        line.cut()
        with patient(lambda state: True), pytest.raises(StoreUnavailableError):
            store.counts()
        line.mend()


def test_in_the_middle_of_a_transaction_nobody_waits_and_all_of_it_is_undone(line, place):
    row = "(id, left_item, right_item, created_at, env_steps, priority)"
    with LabelStore(place) as store, patient(lambda state: False):

        def add(connection, name):
            values = f"('{name}', 'a', 'b', 0, 0, 0)"
            connection.exec_driver_sql(f"INSERT INTO query {row} VALUES {values}")

        def add_two():
            with store._database.transaction(write=True) as connection:
                add(connection, "q0")
                line.cut()
                line.mend()
                add(connection, "q1")

        with pytest.raises(StoreUnavailableError):
            add_two()
        assert store.counts().queries == 0
