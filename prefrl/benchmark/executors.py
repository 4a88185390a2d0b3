"""Executors of trainings: their interface, and processes on this machine."""

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
"""Seconds that a training has to stop before it is killed."""
LOG = "log.txt"
"""File in a training's folder with its output."""
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


class Task(Protocol):
    """A training that was started."""

    def poll(self) -> int | None:
        """Returns its exit code, 0 once its row is written; None while it runs."""
        ...

    def stop(self) -> None:
        """Asks it to save and end, without waiting."""
        ...

    def wait(self) -> None:
        """Waits until it has ended; after some time, kills it."""
        ...


class Executor(Protocol):
    """Starts trainings."""

    @property
    def n_slots(self) -> int:
        """How many trainings may run at once, at this moment."""
        ...

    def start(self, folder: Path) -> Task:
        """Starts ``prefrl.benchmark.work`` on the folder of a training."""
        ...

    def close(self) -> None:
        """Releases the executor's own resources."""
        ...


def start_process(folder: Path) -> subprocess.Popen[bytes]:
    """Starts the process that runs the training of a folder; it ends with this one.

    It has one thread, since trainings run side by side.
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
    """Waits for a process that was asked to stop, and kills it after a minute."""
    try:
        process.wait(SECONDS_TO_STOP)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


class LocalExecutor:
    """Runs trainings as processes on this machine.

    Args:
        n_slots: How many at once; by default the number of cores available to this process.
    """

    def __init__(self, n_slots: int | None = None) -> None:
        self._n_slots = n_slots or len(os.sched_getaffinity(0))

    @property
    def n_slots(self) -> int:
        """How many trainings may run at once."""
        return self._n_slots

    def start(self, folder: Path) -> Task:
        """Starts a process."""
        return LocalTask(start_process(folder))

    def close(self) -> None:
        """Does nothing: there is nothing to release."""


class LocalTask:
    """A training as a process.

    Args:
        process: The process, in a session of its own.
    """

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    def poll(self) -> int | None:
        """Returns its exit code; None while it runs."""
        return self._process.poll()

    def stop(self) -> None:
        """Sends SIGTERM."""
        self._process.send_signal(signal.SIGTERM)

    def wait(self) -> None:
        """Waits, and kills it after a minute."""
        end_process(self._process)


def last_word(folder: Path) -> str:
    """Returns the last line of a training's output."""
    return last_line(folder / LOG)
