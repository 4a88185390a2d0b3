"""Draws in another process, as a process that trains or evaluates must never draw.

Drawing loads GL, and Mesa's GL loads an LLVM. torch may load triton with another LLVM, and two of
them in one process crash it. An environment's own drawing may crash as well. So films are requested
here, and ``python -m prefrl.control.films`` makes them. It gets its work by arguments and files,
and any failure is reported as one sentence.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prefrl.control.environments.journals import Journals, as_arrays
from prefrl.control.environments.source import EnvConfig
from prefrl.errors import ConfigError, FilmError
from prefrl.runtime.rundir import RunDirectory
from prefrl.runtime.rundir.writing import write_arrays

__all__ = [
    "TRUSTED_GL",
    "Recorded",
    "begin_check",
    "check_drawable",
    "film",
    "film_pairs",
    "film_reel",
]

TRUSTED_GL = "PREFRL_GL"
"""Environment variable with the GL for MuJoCo to use without a probe."""

_SECONDS_TO_CHECK = 180.0
_SECONDS_TO_FILM = 900.0
_SECONDS_A_STEP = 1.0
_under_way: dict[tuple[str, str], _Drawing] = {}


@dataclass(frozen=True, eq=False)
class Recorded:
    """A record of some steps, from which they can be filmed."""

    states: NDArray[np.float64] | None
    """Simulator states, shape (T, S), or number and step of an episode or a game, shape (T, 2);
    None if they are not known."""
    journals: Journals = field(default_factory=dict)
    """The episodes or games in ``states``, if it has their numbers."""


def begin_check(env_id: str, env: EnvConfig | None = None) -> None:
    """Starts the check that ``check_drawable`` of the same environment will wait for.

    It starts a process but no thread, so this process may still be forked.

    Args:
        env_id: A Gymnasium id.
        env: Its arguments and wrappers.
    """
    asked = (env_id, _as_json(env))
    if asked not in _under_way:
        _under_way[asked] = _Drawing("check", *asked, more=_trial())


def check_drawable(env_id: str, env: EnvConfig | None = None) -> None:
    """Refuses an environment that cannot be filmed for people.

    Args:
        env_id: A Gymnasium id.
        env: Its arguments and wrappers.

    Raises:
        ConfigError: If it cannot be drawn here, or not from its recorded states.
    """
    begin_check(env_id, env)
    try:
        _check(env_id, _as_json(env))
    except FilmError as error:
        raise ConfigError(
            f"people are shown films of the agent, and {env_id} cannot be filmed here: {error} "
            "Without films only the synthetic oracle works."
        ) from error
    finally:
        while _under_way:  # checks begun for options that were overridden later
            _under_way.popitem()[1].stop()


def _check(env_id: str, env: str) -> None:
    """Draws once; from then on the GL that worked is trusted, here and in new processes."""
    begun = _under_way.pop((env_id, env))
    drawn = begun.wait(_SECONDS_TO_CHECK)
    # If it ended without a message, or MuJoCo tried to draw, another GL may work.
    if drawn.wrong and begun.more and (drawn.printed or not drawn.has_said):
        drawn = _Drawing("check", env_id, env).wait(_SECONDS_TO_CHECK)
    if drawn.wrong:
        raise FilmError(drawn.wrong)
    if drawn.printed:
        os.environ[TRUSTED_GL] = drawn.printed


def _trial() -> dict[str, str]:
    """Returns a GL for MuJoCo to try without a probe, which would take as long as drawing."""
    first = os.environ.get("MUJOCO_GL") or "egl"
    return {} if TRUSTED_GL in os.environ else {TRUSTED_GL: first}


def film(
    env_id: str,
    recorded: Mapping[str, Recorded],
    folder: Path,
    *,
    size: int = 256,
    env: EnvConfig | None = None,
) -> None:
    """Films recorded steps.

    Args:
        env_id: Id of the environment.
        recorded: The recorded steps by the name of their film.
        folder: Folder for the films, each ``NAME.webm``.
        size: Approximate side of the pictures, in pixels.
        env: Arguments and wrappers of the environment.

    Raises:
        FilmError: If they cannot be filmed.
    """
    with tempfile.TemporaryDirectory(prefix="prefrl") as told:
        _write_recorded(env_id, recorded, told)
        about = (env_id, _as_json(env), told, str(folder), str(size))
        _draw("films", *about, seconds=_SECONDS_TO_FILM)


def film_reel(
    env_id: str,
    recorded: Sequence[Recorded],
    path: Path,
    *,
    size: int = 256,
    env: EnvConfig | None = None,
) -> None:
    """Films all steps of episodes, one after another, in one film.

    Args:
        env_id: Id of the environment.
        recorded: The episodes.
        path: The film, ``.webm`` or ``.mp4``; an existing one is replaced.
        size: Approximate side of the pictures, in pixels.
        env: Arguments and wrappers of the environment.

    Raises:
        FilmError: If they cannot be filmed.
    """
    with tempfile.TemporaryDirectory(prefix="prefrl") as told:
        n_steps = _write_recorded(env_id, {f"{n:06d}": one for n, one in enumerate(recorded)}, told)
        about = (env_id, _as_json(env), told, str(path), str(size))
        _draw("reel", *about, seconds=_SECONDS_TO_FILM + n_steps * _SECONDS_A_STEP)


def _write_recorded(env_id: str, recorded: Mapping[str, Recorded], folder: str) -> int:
    """Writes the recordings for the process that draws; returns their total number of steps."""
    n_steps = 0
    for name, steps in recorded.items():
        if steps.states is None:
            raise FilmError(
                f"expected {env_id} to be recorded for films, but it was not; films need an "
                "environment whose metadata names the render mode rgb_array."
            )
        arrays: dict[str, Any] = {"states": steps.states, **as_arrays(steps.journals)}
        write_arrays(Path(folder) / f"{name}.npz", arrays)
        n_steps += len(steps.states)
    return n_steps


def film_pairs(run: RunDirectory) -> None:
    """Draws the pairs on which the members of a run disagreed most as strips of frames.

    Args:
        run: Run directory with the segments, which gets the strips and ``films/pairs.json``.

    Raises:
        FilmError: If they cannot be drawn.
    """
    _draw("pairs", str(run.root), seconds=_SECONDS_TO_FILM)


def _as_json(env: EnvConfig | None) -> str:
    return json.dumps(asdict(env or EnvConfig()))


@dataclass(frozen=True)
class _Drawn:
    """Outcome of a process that draws."""

    printed: str
    """The last line that it printed."""
    wrong: str
    """A sentence about what went wrong; empty if nothing did."""
    has_said: bool = False
    """Whether the sentence is its own, or it ran out of time."""


class _Drawing:
    """A process that draws: ``python -m prefrl.control.films ARGUMENTS``.

    Args:
        arguments: Its arguments.
        more: Environment variables in addition to those of this process.
    """

    def __init__(self, *arguments: str, more: Mapping[str, str] | None = None) -> None:
        self.more = dict(more or {})
        """Environment variables in addition to those of this process."""
        self._folder = tempfile.TemporaryDirectory(prefix="prefrl")
        self._said = Path(self._folder.name) / "said"
        # The process must find the same modules as this one.
        path = os.pathsep.join(filter(None, sys.path))
        about = [str(os.getpid()), str(self._said), *arguments]
        with self._file("out").open("wb") as out, self._file("err").open("wb") as err:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "prefrl.control.films", *about],
                env={**os.environ, "PYTHONPATH": path, **self.more},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
            )

    def wait(self, seconds: float) -> _Drawn:
        """Waits until it has ended, and kills it if that takes longer than ``seconds``."""
        try:
            code = self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return _Drawn(
                "",
                f"expected the process that draws to be done within {seconds:.0f} s, but it was "
                "not; look whether the environment draws on this machine at all.",
                has_said=True,
            )
        else:
            return self._drawn(code)
        finally:
            self.stop()

    def stop(self) -> None:
        """Kills it if it has not ended, and removes its files."""
        self._process.kill()
        self._process.wait()
        self._folder.cleanup()

    def _drawn(self, code: int) -> _Drawn:
        printed = self._last_line("out")
        if self._said.is_file():
            # An environment's message may have several lines.
            sentence = " ".join(self._said.read_text(encoding="utf-8").split())
            return _Drawn(printed, f"{sentence.rstrip('.')}.", has_said=True)
        if code:
            return _Drawn(
                printed,
                "expected the process that draws to end well, but it ended by "
                f"{_how(code)}; it said last: {self._last_line('err') or 'nothing'}.",
            )
        return _Drawn(printed, "")

    def _last_line(self, name: str) -> str:
        return self._file(name).read_text(errors="replace").strip().rpartition("\n")[2]

    def _file(self, name: str) -> Path:
        return Path(self._folder.name) / name


def _draw(*arguments: str, seconds: float) -> None:
    """Runs ``python -m prefrl.control.films ARGUMENTS`` and waits for it."""
    if wrong := _Drawing(*arguments).wait(seconds).wrong:
        raise FilmError(wrong)


def _how(code: int) -> str:
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"exit code {code}"
