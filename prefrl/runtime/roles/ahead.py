"""Role processes prepared before their run: copies of a process that has loaded its libraries.

To load torch, Gymnasium and Stable-Baselines3 takes a role 3 to 4 seconds of a core, and a command
that begins a training has loaded them already. So it may copy itself (``fork``) before it does
anything else, once for each role. A copy waits for its command line and then is that role; the
supervisor starts it as it would another process, and whenever it dies, as a process of its own.

A fork copies one thread alone, and what the others hold stays locked. So it is done only while
there is no other thread of Python's, and no library has started one since all were loaded: neither
torch nor OpenCV has computed anything in parallel. (OpenBLAS, which starts its threads as soon as
it is loaded, ends them before a fork.) The command line comes through a pipe, as JSON.
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
    """Says that this process has loaded its libraries, and computed nothing so far."""
    global _n_threads_loaded  # of the process, as its threads are
    _n_threads_loaded = _n_threads()


def may_fork() -> bool:
    """Whether this process can be copied safely: on Linux, with no thread started since loading."""
    if _n_threads_loaded is None or threading.active_count() > 1:
        return False
    return 0 < _n_threads() <= _n_threads_loaded


def _n_threads() -> int:
    """Threads of this process, those of libraries included; 0 where the system does not tell."""
    try:
        return len(os.listdir("/proc/self/task"))
    except OSError:
        return 0


def prepare(
    command: Sequence[str], main: Callable[[Sequence[str]], int], *, loads: Sequence[str] = ()
) -> None:
    """Makes a copy of this process that will be a role, if that is safe; else nothing.

    Args:
        command: How the role would be started, up to its name.
        main: Runs it: is given the role's name and what follows, and gives its exit code.
        loads: Modules that it loads while it waits.
    """
    if may_fork():
        _prepared[tuple(command)] = ProcessAhead(main, loads=loads)


def begin_prepared(command: Sequence[str], log: Path) -> ProcessAhead | None:
    """Begins what was prepared for a command line, the first time; None where there is nothing.

    Args:
        command: How the role is started.
        log: What it says goes there.
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
    """A copy of this process, to be used as a ``subprocess.Popen`` once it was begun.

    If it is not begun, it ends with this process.

    Args:
        main: What it runs: is given its arguments, and gives its exit code.
        loads: Modules that it loads while it waits.
    """

    def __init__(self, main: Callable[[Sequence[str]], int], *, loads: Sequence[str] = ()) -> None:
        self.returncode: int | None = None
        """Its exit code, negative for a signal; None while it lives, or nobody has looked."""
        for stream in (sys.stdout, sys.stderr):
            stream.flush()  # else the copy would say it once more
        reading, writing = os.pipe()
        with warnings.catch_warnings():
            # Python 3.12 warns of other threads, and means OpenBLAS's.
            warnings.simplefilter("ignore", DeprecationWarning)
            self.pid = os.fork()
            """Its process id."""
        if self.pid == 0:
            _be_the_copy(main, reading, loads)
        os.close(reading)
        self._writing: int | None = writing

    def begin(self, arguments: Sequence[str], log: Path) -> None:
        """Tells it what it is.

        Args:
            arguments: What ``main`` is given.
            log: What it says goes there.
        """
        assert self._writing is not None  # nobody begins twice
        told = json.dumps({"arguments": list(arguments), "log": str(log)})
        with contextlib.suppress(BrokenPipeError), open(self._writing, "w") as pipe:
            pipe.write(told)
        self._writing = None

    def poll(self) -> int | None:
        """Its exit code; None while it lives."""
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Waits until it has ended.

        Raises:
            subprocess.TimeoutExpired: If it has not after so many seconds.
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
        if self.poll() is None:  # else the number may be another process's by now
            os.kill(self.pid, number)


def _be_the_copy(
    main: Callable[[Sequence[str]], int], reading: int, loads: Sequence[str]
) -> NoReturn:
    """All that the copy does; it never goes back to what it was copied from."""
    code = 1
    try:
        os.setsid()  # Ctrl-C on the terminal is for the one that watches
        os.closerange(3, reading)
        os.closerange(reading + 1, os.sysconf("SC_OPEN_MAX"))
        for module in loads:
            importlib.import_module(module)
        with open(reading) as pipe:
            content = pipe.read()  # comes at once, or ends with the process that was copied
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
        # What the end of an interpreter does, but for going back through the caller's functions.
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
