"""Draws in another process: a process that trains or evaluates never draws.

Drawing loads GL, and Mesa's GL brings an LLVM; torch may load triton, which brings another one, and
two of them in one process end it. An environment's own drawing may crash as well. So whoever trains
asks for films here: the work is done by ``python -m prefrl.control.films``, which is told by its
arguments and by files, and whatever happens to it comes back as one sentence.
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
"""Environment variable: how MuJoCo draws, where that was tried before or is to be tried now."""

_SECONDS_TO_CHECK = 180.0
_SECONDS_TO_FILM = 900.0
_SECONDS_A_STEP = 1.0
_under_way: dict[tuple[str, str], _Drawing] = {}


@dataclass(frozen=True, eq=False)
class Recorded:
    """What was recorded of some steps, so that they can be filmed."""

    states: NDArray[np.float64] | None
    """Simulator states, shape (T, S), or number and step of an episode or a game, shape (T, 2);
    None where they are not known."""
    journals: Journals = field(default_factory=dict)
    """The episodes or games that ``states`` names, if it does."""


def begin_check(env_id: str, env: EnvConfig | None = None) -> None:
    """Starts the check that ``check_drawable`` of the same environment will wait for.

    It starts a process and no thread, so this process may still be copied.

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
        ConfigError: If it cannot be drawn here, or films cannot be re-made from its states.
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
        while _under_way:  # others may have been begun for options that were overridden
            _under_way.popitem()[1].stop()


def _check(env_id: str, env: str) -> None:
    """Draws once; the GL that worked is trusted from then on, here and in new processes."""
    begun = _under_way.pop((env_id, env))
    drawn = begun.wait(_SECONDS_TO_CHECK)
    # One that ended without a word, or said what it drew MuJoCo with, may draw in another way.
    if drawn.wrong and begun.more and (drawn.printed or not drawn.has_said):
        drawn = _Drawing("check", env_id, env).wait(_SECONDS_TO_CHECK)
    if drawn.wrong:
        raise FilmError(drawn.wrong)
    if drawn.printed:
        os.environ[TRUSTED_GL] = drawn.printed


def _trial() -> dict[str, str]:
    """GL that MuJoCo may try without a probe, which would take as long as drawing."""
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
    """Films what was recorded.

    Args:
        env_id: Which environment it is of.
        recorded: By the name of the film.
        folder: Where ``NAME.webm`` goes.
        size: Side of the pictures in pixels, about.
        env: Arguments and wrappers of the environment.

    Raises:
        FilmError: If it cannot be filmed.
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
    """Films episodes one after another, all steps of each, in one film.

    Args:
        env_id: Which environment they are of.
        recorded: The episodes.
        path: The film, ``.webm`` or ``.mp4``; one that is there is replaced.
        size: Side of the pictures in pixels, about.
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
        run: Where the segments are and ``films/pairs.json`` goes.

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
    """What it printed."""
    wrong: str
    """What went wrong, as a sentence; empty if nothing did."""
    has_said: bool = False
    """Whether it said so itself."""


class _Drawing:
    """A process that draws: ``python -m prefrl.control.films ARGUMENTS``.

    Args:
        arguments: What it is told.
        more: Environment variables beside those of this process.
    """

    def __init__(self, *arguments: str, more: Mapping[str, str] | None = None) -> None:
        self.more = dict(more or {})
        """Environment variables beside those of this process."""
        self._folder = tempfile.TemporaryDirectory(prefix="prefrl")
        self._said = Path(self._folder.name) / "said"
        # The process shall find the modules that this one finds.
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
        """Waits until it has ended, or ends it after so many seconds."""
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
        """Ends it if it has not ended, and removes its files."""
        self._process.kill()
        self._process.wait()
        self._folder.cleanup()

    def _drawn(self, code: int) -> _Drawn:
        printed = self._last_line("out")
        if self._said.is_file():
            # What an environment says may have several lines.
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
    """Waits for ``python -m prefrl.control.films ARGUMENTS``."""
    if wrong := _Drawing(*arguments).wait(seconds).wrong:
        raise FilmError(wrong)


def _how(code: int) -> str:
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"exit code {code}"
