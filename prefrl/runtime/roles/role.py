"""What every role's process does besides its work: it reports its status and obeys signals."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from prefrl.core.disk import in_words
from prefrl.errors import RoleError, RunDirectoryError
from prefrl.runtime.rundir import RunDirectory
from prefrl.runtime.rundir.writing import replace_file

__all__ = [
    "Heartbeat",
    "RoleStatus",
    "StopSignal",
    "die_with_parent",
    "is_taken",
    "only_one",
    "read_status",
    "waiting_in",
]

_SECONDS_BETWEEN_BEATS = 0.5
_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class RoleStatus:
    """The latest status of a role."""

    role: str
    """Its name."""
    pid: int
    """Id of its process."""
    state: str
    """What it is doing, in a word or two."""
    beat_at: float
    """Time of this report, in seconds since 1970."""
    started_at: float
    """Time at which its process began, in seconds since 1970."""
    about: dict[str, Any] = field(default_factory=dict)
    """Further facts, depending on the role."""


class Heartbeat:
    """Publishes what a role is doing in ``status/ROLE.json``.

    It writes whenever the state changes, and otherwise at most twice a second.

    Args:
        run: The run.
        role: Name of the role.
        tell: Also called with each status, for listeners in the same process.
    """

    def __init__(
        self,
        run: RunDirectory,
        role: str,
        *,
        tell: Callable[[RoleStatus], None] = lambda status: None,
    ) -> None:
        self._tell = tell
        self._path = run.status / f"{role}.json"
        self._role = role
        self._started_at = time.time()
        self._next = 0.0
        self._state = ""
        self._about: dict[str, Any] = {}

    def beat(self, state: str | None = None, **about: Any) -> None:
        """Reports that the role is alive.

        Args:
            state: What it is doing; None if that has not changed.
            about: Facts to show; those from earlier calls stay.
        """
        self._about |= about
        now = time.monotonic()
        if (state is None or state == self._state) and now < self._next:
            return
        self._state = state or self._state
        self._next = now + _SECONDS_BETWEEN_BEATS
        status = RoleStatus(
            self._role, os.getpid(), self._state, time.time(), self._started_at, self._about
        )
        self._tell(status)
        content = json.dumps(asdict(status)).encode()
        with contextlib.suppress(OSError):  # a full disk must not stop the role itself
            replace_file(self._path, content, point="status", forced=False)


def read_status(run: RunDirectory, role: str) -> RoleStatus | None:
    """Reads the latest status of a role; None if there is none that can be read."""
    try:
        return RoleStatus(**json.loads((run.status / f"{role}.json").read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


class StopSignal:
    """Records SIGTERM and SIGINT, for a loop that checks ``requested`` whenever it can stop.

    Use it as a context manager, which restores the previous handlers. Only the main thread can
    receive signals, so in another thread it records nothing.
    """

    def __init__(self) -> None:
        self.requested_at: float | None = None
        """Time of the signal, by the monotonic clock; None before it."""
        self._before: dict[signal.Signals, Any] = {}

    @property
    def requested(self) -> bool:
        """Whether to stop."""
        return self.requested_at is not None

    @property
    def seconds(self) -> float:
        """Seconds since the signal; 0 before it."""
        return 0.0 if self.requested_at is None else time.monotonic() - self.requested_at

    def __enter__(self) -> StopSignal:
        is_main = threading.current_thread() is threading.main_thread()
        for which in (signal.SIGTERM, signal.SIGINT) if is_main else ():
            before = self._before[which] = signal.signal(which, self._note)
            around = getattr(before, "__self__", None)
            if isinstance(around, StopSignal) and around.requested:  # it came just before
                self.requested_at = around.requested_at
        return self

    def __exit__(self, *error: object) -> None:
        for which, handler in self._before.items():
            signal.signal(which, handler)

    def _note(self, number: int, frame: object) -> None:
        if self.requested and number == signal.SIGINT:
            raise KeyboardInterrupt  # a second Ctrl-C means to stop at once
        self.requested_at = time.monotonic()


def waiting_in(heartbeat: Heartbeat, stop: StopSignal) -> Callable[[str], bool]:
    """Returns a function for a role to call while it waits, which returns whether to give up.

    Args:
        heartbeat: Publishes the state that the function is called with.
        stop: Makes the function return True.
    """

    def wait(state: str) -> bool:
        heartbeat.beat(state)
        return stop.requested

    return wait


def die_with_parent(parent: int) -> None:
    """Requests a SIGTERM for this process when the supervisor ends (Linux only).

    Args:
        parent: The supervisor's process id.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # it died before the request
        os.kill(os.getpid(), signal.SIGTERM)


def is_taken(run: RunDirectory, role: str) -> bool:
    """Whether a process currently holds a role of a run."""
    try:
        with only_one(run, role):
            return False
    except RoleError:
        return True


@contextlib.contextmanager
def only_one(
    run: RunDirectory, role: str, *, patience: float = 0.0, stop: StopSignal | None = None
) -> Iterator[None]:
    """Locks a role of a run, so that no two processes have the same one.

    The operating system releases the lock when the process ends, in whatever way.

    Args:
        run: The run.
        role: Name of the role.
        patience: Seconds to wait for a process that is about to end; ``math.inf`` to stand by.
        stop: Ends the wait.

    Raises:
        RoleError: If another process holds it.
    """
    path: Path = run.locks / role
    try:
        file = path.open("a+")
    except OSError as error:
        raise RunDirectoryError(in_words(error)) from error
    with file:
        until = time.monotonic() + patience
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if time.monotonic() >= until or (stop is not None and stop.requested):
                    raise RoleError(
                        f"expected {run.root} to be idle, but another process works on it as its "
                        f"{role}; wait for it, or stop it: prefrl status {run.root}"
                    ) from error
                time.sleep(0.1)
        yield
