"""The time left, while something trains."""

from types import SimpleNamespace

import pytest

from prefrl.commands import progress


@pytest.fixture
def now(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: now[0]))
    return now


def test_the_time_left_waits_for_enough_and_leaves_waiting_for_people_out(now):
    pace = progress._Pace()
    pace.note(500)  # it goes on from there
    now[0] += 1
    assert pace.left(515, 1000) == ""
    now[0] += 9
    assert pace.left(600, 1000) == "40 s left"
    pace.wait(True)
    now[0] += 3600
    assert pace.left(600, 1000) == "40 s left"
    now[0] += 60
    pace.wait(False)
    now[0] += 10
    assert pace.left(700, 1000) == "30 s left"
    assert pace.left(1000, 1000) == ""  # the evaluation, or tuning, may take hours
    assert pace.left(1000, 0) == ""
