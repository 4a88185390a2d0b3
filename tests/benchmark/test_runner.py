"""Trainings side by side; here each is a short process, and at the end the real thing."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from benchmark.suites import DOT, small_suite, written

from prefrl.benchmark.executors import LocalExecutor, LocalTask
from prefrl.benchmark.runner import run_all
from prefrl.benchmark.store import BenchmarkFolder
from prefrl.benchmark.work import COLUMNS
from prefrl.runtime.roles.role import StopSignal


class Scripted(LocalExecutor):
    """Starts processes that do what a script says instead of training."""

    def __init__(self, script, n_slots=2):
        super().__init__(n_slots)
        self.script = script
        self.started = []

    def start(self, folder):
        self.started.append(json.loads((folder / "job.json").read_text())["seed"])
        row = dict.fromkeys(COLUMNS, "") | json.loads((folder / "job.json").read_text())
        row = {name: row[name] for name in COLUMNS}
        code = f"import json, pathlib, sys, time\nrow = {row!r}\n{self.script}"
        with (folder / "log.txt").open("ab") as log:
            return LocalTask(subprocess.Popen([sys.executable, "-c", code], cwd=folder, stderr=log))


DONE = "pathlib.Path('row.json').write_text(json.dumps(row))"


def run_small(tmp_path, executor, seeds, show=lambda progress: None, stop=None):
    suite = small_suite(seeds=seeds, arms={"6 labels": {"labels": 6}})
    folder = BenchmarkFolder(tmp_path)
    folder.begin(suite)
    stop = stop or StopSignal()
    return folder, run_all(folder, executor, suite.runs(), stop=stop, show=show)


def test_as_many_at_once_as_there_is_room_for(tmp_path):
    most = []
    executor = Scripted(f"time.sleep(0.6)\n{DONE}")
    folder, progress = run_small(
        tmp_path, executor, [0, 1, 2], show=lambda told: most.append(len(told.going))
    )
    assert (progress.done, progress.total, max(most)) == (3, 3, 2)
    assert [int(row["seed"]) for row in folder.rows()].count(2) == 1
    _, progress = run_small(tmp_path, executor, [0, 1, 2, 3])
    assert (progress.done, sorted(executor.started)) == (4, [0, 1, 2, 3])  # none twice


def test_one_that_dies_is_started_again_and_one_that_cannot_be_done_leaves_the_others(tmp_path):
    script = f"""
if row["seed"] == 0:
    print("no such thing", file=sys.stderr); sys.exit(2)
if row["seed"] == 1:
    print("broken", file=sys.stderr); sys.exit(1)
tried = pathlib.Path("tried")
if not tried.exists():
    tried.touch(); sys.exit(1)
{DONE}
"""
    executor = Scripted(script)
    folder, progress = run_small(tmp_path, executor, [0, 1, 2])
    assert {key[2]: why for key, why in progress.failed.items()} == {
        0: "exit code 2: no such thing",
        1: "exit code 1: broken",
    }
    assert [executor.started.count(seed) for seed in range(3)] == [1, 3, 2]
    assert folder.done() == {("6 labels", DOT, 2)}


def test_one_that_was_told_to_stop_by_others_goes_on_as_often_as_it_takes(tmp_path):
    script = f"""
tried = pathlib.Path("tried")
n = int(tried.read_text()) if tried.exists() else 0
tried.write_text(str(n + 1))
if n < 5:
    sys.exit(4)
{DONE}
"""
    _, progress = run_small(tmp_path, Scripted(script), [0])
    assert (progress.done, progress.failed) == (1, {})


def test_a_row_that_nobody_was_there_to_see_counts(tmp_path):
    folder, _ = run_small(tmp_path, Scripted(DONE), [0])
    folder.results.unlink()  # killed between the row and the table
    executor = Scripted("sys.exit(1)")
    _, progress = run_small(tmp_path, executor, [0])
    assert (progress.done, executor.started) == (1, [])
    assert folder.done() == {("6 labels", DOT, 0)}


def test_a_stop_leaves_nothing_running(tmp_path):
    stop = StopSignal()

    def show(progress):
        stop.requested_at = time.monotonic()

    executor = Scripted("time.sleep(60)")
    began = time.monotonic()
    _, progress = run_small(tmp_path, executor, [0, 1, 2], show=show, stop=stop)
    assert time.monotonic() - began < 20
    assert len(progress.going) == 2
    assert [one.task.poll() for one in progress.going] == [-signal.SIGTERM] * 2


def processes_at(path):
    """Pids of trainings in a folder."""
    found = []
    for place in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            words = place.read_bytes().decode().split("\0")
            if "prefrl.benchmark.work" in words and str(path) in " ".join(words):
                found.append(int(place.parent.name))
    return found


def wait_until(true, seconds=100):
    until = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < until
        time.sleep(0.1)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_benchmark_that_is_stopped_and_killed_goes_on(tmp_path):
    suite, out = written(tmp_path / "mine.yaml"), tmp_path / "out"
    command = [sys.executable, "-m", "prefrl", "benchmark", str(suite), "--folder", str(out)]

    def begin():
        return subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=tmp_path
        )

    for how in (signal.SIGINT, signal.SIGKILL):
        process = begin()
        wait_until(lambda: processes_at(out) and any(out.rglob("status/agent.json")))
        os.kill(process.pid, how)
        said, _ = process.communicate(timeout=100)
        wait_until(lambda: not processes_at(out))
        if how == signal.SIGINT:
            assert process.returncode == 130
            assert "run the same command to continue" in said
    said, _ = begin().communicate(timeout=300)
    assert "4 of 4 done" in said
    assert "| 6 labels | 2 |" in (out / "report.md").read_text()
