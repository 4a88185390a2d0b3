import asyncio
import threading

import pytest

from clip_viewer.writer import Writer
from prefrl.core.comparisons import Answer, Query
from prefrl.core.store import LabelStore
from prefrl.core.store.labels import Submission
from prefrl.errors import StoreError, StoreUnavailableError


class Held(LabelStore):
    """A store whose writer can be held up, so that answers pile up behind it."""

    def __init__(self, place):
        super().__init__(place)
        self.may_go, self.n_commits, self.fault = threading.Event(), 0, None
        self.may_go.set()

    def submit_many(self, submissions):
        self.may_go.wait(10)
        self.n_commits += 1
        if self.fault:
            raise self.fault
        return super().submit_many(submissions)


@pytest.fixture
def store(tmp_path):
    with Held(tmp_path / "labels.db") as store:
        store.add_queries([Query(f"q{i}", "a", "b") for i in range(30)])
        yield store


@pytest.fixture
def writer(store):
    writer = Writer(store)
    yield writer
    store.may_go.set()
    writer.close()


def answer(i, query=None):
    return Submission(query or f"q{i}", Answer.LEFT, f"key-{i}", "ann")


async def pile_up(store, writer, answers):
    """Has the writer busy with one answer while the others come; gives what became of each."""
    store.may_go.clear()
    tasks = [asyncio.create_task(writer.submit([one])) for one in answers]
    await asyncio.sleep(0.1)
    store.may_go.set()
    return await asyncio.gather(*tasks, return_exceptions=True)


def test_who_comes_during_a_commit_shares_the_next(store, writer):
    told = asyncio.run(pile_up(store, writer, [answer(i) for i in range(20)]))
    assert [events[0].submission_key for events in told] == [f"key-{i}" for i in range(20)]
    assert store.n_commits <= 2
    assert len(store.events()) == 20


def test_one_bad_answer_does_no_harm_to_others(store, writer):
    answers = [answer(0), answer(1), answer(2, "nowhere"), answer(3)]
    told = asyncio.run(pile_up(store, writer, answers))
    assert isinstance(told[2], StoreError)
    assert [event.query_id for event in store.events()] == ["q0", "q1", "q3"]
    assert [events[0].query_id for i, events in enumerate(told) if i != 2] == ["q0", "q1", "q3"]


@pytest.mark.parametrize("fault", [StoreUnavailableError("full"), RuntimeError("bug")])
def test_faults_go_to_whoever_asked_and_the_writer_lives(store, writer, fault):
    store.fault = fault
    told = asyncio.run(pile_up(store, writer, [answer(0), answer(1)]))
    assert [type(error) for error in told] == [type(fault)] * 2
    store.fault = None
    assert len(asyncio.run(writer.submit([answer(2)]))) == 1


def test_who_gave_up_has_lost_nothing(store, writer):
    async def give_up():
        store.may_go.clear()
        first = asyncio.create_task(writer.submit([answer(0)]))
        await asyncio.sleep(0.1)  # on its way to the disk
        first.cancel()
        later = asyncio.create_task(writer.call(lambda store: store.counts().answered))
        store.may_go.set()
        return await later

    assert asyncio.run(give_up()) == 1
    assert [event.query_id for event in store.events()] == ["q0"]


def test_closing_writes_what_waits(store):
    writer = Writer(store)

    async def leave():
        store.may_go.clear()
        task = asyncio.create_task(writer.submit([answer(0)]))
        await asyncio.sleep(0.05)
        store.may_go.set()
        await asyncio.to_thread(writer.close)
        await task

    asyncio.run(leave())
    assert len(store.events()) == 1
