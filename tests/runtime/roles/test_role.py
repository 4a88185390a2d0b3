"""What a role's process does beside its work: heartbeat, stop signal, lock, end of the parent."""

import math
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from prefrl.errors import RoleError
from prefrl.runtime.roles.role import Heartbeat, StopSignal, is_taken, only_one, read_status
from prefrl.runtime.rundir import RunDirectory


@pytest.fixture
def run(tmp_path):
    return RunDirectory.create(tmp_path / "run")


def python(code, *arguments, **options):
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)], stdout=subprocess.PIPE, **options
    )


def test_a_status_says_what_was_said_last(run):
    heartbeat = Heartbeat(run, "agent")
    heartbeat.beat("acting", env_steps=5)
    heartbeat.beat("saving", total_steps=10)
    status = read_status(run, "agent")
    assert (status.role, status.state, status.pid) == ("agent", "saving", os.getpid())
    assert status.about == {"env_steps": 5, "total_steps": 10}
    assert abs(status.beat_at - time.time()) < 5


def test_the_same_state_is_written_twice_a_second_at_most(run):
    heartbeat = Heartbeat(run, "agent")
    heartbeat.beat("acting", env_steps=1)
    heartbeat.beat("acting", env_steps=2)
    assert read_status(run, "agent").about == {"env_steps": 1}
    time.sleep(0.55)
    heartbeat.beat("acting")
    assert read_status(run, "agent").about == {"env_steps": 2}


def test_a_status_that_is_missing_or_damaged_is_none(run):
    assert read_status(run, "agent") is None
    (run.status / "agent.json").write_text('{"role": "ag')
    assert read_status(run, "agent") is None


def test_in_a_thread_no_signal_is_noted_and_none_is_in_the_way():
    before = signal.getsignal(signal.SIGTERM)

    def work():
        with StopSignal() as stop:
            return stop.requested, signal.getsignal(signal.SIGTERM)

    with ThreadPoolExecutor() as threads:
        assert threads.submit(work).result() == (False, before)


def test_a_heartbeat_survives_a_folder_that_is_gone(run):
    heartbeat = Heartbeat(run, "agent")
    run.status.rmdir()
    heartbeat.beat("acting")


@pytest.mark.parametrize("which", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_is_noted_and_nothing_else_happens(which):
    with StopSignal() as stop:
        assert not stop.requested
        assert stop.seconds == 0
        os.kill(os.getpid(), which)
        time.sleep(0.05)
        assert stop.requested
        assert 0 < stop.seconds < 5


def test_a_second_ctrl_c_means_at_once():
    with StopSignal() as stop:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.02)
        assert stop.requested
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_signals_mean_afterwards_what_they_did_before():
    before = signal.getsignal(signal.SIGTERM)
    with StopSignal():
        assert signal.getsignal(signal.SIGTERM) != before
    assert signal.getsignal(signal.SIGTERM) == before


HOLD = """
import sys, time
from prefrl.runtime.roles.role import only_one
from prefrl.runtime.rundir import RunDirectory
with only_one(RunDirectory(sys.argv[1]), "agent"):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_role_is_held_by_one_process_and_goes_with_it(run):
    holder = python(HOLD, run.root)
    try:
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(RoleError, match="another process works on it as its agent"):
            with only_one(run, "agent"):
                pass
        with only_one(run, "learner"):
            pass
        holder.kill()
        with only_one(run, "agent", patience=10):
            pass
    finally:
        holder.kill()
        holder.wait()
        holder.stdout.close()


def test_who_stands_by_for_a_role_still_stops_when_told_to(run):
    holder = python(HOLD, run.root)
    try:
        assert holder.stdout.readline() == b"held\n"
        with StopSignal() as stop:
            signal.setitimer(signal.ITIMER_REAL, 0.3)
            before = signal.signal(signal.SIGALRM, lambda *_: signal.raise_signal(signal.SIGTERM))
            with pytest.raises(RoleError), only_one(run, "agent", patience=math.inf, stop=stop):
                pass
            signal.signal(signal.SIGALRM, before)
    finally:
        holder.kill()
        holder.wait()
        holder.stdout.close()


def test_it_is_known_whether_a_role_is_taken(run):
    assert not is_taken(run, "viewer")
    with only_one(run, "viewer"):
        assert is_taken(run, "viewer")
    assert not is_taken(run, "viewer")


PARENT = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", sys.argv[1]], start_new_session=True)
print(child.pid, flush=True)
child.wait()
"""
CHILD = """
import os, time
from prefrl.runtime.roles.role import StopSignal, die_with_parent
with StopSignal() as stop:
    die_with_parent(os.getppid())
    while not stop.requested:
        time.sleep(0.02)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux for the signal")
def test_a_role_is_told_to_stop_when_its_supervisor_is_killed():
    parent = python(PARENT, CHILD)
    child = int(parent.stdout.readline())
    time.sleep(1.5)  # let it ask for the signal
    parent.kill()
    parent.wait()
    parent.stdout.close()
    until = time.monotonic() + 10
    while _running(child):
        assert time.monotonic() < until, "the child outlived its parent"
        time.sleep(0.05)


def _running(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
