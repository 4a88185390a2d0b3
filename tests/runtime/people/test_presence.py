"""Whether people are there: by the page's word, and by what they answered lately."""

import pytest
from clocks import Clock

from prefrl.core.comparisons import Answer, Query
from prefrl.core.store import LabelStore
from prefrl.runtime.people.presence import Attendance, n_people_present
from prefrl.runtime.roles.role import Heartbeat, read_status
from prefrl.runtime.rundir import RunDirectory


@pytest.fixture
def run(tmp_path):
    return RunDirectory.create(tmp_path / "run")


def test_the_page_says_how_many_are_there_as_long_as_it_lives(run):
    assert n_people_present(run) == 0
    Heartbeat(run, "viewer").beat("serving", people=2)
    assert n_people_present(run) == 2
    later = read_status(run, "viewer").beat_at + 11
    assert n_people_present(run, clock=Clock(later)) == 0


def test_a_page_that_says_nothing_of_people_has_none(run):
    Heartbeat(run, "viewer").beat("starting")
    assert n_people_present(run) == 0


def test_who_has_answered_a_moment_ago_is_believed_to_be_there(run):
    clock = Clock(1000.0)
    with LabelStore(run.labels, clock=clock) as store:
        store.add_queries([Query(f"q{i}", "left", "right") for i in range(3)])
        attendance = Attendance(run, store, clock=clock)
        assert not attendance.is_somebody_there()
        for name in ("oracle", "ai:gpt", "dataset", "dataset-2"):
            store.submit("q0", Answer.LEFT, submission_key=name, annotator_id=name)
        assert not attendance.is_somebody_there()
        store.submit("q1", Answer.LEFT, submission_key="1", annotator_id="anna")
        assert attendance.is_somebody_there()
        clock.now += 29
        assert attendance.is_somebody_there()
        clock.now += 2
        assert not attendance.is_somebody_there()
        assert Attendance(run, store, clock=Clock(1001.0)).is_somebody_there()  # another process
