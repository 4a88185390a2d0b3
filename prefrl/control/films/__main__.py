"""The process that draws: ``python -m prefrl.control.films PARENT SAID WHAT ...``.

PARENT is the process that waits for it, SAID a file for a sentence about what went wrong.
WHAT is ``check ENV_ID ENV``, ``films ENV_ID ENV FROM TO SIZE``, ``reel ENV_ID ENV FROM FILM SIZE``
or ``pairs RUN``, where ENV is JSON: the environment's arguments and wrappers. It is started by
``drawing``.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from prefrl.control.environments.journals import from_arrays
from prefrl.control.environments.source import EnvConfig
from prefrl.control.films.clips import write_film
from prefrl.control.films.games import open_renderer
from prefrl.control.films.renderer import FILM_SIZE
from prefrl.control.films.report import draw_pairs
from prefrl.core.disk import whole_file
from prefrl.errors import PrefrlError
from prefrl.runtime.roles.role import die_with_parent
from prefrl.runtime.rundir import RunDirectory

_LONGEST_FILM = 300  # steps
_AT_ONCE = 200  # steps whose pictures are in memory at the same time


def main(arguments: list[str]) -> int:
    """Does the requested work; returns the exit code."""
    parent, said, what, *about = arguments
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that waits
    die_with_parent(int(parent))
    try:
        _WORK[what](*about)
    except PrefrlError as error:
        sentence = str(error)
    except Exception as error:
        # An environment may raise anything.
        sentence = f"the drawing broke with {type(error).__name__}: {error}"
    else:
        return 0
    Path(said).write_text(sentence, encoding="utf-8")
    return 1


def _check(env_id: str, env: str) -> None:
    try:
        with open_renderer(env_id, size=FILM_SIZE, env=_config(env)) as renderer:
            renderer.first_frame()
    finally:
        sys.stdout.write(os.environ.get("MUJOCO_GL", ""))  # the GL that drew, if MuJoCo did


def _films(env_id: str, env: str, told: str, folder: str, size: str) -> None:
    with open_renderer(env_id, size=int(size), env=_config(env)) as renderer:
        for path in sorted(Path(told).glob("*.npz")):
            with np.load(path, allow_pickle=False) as arrays:
                content = dict(arrays)
            states = content["states"][:_LONGEST_FILM]
            frames = renderer.frames(states, from_arrays(content))
            write_film(frames, Path(folder) / f"{path.stem}.webm", fps=renderer.fps)


def _reel(env_id: str, env: str, told: str, film: str, size: str) -> None:
    with open_renderer(env_id, size=int(size), env=_config(env)) as renderer:

        def pictures() -> Iterator[NDArray[np.uint8]]:
            for path in sorted(Path(told).glob("*.npz")):
                with np.load(path, allow_pickle=False) as arrays:
                    content = dict(arrays)
                states, journals = content["states"], from_arrays(content)
                for start in range(0, len(states), _AT_ONCE):
                    yield from renderer.frames(states[start : start + _AT_ONCE], journals)

        with whole_file(Path(film)) as part:
            made = part.with_suffix(Path(film).suffix)  # which says how it is encoded
            try:
                write_film(pictures(), made, fps=renderer.fps).replace(part)
            finally:
                made.unlink(missing_ok=True)


def _config(told: str) -> EnvConfig:
    return EnvConfig.from_json(json.loads(told))


def _pairs(run: str) -> None:
    draw_pairs(RunDirectory.open(Path(run)))


_WORK: dict[str, Callable[..., None]] = {
    "check": _check,
    "films": _films,
    "reel": _reel,
    "pairs": _pairs,
}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
