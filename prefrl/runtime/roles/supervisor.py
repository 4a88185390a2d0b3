"""The supervisor: starts a process per role, watches, restarts and stops them.

It knows only how to start a role, and the role's status in the run directory. A role that dies is
restarted after a pause, which grows while the role makes no progress. A role that ends with exit
code 2 or 3 has said why it cannot go on, so it is not restarted. The others continue without a role
that is not essential.
"""

from __future__ import annotations

import logging
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from prefrl.core.disk import in_words, is_full
from prefrl.errors import RoleError, RunDirectoryError
from prefrl.runtime.roles.ahead import ProcessAhead, begin_prepared
from prefrl.runtime.roles.role import read_status
from prefrl.runtime.rundir import RunDirectory

__all__ = ["BAD_INPUT", "GAVE_UP", "STOPPED", "RoleCommand", "Supervisor", "last_line"]

BAD_INPUT = 2
"""Exit code of a role whose input is wrong."""
GAVE_UP = 3
"""Exit code of a role that cannot go on, even if restarted."""
STOPPED = 4
"""Exit code of a role that was told to stop before its work was done, and has saved its state."""

_log = logging.getLogger(__name__)
_SECONDS_OF_SILENCE = 300.0
_SECONDS_TO_STOP = 25.0
_LONGEST_PAUSE = 10.0
_LONGEST_PAUSE_WITHOUT = 60.0  # for a role that is not essential
_MOST_CRASHES = 6  # in a row, each too early for the role to have done anything
_SECONDS_OF_A_LIFE = 20.0
_MOST_SILENCES = 3  # in a row, with nothing saved in between
_STAMP = re.compile(r"^[-\d]+ [:,\d]+ [A-Z]+ ")  # the prefix that logging adds to a message


@dataclass(frozen=True)
class RoleCommand:
    """How a role is started."""

    name: str
    """Its name."""
    argv: Sequence[str]
    """Its command line."""
    essential: bool = True
    """Whether the run ends when this role cannot go on. Otherwise it is restarted for ever, or left
    dead if its exit code says that a restart is pointless."""
    restarts: bool = True
    """Whether it is restarted when it dies. If not, the run ends: others depend on its process."""
    saves: Path | None = None
    """Folder in which it saves. If it is killed for its silence several times and nothing new is
    here, it is given up."""


