"""What is said of a run that was stopped, and whether it is saved."""

import os
import signal
import subprocess
import sys
import time

import pytest

from clip_viewer.news import RunNews
from prefrl.commands.status import describe_run
from prefrl.report import write_report
from prefrl.report.text_page import write_text_report
from prefrl.runtime.roles.role import Heartbeat, read_status
from prefrl.runtime.rundir import RunDirectory
from prefrl.runtime.rundir.saving import HAS_STOPPED, how_it_stopped, saving, unsaved_of
from prefrl.runtime.rundir.troubles import tell_troubles, troubles_of

DOT = "prefrl_envs:prefrl/MovingDot-v0"


@pytest.fixture
def run(tmp_path):
    made = RunDirectory.create(tmp_path / "run")
    made.write_json(made.config, {"env_id": "x", "oracle": "synthetic", "steps": 100_000})
    made.metrics.write_text("env_steps\n400\n")
    return made


def full():
    raise OSError(28, "No space left on device")


def test_a_checkpoint_that_was_written_is_named(run):
    heartbeat = Heartbeat(run, "agent")
    with saving(heartbeat, "step 1,600"):
        pass
    heartbeat.beat(HAS_STOPPED)
    stopped = how_it_stopped(run)
    assert (stopped.text, stopped.is_saved) == ("Saved and stopped, at step 1,600.", True)
    assert unsaved_of(read_status(run, "agent")) == ""


def test_one_that_could_not_be_written_is_told_with_the_one_before(run):
    heartbeat = Heartbeat(run, "agent")
    with saving(heartbeat, "step 800"):
        pass
    with saving(heartbeat, "step 1,600"):
        full()
    trouble = unsaved_of(read_status(run, "agent"))
    assert "No space left on device" in trouble
    assert "all after step 800" in trouble
    assert trouble in "".join(describe_run(run).columns[1].cells)
    heartbeat.beat(HAS_STOPPED)
    stopped = how_it_stopped(run)
    assert not stopped.is_saved
    assert "could not be written (No space left on device" in stopped.text
    assert stopped.text.endswith("It continues from step 800.")
    with saving(heartbeat, "step 2,400"):
        pass
    assert unsaved_of(read_status(run, "agent")) == ""


def test_report_and_page_tell_of_checkpoints_that_fail_until_the_run_is_over(run):
    heartbeat = Heartbeat(run, "agent")
    with saving(heartbeat, "step 1,600"):
        full()
    tell_troubles(heartbeat, run, total_steps=None)
    heartbeat.beat("acting")
    (told,) = RunNews(None, run.status).agent(for_owner=True).troubles
    assert told.startswith("No checkpoint can be written")
    for write in (write_report, write_text_report):
        assert told in write(run).read_text()
    run.write_json(run.summary, {})
    assert troubles_of(run, total_steps=None, finished=True) == []


def test_an_agent_that_was_killed_has_not_saved(run):
    with saving(Heartbeat(run, "agent"), "step 800"):
        pass
    stopped = how_it_stopped(run)
    assert not stopped.is_saved
    assert "killed while it said 'saved'" in stopped.text


def test_before_there_is_anything_a_stop_loses_nothing(run):
    run.metrics.unlink()
    assert how_it_stopped(run).is_saved
    Heartbeat(run, "agent").beat("starting")
    assert how_it_stopped(run).is_saved


@pytest.mark.parametrize("sync", [True, False])
def test_a_training_that_cannot_save_says_so_and_ends_with_code_4(tmp_path, sync):
    run = RunDirectory(tmp_path / "run")
    options = ["--steps", "1000000", "--labels", "12", "--segment-length", "10", "--no-films"]
    options += ["--agent.n-envs", "4", "--agent.n-steps", "100", "--warmup-segments", "10"]
    command = [sys.executable, "-m", "prefrl", "train", DOT, *options, "--run", str(run.root)]
    process = subprocess.Popen(
        [*command, *(["--sync"] if sync else []), "--checkpoint-seconds", "1"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    until = time.monotonic() + 90
    while not run.metrics.is_file() or run.metrics.read_text().count("\n") < 3:
        assert time.monotonic() < until
        time.sleep(0.1)
    # No folder any more, and none can be made: root may write into what is read-only.
    run.checkpoints.rename(tmp_path / "moved")
    run.checkpoints.write_text("")
    time.sleep(3)
    os.kill(process.pid, signal.SIGTERM)
    said, _ = process.communicate(timeout=60)
    words = " ".join(said.split())
    assert process.returncode == 4, said
    assert "No checkpoint can be written" in words
    assert "Stopped and NOT saved" in words
    assert "Saved and stopped" not in words
