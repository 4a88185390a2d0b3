"""Films for the report: the agent before and after, and the pairs that taught most."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prefrl.control.environments.rollout import Journals
from prefrl.control.environments.source import EnvConfig
from prefrl.control.films.clips import ClipRenderer, film_strip, write_film, write_png
from prefrl.control.films.games import GameRenderer, open_renderer
from prefrl.control.items import Items
from prefrl.control.segments import Segment
from prefrl.core.comparisons import Comparison
from prefrl.errors import FilmError
from prefrl.runtime.rundir import RunDirectory

__all__ = ["film_episode", "film_pairs"]

_FILM_STEPS = 300
_STRIP_SIZE = 160


def film_episode(
    run: RunDirectory,
    env_id: str,
    states: NDArray[np.float64] | None,
    name: str,
    *,
    journals: Journals,
    env: EnvConfig | None = None,
) -> None:
    """Films the start of an episode.

    Args:
        run: Where ``films/NAME.webm`` goes.
        env_id: Which environment the states are of.
        states: Simulator states, shape (T, S); None where they are not known.
        name: Of the film.
        journals: The games that the states are of, if they are of games.
        env: Arguments and wrappers of the environment.

    Raises:
        FilmError: If it cannot be filmed.
    """
    if states is None:
        raise FilmError(
            f"expected simulator states of {env_id} to film, got none; films need a MuJoCo "
            "environment, or one with get_state and set_state."
        )
    with open_renderer(env_id, env=env) as renderer:
        frames = renderer.frames(states[:_FILM_STEPS], journals)
        write_film(frames, run.films / f"{name}.webm", fps=renderer.fps)


def film_pairs(
    run: RunDirectory,
    env_id: str,
    comparisons: Sequence[tuple[Comparison, float]],
    *,
    n_pairs: int = 4,
    env: EnvConfig | None = None,
) -> None:
    """Draws the pairs on which the members disagreed most as strips of frames.

    Args:
        run: Where the segments are and ``films/pairs.json`` goes.
        env_id: Which environment they are of.
        comparisons: Each with the disagreement when it was asked, in [0, 0.5].
        n_pairs: How many are drawn.
        env: Arguments and wrappers of the environment.

    Raises:
        FilmError: If they cannot be drawn.
    """
    ranked = sorted(comparisons, key=lambda asked: -asked[1])[:n_pairs]
    described: list[dict[str, Any]] = []
    items = Items(run)
    with open_renderer(env_id, size=_STRIP_SIZE, env=env) as renderer:
        for number, (comparison, disagreement) in enumerate(ranked):
            query = comparison.query
            sides = {"left": query.left, "right": query.right}
            segments = {side: items[item] for side, item in sides.items()}
            for side, segment in segments.items():
                write_png(_strip(renderer, segment), run.films / f"pair{number}_{side}.png")
            described.append(
                {
                    "query": query.id,
                    "left": f"pair{number}_left.png",
                    "right": f"pair{number}_right.png",
                    "answer": comparison.answer.value,
                    "disagreement": disagreement,
                    "env_steps": max(segment.env_steps for segment in segments.values()),
                }
            )
    (run.films / "pairs.json").write_text(json.dumps(described, indent=2))


def _strip(renderer: ClipRenderer | GameRenderer, segment: Segment) -> NDArray[np.uint8]:
    if segment.states is None:
        raise FilmError(f"expected simulator states in segment {segment.id}, got none.")
    shown = segment.states[np.linspace(0, len(segment) - 1, 6).round().astype(int)]
    return film_strip(renderer.frames(shown, segment.journals))
