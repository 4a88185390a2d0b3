"""A few samples to compare, so that the labelling page can be tried in seconds."""

from __future__ import annotations

import itertools
import json
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from prefrl.control.films.drawing import Recorded, film
from prefrl.core.comparisons import Query
from prefrl.core.store import LabelStore
from prefrl.runtime.rundir import RunDirectory
from prefrl.runtime.rundir.media import add_medium

__all__ = ["make_samples"]

_TITLE = "Samples"
_ENV_ID = "prefrl_envs:prefrl/MovingDot-v0"
_N_CLIPS, _N_STEPS = 4, 40
_GOAL, _STEP = np.ones(2), 0.1
_PAIRS = (
    (
        "My plants on the balcony keep drying out while I am away for a week. What can I do?",
        "Water them well before you leave, move them into the shade, and put each pot on a wick "
        "that leads into a bucket of water. For one week that is enough for most plants.",
        "Plants need water to live. There are many kinds of plants, and each of them has its own "
        "needs, so it depends on many things. You could ask somebody about it.",
    ),
    (
        "Explain to a ten-year-old why the sky is blue.",
        "Sunlight is a mix of all colours. The air throws blue light about much more than red "
        "light, so wherever you look, some blue comes your way.",
        "The sky is blue because of Rayleigh scattering, whose cross-section is proportional to "
        "the inverse fourth power of the wavelength.",
    ),
    (
        "Write a subject line for an e-mail that moves a meeting from Tuesday to Thursday.",
        "About the meeting!!! Please read, important",
        "Project meeting moved: Thursday 14:00 instead of Tuesday",
    ),
    (
        "",
        "The report is late because the measurements had to be repeated.",
        "Due to circumstances of a measurement-related nature, lateness of the report occurred.",
    ),
)
_RANKING = (
    "Give the pasta recipe in one sentence.",
    (
        "Boil spaghetti in salted water, toss it with garlic browned in olive oil, a pinch of "
        "chilli and a ladle of the water, and serve it with parsley.",
        "Cook the pasta, make a sauce with garlic and oil, and mix them.",
        "Pasta is a traditional Italian dish.",
        "First you will want to think about which shape of pasta you like; I, for one, remember a "
        "summer in which I ate nothing but penne.",
    ),
)


def make_samples(root: Path) -> RunDirectory:
    """Makes a folder with clips, pairs of texts and a ranking to label.

    Args:
        root: A new folder.

    Returns:
        The folder, in the form of a run.

    Raises:
        RunDirectoryError: If something is there already.
    """
    run = RunDirectory.create(root)
    with LabelStore(run.label_store) as store:
        # The higher the priority, the sooner it is shown.
        store.add_queries(_clips(run, store), priorities=[3.0] * _N_CLIPS)
        store.add_queries(_text_pairs(run, store), priorities=[2.0] * len(_PAIRS))
        ranking = _ranking(run, store)
        store.add_queries(ranking, priorities=[1.0] * len(ranking))
    run.write_json(run.config, {"title": _TITLE})  # last: with it, the folder is one to label
    return run


def _text_pairs(run: RunDirectory, store: LabelStore) -> list[Query]:
    queries = []
    for number, (prompt, *responses) in enumerate(_PAIRS):
        left, right = f"text{number}a", f"text{number}b"
        for item_id, response in zip((left, right), responses, strict=True):
            _add_text(run, store, item_id, prompt, response)
        queries.append(Query(f"text{number}", left, right))
    return queries


def _ranking(run: RunDirectory, store: LabelStore) -> list[Query]:
    prompt, responses = _RANKING
    items = [f"recipe{number}" for number in range(len(responses))]
    for item_id, response in zip(items, responses, strict=True):
        _add_text(run, store, item_id, prompt, response)
    return [
        Query(f"{left}-{right}", left, right, group="recipe")
        for left, right in itertools.combinations(items, 2)
    ]


def _add_text(run: RunDirectory, store: LabelStore, item_id: str, prompt: str, text: str) -> None:
    content = json.dumps({"prompt": prompt, "response": text}).encode()
    media_type = "application/json"
    store.media.add(item_id, add_medium(run.media, content, media_type), media_type)


def _clips(run: RunDirectory, store: LabelStore) -> list[Query]:
    queries, walks, rng = list[Query](), dict[str, Recorded](), np.random.default_rng(0)
    for number in range(_N_CLIPS):
        left, right = f"clip{number}a", f"clip{number}b"
        start = rng.uniform(-1, 0.3, 2)
        for item_id, skill in zip((left, right), rng.permutation([0.9, 0.2]), strict=True):
            walks[item_id] = Recorded(_walk(start, skill, rng))
        queries.append(Query(f"clip{number}", left, right))
    with tempfile.TemporaryDirectory() as folder:
        film(_ENV_ID, walks, Path(folder))
        for item_id in walks:
            media_id = add_medium(
                run.media, (Path(folder) / f"{item_id}.webm").read_bytes(), "video/webm"
            )
            store.media.add(item_id, media_id, "video/webm")
    return queries


def _walk(
    start: NDArray[np.float64], skill: float, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Positions of a dot that moves to its target with probability skill per step, (T, 2)."""
    places = [start]
    for _ in range(_N_STEPS - 1):
        is_able = rng.random() < skill
        move = np.sign(_GOAL - places[-1]) if is_able else rng.choice([-1, 0, 1], 2)
        places.append(np.clip(places[-1] + _STEP * move, -1, 1))
    return np.stack(places)
