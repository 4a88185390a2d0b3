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
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
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
_under_way: dict[tuple[str, str], Future[None]] = {}


@dataclass(frozen=True, eq=False)
class Recorded:
    """What was recorded of some steps, so that they can be filmed."""

    states: NDArray[np.float64] | None
    """Simulator states, shape (T, S), or number and step of an episode or a game, shape (T, 2);
    None where they are not known."""
    journals: Journals = field(default_factory=dict)
    """The episodes or games that ``states`` names, if it does."""


def begin_check(env_id: str, env: EnvConfig | None = None) -> None:
    """Begins what ``check_drawable`` of the same environment will wait for.

    Args:
        env_id: A Gymnasium id.
        env: Its arguments and wrappers.
    """
    check = _under_way[env_id, _as_json(env)] = Future()
    threading.Thread(target=_check_into, args=(check, env_id, _as_json(env)), daemon=True).start()


def check_drawable(env_id: str, env: EnvConfig | None = None) -> None:
    """Refuses an environment of which people could be shown nothing.

    Args:
        env_id: A Gymnasium id.
        env: Its arguments and wrappers.

    Raises:
        ConfigError: If it cannot be drawn here, or films cannot be re-made from its states.
    """
    try:
        if (check := _under_way.pop((env_id, _as_json(env)), None)) is not None:
            check.result()
        else:
            _check(env_id, _as_json(env))
    except FilmError as error:
        raise ConfigError(
            f"people are shown films of the agent, and {env_id} cannot be filmed here: {error} "
            "Without films only the synthetic oracle works."
        ) from error


def _check_into(check: Future[None], env_id: str, env: str) -> None:
    try:
        _check(env_id, env)
    except BaseException as error:  # it is told to whoever waits for the check
        check.set_exception(error)
    else:
        check.set_result(None)


def _check(env_id: str, env: str) -> None:
    """Draws once; what MuJoCo was drawn with is trusted from then on, here and in new processes."""
    first = os.environ.get("MUJOCO_GL") or "egl"
    # Tried at once: to ask a process of its own first whether it works takes as long as all this.
    trial = {} if TRUSTED_GL in os.environ else {TRUSTED_GL: first}
    drawn = _try_to_draw("check", env_id, env, seconds=_SECONDS_TO_CHECK, more=trial)
    # One that ended without a word, or said what it drew MuJoCo with, may draw in another way.
    if drawn.wrong and trial and (drawn.printed or not drawn.has_said):
        drawn = _try_to_draw("check", env_id, env, seconds=_SECONDS_TO_CHECK)
    if drawn.wrong:
        raise FilmError(drawn.wrong)
    if drawn.printed:
        os.environ[TRUSTED_GL] = drawn.printed


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
    """Writes what was recorded for the process that draws; gives the steps of all together."""
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
    """What became of a process that draws."""

    printed: str
    """What it printed."""
    wrong: str
    """What went wrong, as a sentence; empty if nothing did."""
    has_said: bool = False
    """Whether it said so itself."""


def _draw(*arguments: str, seconds: float) -> None:
    """Waits for ``python -m prefrl.control.films ARGUMENTS``."""
    if wrong := _try_to_draw(*arguments, seconds=seconds).wrong:
        raise FilmError(wrong)


def _try_to_draw(*arguments: str, seconds: float, more: Mapping[str, str] | None = None) -> _Drawn:
    """As ``_draw``, with more environment variables."""
    # The process shall find the modules that this one finds.
    path = os.pathsep.join(filter(None, sys.path))
    with tempfile.TemporaryDirectory(prefix="prefrl") as folder:
        said = Path(folder) / "said"
        command = [sys.executable, "-m", "prefrl.control.films", str(os.getpid()), str(said)]
        try:
            ended = subprocess.run(
                [*command, *arguments],
                env={**os.environ, "PYTHONPATH": path, **(more or {})},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=seconds,
            )
        except subprocess.TimeoutExpired:
            return _Drawn(
                "",
                f"expected the process that draws to be done within {seconds:.0f} s, but it was "
                "not; look whether the environment draws on this machine at all.",
                has_said=True,
            )
        printed = ended.stdout.decode(errors="replace").strip().rpartition("\n")[2]
        if said.is_file():
            # What an environment says may have several lines.
            sentence = " ".join(said.read_text(encoding="utf-8").split())
            return _Drawn(printed, f"{sentence.rstrip('.')}.", has_said=True)
        if ended.returncode:
            last = ended.stderr.decode(errors="replace").strip().rpartition("\n")[2]
            return _Drawn(
                printed,
                "expected the process that draws to end well, but it ended by "
                f"{_how(ended.returncode)}; it said last: {last or 'nothing'}.",
            )
        return _Drawn(printed, "")


def _how(code: int) -> str:
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"exit code {code}"