class _Role:
    """A role with its current process and its history of crashes."""

    def __init__(self, run: RunDirectory, command: RoleCommand) -> None:
        self.name = command.name
        self.essential = command.essential
        self.restarts = command.restarts
        self.is_left_dead = False
        self.n_starts = 0
        self.log: Path = run.logs / f"{command.name}.log"
        self.process: subprocess.Popen[bytes] | ProcessAhead | None = None
        self._argv = [*command.argv, "--parent", str(os.getpid())]
        self._saves = command.saves
        self._saved: list[str] = []
        self._silence = ""
        self._started = 0.0
        self._crashes, self._silences = 0, 0
        self._start_at = 0.0
        self._beat_at, self._heard = 0.0, 0.0

    def start(self) -> None:
        self.n_starts += 1
        self._started = self._heard = time.monotonic()
        self._saved, self._silence = self._names_saved(), ""
        with self._open_log() as log:
            self.process = begin_prepared(self._argv, self.log.resolve())
            if self.process is not None:
                return
            # In a session of its own, so that Ctrl-C on the terminal reaches only the supervisor.
            self.process = subprocess.Popen(
                self._argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _open_log(self) -> BinaryIO:
        try:
            return self.log.open("ab")
        except OSError as error:
            raise RunDirectoryError(
                f"the {self.name} cannot be started: {in_words(error)} prefrl resume continues "
                "from the newest checkpoint."
            ) from error

    def start_when_due(self) -> None:
        if time.monotonic() >= self._start_at:
            self.start()

    def bury(self, code: int, run: RunDirectory) -> None:
        """Records that the process died, and when to start the next one.

        Raises:
            RoleError: If the run cannot go on.
        """
        lived = time.monotonic() - self._started
        assert self.process is not None
        status = read_status(run, self.name)
        worked = status is not None and status.pid == self.process.pid
        # A role that was at work and died of SIGKILL was killed from outside.
        harmless = lived > _SECONDS_OF_A_LIFE or (worked and code == -signal.SIGKILL)
        self._crashes = 1 if harmless else self._crashes + 1
        in_vain = self._silence and self._saves and self._names_saved() == self._saved
        self._silences = self._silences + 1 if in_vain else 0
        self.process = None
        how = _how(code) + self._silence
        if not self.restarts:
            raise RoleError(
                f"the {self.name} died with {self._last_words(how)} What was saved is kept; "
                f"launch prefrl resume {run.root} in the same way."
            )
        if self.essential and self._silences >= _MOST_SILENCES:
            raise RoleError(
                f"the {self.name} was killed {self._silences} times, the last time{self._silence}, "
                "and has saved nothing in between; give it less to do in one step, such as a "
                f"smaller batch or microbatch, or look in {self.log} for the cause. What was saved "
                "is kept."
            )
        if self.essential and self._crashes >= _MOST_CRASHES:
            raise RoleError(
                f"the {self.name} died {self._crashes} times within seconds, the last time with "
                f"{self._last_words(how)} Look at {self.log}; what was saved is kept."
            )
        longest = _LONGEST_PAUSE if self.essential else _LONGEST_PAUSE_WITHOUT
        # The exponent is bounded too, as a role may be restarted for ever.
        pause = 0.0 if self._crashes == 1 else min(longest, 0.5 * 2 ** min(self._crashes, 20))
        self._start_at = time.monotonic() + pause
        if code == STOPPED:
            ended = "was told to stop from outside."
        else:  # a role that a signal ended could not say why
            ended = f"died with {self._last_words(how) if code > 0 else how + '.'}"
        _log.warning("the %s %s It is started again.", self.name, ended)

    def give_up(self) -> None:
        """Records that it ended with an exit code that makes a restart pointless.

        Raises:
            RoleError: If the role is essential.
        """
        self.process = None
        if self.essential:
            raise RoleError(f"the {self.name} {self._last_words('cannot go on')}")
        self.is_left_dead = True
        _log.warning(
            "the %s cannot go on, and the run continues without it: %s", self.name, self.last_line()
        )

    def kill_if_silent(self, run: RunDirectory) -> None:
        """Kills the role if its status has not changed for too long, by this process's clock."""
        status = read_status(run, self.name)
        if status is not None and status.beat_at != self._beat_at:
            self._beat_at, self._heard = status.beat_at, time.monotonic()
        silence = time.monotonic() - self._heard
        if silence > _SECONDS_OF_SILENCE:
            assert self.process is not None
            said = status is not None and status.pid == self.process.pid
            doing = f' while it said "{status.state}"' if said and status is not None else ""
            self._silence = f" after {silence:.0f} s of silence{doing}"
            _log.warning("the %s is killed%s.", self.name, self._silence)
            self.process.kill()

    def _names_saved(self) -> list[str]:
        """Returns the names of the files that the role has saved."""
        return [] if self._saves is None else sorted(p.name for p in self._saves.glob("[!.]*"))

    def last_line(self) -> str:
        """Returns the last line of its log, or a sentence that the disk is full."""
        if is_full(self.log.parent):
            return f"the disk of {self.log.parent.parent} is full; make room there."
        return last_line(self.log)

    def _last_words(self, how: str) -> str:
        """Returns how it ended and its last line, with a full stop."""
        told = f"{how}: {self.last_line()}".rstrip(": ")
        return told if told.endswith((".", "!", "?")) else f"{told}."


def last_line(log: Path) -> str:
    """Returns the last line of a process's log, without the logging prefix; empty without output.

    Args:
        log: File with its output.
    """
    try:
        lines = log.read_text(errors="replace").strip().splitlines()
    except OSError:
        return ""
    return _STAMP.sub("", lines[-1]).removeprefix("prefrl: ") if lines else ""


def _how(code: int) -> str:
    return signal.Signals(-code).name if code < 0 else f"exit code {code}"


class Supervisor:
    """Runs the roles of a run until the agent is done. Use it as a context manager.

    Args:
        run: The run directory.
        roles: The roles, with the agent first: when it ends well, the run is done and the others
            are stopped.

    Raises:
        RoleError: From ``watch``, if a role cannot go on; the exit then stops all others. From the
            exit, if a role that is not restarted has not saved.
    """

    def __init__(self, run: RunDirectory, roles: Sequence[RoleCommand]) -> None:
        self._run = run
        self._roles = [_Role(run, command) for command in roles]
        self.ended_well = False
        """Whether the agent finished its work after all when it was told to stop."""
        self.n_restarts = 0
        """Number of restarts of all roles."""

    def __enter__(self) -> Supervisor:
        for role in self._roles:
            role.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        alive = [(role, role.process) for role in self._roles if role.process is not None]
        self.stop()
        for role, process in alive if error is None else ():
            # If processes that it depends on were told to stop as well, it may have failed to save.
            if not role.restarts and process.returncode not in (0, STOPPED):
                raise RoleError(
                    f"the {role.name} ended with {_how(process.returncode or 0)} and has "
                    f"not saved: {role.last_line()}"
                )

    def watch(self, *, poll: Callable[[], bool], seconds_between: float = 0.1) -> bool:
        """Watches until the agent is done, or until told to stop.

        Args:
            poll: Called repeatedly; returns whether to stop.
            seconds_between: Pause between two calls, in seconds.

        Returns:
            Whether the agent is done.

        Raises:
            RoleError: If a role cannot go on.
        """
        while not poll():
            for role in self._roles:
                if self._look_at(role):
                    return True
            time.sleep(seconds_between)
        return False

    def stop(self) -> None:
        """Tells all roles to save and stop, waits, and kills those that do not stop in time."""
        alive = [role.process for role in self._roles if role.process is not None]
        for process in alive:
            process.terminate()
        until = time.monotonic() + _SECONDS_TO_STOP
        for process in alive:
            try:
                process.wait(max(0.0, until - time.monotonic()))
            except subprocess.TimeoutExpired:
                _log.warning("process %d did not stop in time; killing it.", process.pid)
                process.kill()
                process.wait()
        agent = self._roles[0].process
        self.ended_well = agent is not None and agent.returncode == 0
        for role in self._roles:
            role.process = None

    def _look_at(self, role: _Role) -> bool:
        """Restarts a dead role; returns whether the agent is done."""
        if role.is_left_dead:
            return False
        if role.process is None:
            role.start_when_due()
            self.n_restarts += role.process is not None
            return False
        code = role.process.poll()
        if code is None:
            role.kill_if_silent(self._run)
            return False
        if code == 0 and role is self._roles[0]:
            role.process = None
            return True
        if code in (BAD_INPUT, GAVE_UP):
            role.give_up()
            return False
        role.bury(code, self._run)
        return False
