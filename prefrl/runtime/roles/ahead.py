"""Role processes forked ahead of their run from a process that has already loaded the libraries.

Loading torch, Gymnasium and Stable-Baselines3 costs a role 3 to 4 seconds of a core, and the
command that starts a training has loaded them already. So the command forks one copy of itself per
role before it does anything else. Each copy waits for its command line and then becomes that role.
If a role dies, the supervisor restarts it as an ordinary new process.

A fork copies only the calling thread, and locks held by other threads stay locked in the copy. So a
process forks only while Python has no other thread and no library has started one since it was
loaded, that is, before torch or OpenCV has computed anything in parallel. (OpenBLAS starts its
threads when it is loaded, but ends them before a fork.) The command line arrives through a pipe, as
JSON.
"""

from __future__ import annotations

import atexit
import contextlib
import importlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

__all__ = ["ProcessAhead", "begin_prepared", "may_fork", "note_loaded", "prepare"]

_PAUSE = 0.02
_n_threads_loaded: int | None = None
_prepared: dict[tuple[str, ...], ProcessAhead] = {}


def note_loaded() -> None:
    """Records that this process has loaded its libraries but has not computed anything yet."""
    global _n_threads_loaded  # threads belong to the process, and so does this count
    _n_threads_loaded = _n_threads()


def may_fork() -> bool:
    """Whether a fork is safe: on Linux, with no thread started since the libraries were loaded."""
    if _n_threads_loaded is None or threading.active_count() > 1:
        return False
    return 0 < _n_threads() <= _n_threads_loaded


def _n_threads() -> int:
    """Number of threads of this process, including those of libraries; 0 if it is unknown."""
    try:
        return len(os.listdir("/proc/self/task"))
    except OSError:
        return 0


def prepare(
    command: Sequence[str], main: Callable[[Sequence[str]], int], *, loads: Sequence[str] = ()
) -> None:
    """Forks a copy of this process that will become a role; does nothing if that is not safe.

    Args:
        command: Command line that would start the role, up to its name.
        main: Runs the role: takes its name and further arguments, and returns the exit code.
        loads: Modules that the copy imports while it waits.
    """
    if may_fork():
        _prepared[tuple(command)] = ProcessAhead(main, loads=loads)


def begin_prepared(command: Sequence[str], log: Path) -> ProcessAhead | None:
    """Starts the copy that was prepared for a command line; None if there is none (any more).

    Args:
        command: Command line of the role.
        log: File for its output.
    """
    for prepared in list(_prepared):
        if tuple(command[: len(prepared)]) == prepared:
            ahead = _prepared.pop(prepared)
            if ahead.poll() is not None:
                return None
            ahead.begin(command[len(prepared) - 1 :], log)
            return ahead
    return None


class ProcessAhead:
    """A forked copy of this process; after ``begin``, it can be used like a ``subprocess.Popen``.

    A copy that is never begun ends with this process.

    Args:
        main: Function that the copy runs: takes its arguments and returns the exit code.
        loads: Modules that the copy imports while it waits.
    """

    def __init__(self, main: Callable[[Sequence[str]], int], *, loads: Sequence[str] = ()) -> None:
        self.returncode: int | None = None
        """Exit code, negative for a signal; None while it runs, or before anybody has polled."""
        for stream in (sys.stdout, sys.stderr):
            stream.flush()  # otherwise the copy would print it again
        reading, writing = os.pipe()
        with warnings.catch_warnings():
            # Python 3.12 warns of other threads, but these are OpenBLAS's.
            warnings.simplefilter("ignore", DeprecationWarning)
            self.pid = os.fork()
            """Its process id."""
        if self.pid == 0:
            _be_the_copy(main, reading, loads)
        os.close(reading)
        self._writing: int | None = writing

    def begin(self, arguments: Sequence[str], log: Path) -> None:
        """Starts the role in the waiting copy.

        Args:
            arguments: Arguments for ``main``.
            log: File for its output.
        """
        assert self._writing is not None  # begin() is called once
        told = json.dumps({"arguments": list(arguments), "log": str(log)})
        with contextlib.suppress(BrokenPipeError), open(self._writing, "w") as pipe:
            pipe.write(told)
        self._writing = None

    def poll(self) -> int | None:
        """Returns the exit code; None while the process runs."""
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Waits until the process has ended.

        Raises:
            subprocess.TimeoutExpired: If it is still running after ``timeout`` seconds.
        """
        until = None if timeout is None else time.monotonic() + timeout
        while (code := self.poll()) is None:
            if until is not None and time.monotonic() >= until:
                raise subprocess.TimeoutExpired(str(self.pid), timeout or 0.0)
            time.sleep(_PAUSE)
        return code

    def terminate(self) -> None:
        """Sends SIGTERM."""
        self._send(signal.SIGTERM)

    def kill(self) -> None:
        """Sends SIGKILL."""
        self._send(signal.SIGKILL)

    def _send(self, number: signal.Signals) -> None:
        if self.poll() is None:  # otherwise the pid may have been reused
            os.kill(self.pid, number)


def _be_the_copy(
    main: Callable[[Sequence[str]], int], reading: int, loads: Sequence[str]
) -> NoReturn:
    """Runs the copy to its end, without ever returning into the code that forked it."""
    code = 1
    try:
        os.setsid()  # Ctrl-C on the terminal is for the supervisor
        os.closerange(3, reading)
        os.closerange(reading + 1, os.sysconf("SC_OPEN_MAX"))
        for module in loads:
            importlib.import_module(module)
        with open(reading) as pipe:
            content = pipe.read()  # one message, or end of file when the parent ends
        if not content:
            os._exit(0)
        told = json.loads(content)
        _speak_into(told["log"])
        code = main(told["arguments"])
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        # Does what the interpreter does at its end, but without unwinding the caller's stack.
        with contextlib.suppress(Exception):
            atexit._run_exitfuncs()
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def _speak_into(log: str) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    for place, number in ((os.open(os.devnull, os.O_RDONLY), 0), (os.open(log, flags, 0o666), 1)):
        os.dup2(place, number)
        os.close(place)
    os.dup2(1, 2)
