"""Pictures for the report: the most informative pairs."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prefrl.control.environments.source import EnvConfig
from prefrl.control.films.clips import film_strip, write_png
from prefrl.control.films.ending import mark_ended
from prefrl.control.films.games import Renderer, open_renderer
from prefrl.control.items import Items
from prefrl.control.segments import Segment
from prefrl.core.store import LabelStore
from prefrl.errors import FilmError
from prefrl.runtime.rundir import RunDirectory

__all__ = ["draw_pairs"]

_STRIP_SIZE = 160


def draw_pairs(run: RunDirectory, *, n_pairs: int = 4) -> None:
    """Draws the pairs on which the members disagreed most as strips of frames.

    Args:
        run: Run directory with the segments, which gets the strips and ``films/pairs.json``.
        n_pairs: Number of pairs to draw.

    Raises:
        FilmError: If they cannot be drawn.
    """
    config = run.read_json(run.config)
    env_id, env = config["env_id"], EnvConfig.from_json(config.get("env", {}))
    with LabelStore(run.label_store) as store:
        asked = store.most_urgent_answers(n_pairs)
    described: list[dict[str, Any]] = []
    items = Items(run)
    with open_renderer(env_id, size=_STRIP_SIZE, env=env) as renderer:
        for number, (comparison, disagreement) in enumerate(asked):
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


def _strip(renderer: Renderer, segment: Segment) -> NDArray[np.uint8]:
    if segment.states is None:
        raise FilmError(f"expected segment {segment.id} to be recorded for films, but it was not.")
    steps = np.linspace(0, len(segment) - 1, 6).round().astype(int)
    frames = renderer.frames(segment.states[steps], segment.journals)
    return film_strip(mark_ended(frames, int((steps >= segment.n_real).sum())))
