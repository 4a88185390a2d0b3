"""Pairs of segments of a recorded dataset for people to label, without an agent."""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from prefrl.control.items import Items, Truth
from prefrl.control.learned.episodes import (
    MINARI,
    Drawing,
    DrawnPairs,
    arrays_of,
    draw_pairs,
    load_minari,
)
from prefrl.control.learned.pairs import Reader
from prefrl.control.learned.replayed import Player
from prefrl.control.reward.config import RewardNetConfig
from prefrl.control.segments import Segment
from prefrl.core.comparisons import Query
from prefrl.core.store import LabelStore
from prefrl.errors import ConfigError, RunDirectoryError
from prefrl.runtime.rundir import RunDirectory

__all__ = ["MADE_FROM", "check_has_agent", "pairs_to_label"]

MADE_FROM = "segments"
"""Key in the config.json of a folder without an agent that says how its pairs were drawn."""


def pairs_to_label(
    root: Path,
    data: str,
    *,
    drawing: Drawing,
    seed: int = 0,
    told: Callable[[int, int], None] = lambda done, of: None,
) -> RunDirectory:
    """Makes a folder with pairs of segments of a dataset, for people to compare.

    A dataset has no films, so every episode from which a segment was drawn is replayed, with its
    seed and its actions, in the environment that the dataset names. The replay must equal the
    recording.

    Args:
        root: A new folder, or one made in the same way, which is then opened. If anything fails,
            nothing of a new one is left.
        data: ``minari:NAME``.
        drawing: Number of pairs, and length of segments.
        seed: Seed of the drawn pairs.
        told: Called with the number of segments that are done, and of all.

    Returns:
        The folder, in the form of a run.

    Raises:
        ConfigError: If there is no such dataset, or an episode cannot be replayed.
        MissingExtraError: If Minari is not installed.
        NotEnoughDataError: If it has fewer than two segments.
        RunDirectoryError: If the folder has other content.
    """
    if not data.startswith(MINARI):
        raise ConfigError(f"expected segments from a dataset, as minari:NAME, got {data!r}.")
    root = root.absolute()
    made_from = {"data": data, **dataclasses.asdict(drawing), "seed": seed}
    if (there := _made_before(root, made_from)) is not None:
        return there
    dataset = load_minari(data.removeprefix(MINARI))
    drawn = draw_pairs(dataset, drawing, seed=seed)
    part = root.with_name(f".{root.name}.part")  # left over if killed, and then made again
    shutil.rmtree(part, ignore_errors=True)
    try:
        run = RunDirectory.create(part)
        with contextlib.closing(Player(dataset)) as player:
            _fill(run, player, dataset, drawn, told)
        config = {"env_id": player.env_id, "env": dataclasses.asdict(player.env)}
        run.write_json(run.config, {**config, MADE_FROM: made_from})
        part.replace(root)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise
    return RunDirectory.open(root)


def _made_before(root: Path, made_from: Mapping[str, Any]) -> RunDirectory | None:
    """Returns the folder if it was made in the same way; None if it does not exist or is empty."""
    run = RunDirectory(root)
    if not root.exists() or (root.is_dir() and not any(root.iterdir())):
        return None
    there = run.read_json(run.config).get(MADE_FROM) if run.config.is_file() else None
    if there == made_from:
        return run
    has = "something else" if there is None else f"pairs drawn as {there}"
    raise RunDirectoryError(
        f"expected a new folder for pairs drawn as {dict(made_from)}, but {root} has {has}; choose "
        "another one, or serve that by prefrl label without options of drawing."
    )


def _fill(
    run: RunDirectory,
    player: Player,
    dataset: Any,
    drawn: DrawnPairs,
    told: Callable[[int, int], None],
) -> None:
    ids, items = np.empty(drawn.episodes.shape, object), Items(run)
    for number, (place, segment, truth) in enumerate(_segments(player, dataset, drawn), 1):
        ids[place] = segment.id
        items.keep([(segment, truth)])
        told(number, ids.size)
    queries = dict[frozenset[str], Query]()
    for number, (left, right) in enumerate(ids.tolist()):
        if left != right:  # equal segments have the same id
            queries.setdefault(frozenset((left, right)), Query(f"p{number}", left, right))
    with LabelStore(run.label_store) as store:
        store.add_queries(list(queries.values()))


def _segments(
    player: Player, dataset: Any, drawn: DrawnPairs
) -> Iterator[tuple[tuple[int, int], Segment, Truth]]:
    """Yields pair and side of each segment, the segment ready for films, and its true rewards."""
    n_before = RewardNetConfig().frame_stack - 1
    reader = Reader(*player.spaces, n_before=n_before)
    for episode, places in drawn.of(dataset):
        about = next(iter(dataset.storage.get_episode_metadata([episode.id])))
        last = max(steps.stop for _, steps in places)
        played = player.play(episode, about, last)
        for place, steps in places:
            arrays = arrays_of(played.episode, steps, n_before=n_before)
            segment = reader.segment(reader.add(arrays, length=drawn.segment_length))
            rewards = np.asarray(episode.rewards[steps], np.float64)
            truth = Truth(np.append(rewards, np.zeros(segment.n_held)))
            yield place, played.with_films(segment, steps), truth


def check_has_agent(config: Mapping[str, Any]) -> None:
    """Refuses a folder of pairs to label if a training is expected.

    Args:
        config: Content of its ``config.json``.

    Raises:
        RunDirectoryError: If there is no agent.
    """
    if MADE_FROM in config:
        raise RunDirectoryError(
            f"expected a training, but this has pairs of {config[MADE_FROM]['data']} to label, "
            "and no agent; prefrl fit makes a reward of the answers, and prefrl train ENV "
            "--labels-from takes them along."
        )
