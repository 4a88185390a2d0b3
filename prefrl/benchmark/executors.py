"""Where trainings are done: in processes of this machine, on Ray, or by Slurm."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Protocol

from prefrl.errors import ConfigError
from prefrl.runtime.supervisor import last_line

__all__ = [
    "Executor",
    "LocalExecutor",
    "LocalTask",
    "Task",
    "command_of",
    "environment_of_work",
    "last_word",
]

_SECONDS_TO_STOP = 60.0
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
LOG = "log.txt"
"""Name of what a training printed, in its folder."""


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
    """Starts trainings. Use it as a context manager: nothing it started is left behind."""

    n_slots: int
    """How many may go on at once."""

    def start(self, folder: Path) -> Task:
        """Starts the training of a folder, as ``prefrl.benchmark.work`` does it."""
        ...

    def close(self) -> None:
        """Ends what the executor itself needs."""
        ...


def command_of(folder: Path) -> list[str]:
    """The command line that does the training of a folder."""
    parent = str(os.getpid())
    return [sys.executable, "-m", "prefrl.benchmark.work", str(folder), "--parent", parent]


def environment_of_work() -> dict[str, str]:
    """The environment of its process: one thread, since trainings go on side by side."""
    return {**os.environ, **dict.fromkeys(_THREADS, "1")}


class LocalExecutor:
    """Processes of this machine.

    Args:
        n_slots: How many at once; by default as many as there are cores for this process.
    """

    def __init__(self, n_slots: int | None = None) -> None:
        if n_slots is not None and n_slots < 1:
            raise ConfigError(f"expected at least 1 training at once, got {n_slots}.")
        self.n_slots = n_slots or len(os.sched_getaffinity(0))

    def start(self, folder: Path) -> Task:
        """Starts a process."""
        with (folder / LOG).open("ab") as log:
            # A session of its own: Ctrl-C on the terminal is for the benchmark alone.
            process = subprocess.Popen(
                command_of(folder),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env=environment_of_work(),
            )
        return LocalTask(process)

    def close(self) -> None:
        """Has nothing to end."""


class LocalTask:
    """A process.

    Args:
        process: Started with a session of its own.
    """

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self._told_at = float("inf")

    def poll(self) -> int | None:
        """Its exit code; None while it goes on."""
        return self._process.poll()

    def stop(self) -> None:
        """Sends SIGTERM."""
        self._told_at = time.monotonic()
        self._process.send_signal(signal.SIGTERM)

    def wait(self) -> None:
        """Waits, and kills it after a minute."""
        try:
            self._process.wait(_SECONDS_TO_STOP)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def last_word(folder: Path) -> str:
    """What a training said last."""
    return last_line(folder / LOG)
