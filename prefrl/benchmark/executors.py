"""Where trainings run: the interface of an executor, and processes of this machine."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Protocol

from prefrl.runtime.roles.supervisor import last_line

__all__ = [
    "LOG",
    "SECONDS_TO_STOP",
    "Executor",
    "LocalExecutor",
    "LocalTask",
    "Task",
    "end_process",
    "last_word",
    "start_process",
]

SECONDS_TO_STOP = 60.0
"""After which what was told to stop is killed."""
LOG = "log.txt"
"""Name of what a training printed, in its folder."""
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


class Task(Protocol):
    """A training that was started."""

    def poll(self) -> int | None:
        """Its exit code, 0 once its row is there; None while it goes on."""
        ...

    def stop(self) -> None:
        """Tells it to save and end, and does not wait."""
        ...

    def wait(self) -> None:
        """Waits until it has ended, for a minute at most, and then ends it at once."""
        ...


class Executor(Protocol):
    """Starts trainings."""

    @property
    def n_slots(self) -> int:
        """How many may go on at once, at this moment."""
        ...

    def start(self, folder: Path) -> Task:
        """Starts the training of a folder, as ``prefrl.benchmark.work`` does it."""
        ...

    def close(self) -> None:
        """Ends what the executor itself needs."""
        ...


def start_process(folder: Path) -> subprocess.Popen[bytes]:
    """Starts the process that does the training of a folder; it ends with this one.

    It has one thread, since trainings go on side by side.
    """
    parent = str(os.getpid())
    with (folder / LOG).open("ab") as log:
        # A session of its own: Ctrl-C on the terminal is for the benchmark alone.
        return subprocess.Popen(
            [sys.executable, "-m", "prefrl.benchmark.work", str(folder), "--parent", parent],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={**os.environ, **dict.fromkeys(_THREADS, "1")},
        )


def end_process(process: subprocess.Popen[bytes]) -> None:
    """Waits for a process that was told to stop, and kills it after a minute."""
    try:
        process.wait(SECONDS_TO_STOP)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


class LocalExecutor:
    """Processes of this machine.

    Args:
        n_slots: How many at once; by default as many as there are cores for this process.
    """

    def __init__(self, n_slots: int | None = None) -> None:
        self._n_slots = n_slots or len(os.sched_getaffinity(0))

    @property
    def n_slots(self) -> int:
        """How many may go on at once."""
        return self._n_slots

    def start(self, folder: Path) -> Task:
        """Starts a process."""
        return LocalTask(start_process(folder))

    def close(self) -> None:
        """Has nothing to end."""


class LocalTask:
    """A process.

    Args:
        process: Started with a session of its own.
    """

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    def poll(self) -> int | None:
        """Its exit code; None while it goes on."""
        return self._process.poll()

    def stop(self) -> None:
        """Sends SIGTERM."""
        self._process.send_signal(signal.SIGTERM)

    def wait(self) -> None:
        """Waits, and kills it after a minute."""
        end_process(self._process)


def last_word(folder: Path) -> str:
    """What a training said last."""
    return last_line(folder / LOG)
