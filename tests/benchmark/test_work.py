import json

import numpy as np
import pytest
from benchmark.suites import small_suite

from prefrl.benchmark.store import BenchmarkFolder
from prefrl.benchmark.work import COLUMNS, main, work
from prefrl.runtime.roles.role import StopSignal


@pytest.fixture
def folder(tmp_path):
    folder = BenchmarkFolder(tmp_path)
    folder.begin(small_suite())
    return folder


def test_both_ways_give_a_row(folder):
    rows = []
    for run in small_suite().runs():
        place = folder.prepare(run)
        assert main([str(place)]) == 0
        row = json.loads((place / "row.json").read_text())
        assert tuple(row) == COLUMNS
        assert folder.gather(run) == {name: str(value) for name, value in row.items()}
        rows.append(row)
    true, learned = rows
    assert (true["labels"], learned["labels"]) == (0, 6)
    assert (true["accuracy"], true["training_correlation"]) == ("", "")
    assert 0 <= learned["accuracy"] <= 1
    assert true["random_return"] == learned["random_return"] < 0
    assert np.isfinite([row["return_mean"] for row in rows]).all()
    (place / "row.json").unlink()
    assert main([str(place)]) == 0  # killed after its training: evaluated again, the same
    again = json.loads((place / "row.json").read_text())
    assert {**again, "date": 0} == {**learned, "date": 0}


class After(StopSignal):
    """Told to stop after it was asked some times."""

    def __init__(self, times):
        super().__init__()
        self.left = times

    @property
    def requested(self):
        self.left -= 1
        return self.left < 0


def test_a_training_on_the_true_reward_goes_on_bit_for_bit(folder):
    suite = small_suite(arms={"whole": {"true_reward": True}, "parts": {"true_reward": True}})
    whole, parts = (folder.prepare(run) for run in suite.runs())
    row = work(whole, StopSignal())
    assert work(parts, After(2)) is None
    assert list((parts / "run" / "checkpoints").iterdir())
    assert not (parts / "row.json").exists()
    found = work(parts, StopSignal())
    for name in ("return_mean", "sampled_return_mean", "training_return"):
        assert found[name] == row[name]
    status = json.loads((parts / "run" / "status" / "agent.json").read_text())
    assert status["about"]["env_steps"] == 512


def test_bad_input_has_its_own_exit_code(folder, capsys):
    run = small_suite(arms={"a": {"labels": 6, "env.kwargs": {"nothing": 1}}}).runs()[0]
    assert main([str(folder.prepare(run))]) == 2
