"""The labelling page, with films, for people who answer the queries of a script's training."""

from __future__ import annotations

import atexit
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType

from stable_baselines3.common.vec_env import VecEnv

from prefrl.control.agent.described import environment_for_films
from prefrl.control.environments.making import records_for_films
from prefrl.errors import ConfigError, PrefrlError, RoleError
from prefrl.runtime.roles.supervisor import BAD_INPUT, GAVE_UP, last_line
from prefrl.runtime.rundir import RunDirectory

__all__ = ["People", "check_filmable"]

_SECONDS_TO_STOP = 30.0  # the page gives its own processes 25
_SECONDS_BETWEEN_LOOKS = 0.5
_SECONDS_OF_A_LIFE = 20.0


def check_filmable(venv: VecEnv) -> None:
    """Refuses a script's environments if no films of them can be made.

    Raises:
        ConfigError: If another process cannot make them, or they do not record what films need.
    """
    env_id = environment_for_films(venv)
    if not records_for_films(venv):
        raise ConfigError(
            "people are shown films, and these environments do not record what films are made "
            f'from; make them by make_vec_env("{env_id}", ..., '
            "wrapper_class=prefrl.record_for_films)."
        )


class People:
    """The labelling page of a script's run, with its films, in processes beside the training.

    It is served from ``open`` until ``close``, or until the enclosing call of ``learn()`` ends in
    any way: by an exception, by Ctrl-C, or with the whole process. It sets no signal handlers, so
    that a notebook keeps its own.

    Args:
        run: The run directory.
        tell: Called with the sentence that has the sign-in link.
    """

    def __init__(self, run: RunDirectory, *, tell: Callable[[str], None]) -> None:
        self._run = run
        self._tell = tell
        self._log = run.logs / "people.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._started = 0.0
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._over.set()

    def open(self) -> None:
        """Serves the page, and reports its sign-in link.

        Raises:
            ConfigError: If the environment cannot be drawn, or the settings of the page are wrong.
            RoleError: If the page cannot be served for another reason.
        """
        self.close()
        self._over = threading.Event()
        atexit.register(self.close)
        self._start()
        if (learning := _frame_of_learn()) is not None:
            about = (self._over, threading.get_ident(), learning)
            threading.Thread(target=self._end_with, args=about, daemon=True).start()

    def look(self) -> None:
        """Serves the page again if its processes were killed.

        Raises:
            RoleError: If it cannot be served.
        """
        process = self._process
        if process is None or (code := process.poll()) is None:
            return
        in_vain = time.monotonic() < self._started + _SECONDS_OF_A_LIFE
        if in_vain or code in (BAD_INPUT, GAVE_UP):
            self.close()
            raise self._broken(code)
        self._start()

    def close(self) -> None:
        """Stops the page, if it is served."""
        self._end(self._over)

    def _end(self, over: threading.Event) -> None:
        """Stops the page that belongs to an event, if it is still served."""
        with self._lock:
            if over.is_set():
                return
            over.set()
            atexit.unregister(self.close)
            process, self._process = self._process, None
            if process is None:
                return
            process.terminate()
            try:
                process.wait(_SECONDS_TO_STOP)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _start(self) -> None:
        command = [sys.executable, "-m", "prefrl.commands.beside", "people"]
        # The processes must find the same modules as this one.
        path = os.pathsep.join(filter(None, sys.path))
        with self._log.open("ab") as log:
            self._process = process = subprocess.Popen(
                [*command, str(self._run.root.resolve()), "--parent", str(os.getpid())],
                env={**os.environ, "PYTHONPATH": path},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,  # not a file, as the link lets in whoever has it
                stderr=log,
                start_new_session=True,  # Ctrl-C on the terminal must reach only the training
            )
        self._started = time.monotonic()
        assert process.stdout is not None
        try:
            with process.stdout as said:
                link = said.readline().decode().strip()
            if not link:
                raise self._broken(process.wait())
        except BaseException:  # also Ctrl-C
            self.close()
            raise
        self._tell(f"To label, open\n  {link}")

    def _broken(self, code: int) -> PrefrlError:
        why = last_line(self._log)
        if code == BAD_INPUT:
            return ConfigError(why)
        return RoleError(
            f"the labelling page cannot be served: {why} Look at {self._log}; what was answered so "
            "far is kept."
        )

    def _end_with(self, over: threading.Event, thread: int, learning: FrameType) -> None:
        """Closes the page when a call of ``learn()`` is over; it may break off without notice."""
        while not over.wait(_SECONDS_BETWEEN_LOOKS):
            frame = sys._current_frames().get(thread)
            while frame is not None and frame is not learning:
                frame = frame.f_back
            if frame is None:
                self._end(over)


def _frame_of_learn() -> FrameType | None:
    """Returns the frame of the enclosing call of Stable-Baselines3's ``learn()``, if any."""
    frame: FrameType | None = sys._getframe()
    while frame is not None and frame.f_code.co_name != "learn":
        frame = frame.f_back
    return frame
