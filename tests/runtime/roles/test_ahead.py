"""Copies of a process that wait to be a role: what they are told, say and leave behind."""

import json
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

from prefrl.runtime.roles.ahead import may_fork, note_loaded

PROGRAM = """
import json, os, subprocess, sys, time
import torch
from prefrl.runtime.roles.ahead import begin_prepared, may_fork, note_loaded, prepare
from prefrl.runtime.roles.role import StopSignal, die_with_parent

def main(arguments):
    print("said", *arguments, flush=True)
    if arguments[0] == "computes":
        torch.set_num_threads(2)
        mean = float((torch.ones(600, 600) @ torch.ones(600, 600)).mean())
        print(mean, "colorsys" in sys.modules)
        return 7
    with StopSignal() as stop:
        die_with_parent(int(arguments[-1]))
        while not stop.requested:
            time.sleep(0.01)
    return 4

before = may_fork()
note_loaded()
for role in ("computes", "waits"):
    prepare(["python", role], main, loads=["colorsys"])
folder, held = sys.argv[1], open(sys.argv[1] + "/held", "w")
nothing = begin_prepared(["python", "other"], folder + "/log")
first = begin_prepared(["python", "computes", "a run"], folder + "/log")
again = begin_prepared(["python", "computes", "a run"], folder + "/log")
code = first.wait(60)
torch.set_num_threads(2)
torch.ones(600, 600) @ torch.ones(600, 600)
told = {"nothing": nothing is None, "again": again is None, "code": code, "poll": first.poll()}
told["may"] = [before, may_fork()]
second = begin_prepared(["python", "waits", "x", "--parent", str(os.getpid())], folder + "/log2")
try:
    second.wait(1)
except subprocess.TimeoutExpired:
    told["late"] = True
files = [os.readlink(f"/proc/{second.pid}/fd/{fd}") for fd in os.listdir(f"/proc/{second.pid}/fd")]
told |= {"files": files, "pid": second.pid, "own": os.getsid(second.pid) == second.pid}
if sys.argv[2] == "stops":
    second.terminate()
    told["second"] = second.wait(20)
print(json.dumps(told), flush=True)
if sys.argv[2] == "dies":
    os.kill(os.getpid(), 9)
"""


def told_of(tmp_path, how):
    (tmp_path / "program.py").write_text(PROGRAM)
    ended = subprocess.run(
        [sys.executable, str(tmp_path / "program.py"), str(tmp_path), how],
        capture_output=True,
        text=True,
        timeout=100,
    )
    return json.loads(ended.stdout), ended


def is_gone(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def test_a_copy_is_the_role_that_it_is_told_to_be(tmp_path):
    told, ended = told_of(tmp_path, "stops")
    assert ended.returncode == 0, ended.stderr
    assert told["may"] == [False, False]  # before all is loaded, and once torch has its threads
    assert told["nothing"]
    assert told["again"]
    assert told["code"] == told["poll"] == 7
    assert (tmp_path / "log").read_text() == "said computes a run\n600.0 True\n"
    assert told["late"]
    assert told["own"]  # Ctrl-C on the terminal is not for it
    assert told["second"] == 4
    # Nothing of the process that was copied is held open, such as its locks.
    assert {Path(name).name for name in told["files"]} == {"null", "log2"}


def test_a_copy_dies_with_the_process_that_was_copied(tmp_path):
    told, ended = told_of(tmp_path, "dies")
    assert ended.returncode == -signal.SIGKILL
    until = time.monotonic() + 20
    while not is_gone(told["pid"]):
        assert time.monotonic() < until
        time.sleep(0.05)


def test_a_process_with_threads_is_not_copied():
    note_loaded()
    done = threading.Event()
    other = threading.Thread(target=done.wait)
    other.start()
    assert not may_fork()
    done.set()
    other.join()
