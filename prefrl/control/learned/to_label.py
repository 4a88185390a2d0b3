"""Pairs of segments of a recorded dataset, put to people: a folder to label, without an agent."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from prefrl.control.environments.journals import Journals
from prefrl.control.environments.one import record_for_films
from prefrl.control.environments.source import EnvConfig, make_env
from prefrl.control.environments.states import FINAL_STATE_KEY, STATE_KEY, log_mujoco_warnings
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
from prefrl.control.segments import Segment
from prefrl.core.comparisons import Query
from prefrl.core.store import LabelStore
from prefrl.errors import ConfigError
from prefrl.runtime.rundir import RunDirectory

__all__ = ["pairs_to_label"]

_OPTION = "options/"
_TOLERANCE = 1e-3  # another MuJoCo may compute the last digits otherwise


def pairs_to_label(
    root: Path,
    data: str,
    *,
    drawing: Drawing,
    seed: int = 0,
    told: Callable[[int, int], None] = lambda done, of: None,
) -> RunDirectory:
    """Makes a folder with pairs of segments of a dataset, for people to compare.

    The dataset has no pictures, so each episode that a segment is from is played again: with its
    seed and its actions, in the environment that the dataset names. That has to come out as it was
    recorded.

    Args:
        root: A new folder. If all of it cannot be made, nothing is left.
        data: ``minari:NAME``.
        drawing: How many pairs, of which length.
        seed: Of what is drawn.
        told: Called with the number of segments that are done, and of all.

    Returns:
        The folder, in the form of a run.

    Raises:
        ConfigError: If there is no such dataset, or an episode cannot be played again.
        MissingExtraError: If Minari is not installed.
        NotEnoughDataError: If it has fewer than two segments.
        RunDirectoryError: If something is there already.
    """
    if not data.startswith(MINARI):
        raise ConfigError(f"expected segments from a dataset, as minari:NAME, got {data!r}.")
    dataset = load_minari(data.removeprefix(MINARI))
    drawn = draw_pairs(dataset, drawing, seed=seed)
    env_id, env = _environment_of(dataset, data)
    ids, made = np.empty(drawn.episodes.shape, object), list[tuple[Segment, Truth]]()
    for place, segment, truth in _segments(dataset, drawn, env_id, env):
        ids[place] = segment.id
        made.append((segment, truth))
        told(len(made), ids.size)
    run = RunDirectory.create(root)
    Items(run).keep(made)
    queries = [
        Query(f"p{number}", left, right)
        for number, (left, right) in enumerate(ids.tolist())
        if left != right  # of few states some may be the same
    ]
    with LabelStore(run.labels) as store:
        store.add_queries(queries)
    # Last: with it, the folder is one to label.
    config = {"env_id": env_id, "env": dataclasses.asdict(env), "segments": data}
    run.write_json(run.config, config)
    return run


def _environment_of(dataset: Any, data: str) -> tuple[str, EnvConfig]:
    """The id and the arguments of the environment that a dataset was recorded in."""
    spec = dataset.spec.env_spec
    if spec is None:
        raise ConfigError(
            f"expected {data} to name its environment, which films are made with, but it does not."
        )
    kwargs = {name: value for name, value in spec.kwargs.items() if name != "render_mode"}
    return spec.id, EnvConfig(kwargs=kwargs)


def _segments(
    dataset: Any, drawn: DrawnPairs, env_id: str, env: EnvConfig
) -> Iterator[tuple[tuple[int, int], Segment, Truth]]:
    """Pair and side of each segment, with all that films need, and its true rewards."""
    log_mujoco_warnings()
    player = record_for_films(make_env(env_id, env))
    try:
        if player.action_space != dataset.action_space:
            raise ConfigError(
                f"expected {env_id} to take actions as they were recorded, from "
                f"{dataset.action_space}, but it takes them from {player.action_space}."
            )
        reader = Reader(dataset.observation_space, dataset.action_space)
        played: tuple[int | None, _Played | None] = None, None
        for episode, place, steps in drawn.of(dataset):
            if played[0] != episode.id:
                about = next(iter(dataset.storage.get_episode_metadata([episode.id])))
                played = episode.id, _Played(player, episode, about, env_id)
            assert played[1] is not None
            arrays = arrays_of(episode, steps)
            segment = reader.segment(reader.add(arrays, length=drawn.segment_length))
            rewards = np.asarray(episode.rewards[steps], np.float64)
            truth = Truth(np.append(rewards, np.zeros(segment.n_held)))
            yield place, played[1].recorded(segment, steps), truth
    finally:
        player.close()


class _Played:
    """An episode that is played again.

    Args:
        player: Its environment, which records for films.
        episode: As Minari gives it.
        about: What Minari knows of it beside: its seed and the options of its reset.
        env_id: For messages.

    Raises:
        ConfigError: If it does not come out as it was recorded.
    """

    def __init__(
        self, player: gym.Env[Any, Any], episode: Any, about: Mapping[str, Any], env_id: str
    ) -> None:
        states, final = list[NDArray[np.float64]](), None
        self._what = f"episode {episode.id} in {env_id}"
        if about.get("seed") is None:
            raise ConfigError(
                f"expected the seed of {self._what}, to play it again for films, but the dataset "
                "has none; record one with Minari's DataCollector, which keeps it."
            )
        options = {
            name.removeprefix(_OPTION): value
            for name, value in about.items()
            if name.startswith(_OPTION)
        }
        observation, _ = player.reset(seed=int(about["seed"]), options=options or None)
        self._compare(observation, episode, 0)
        for step, action in enumerate(episode.actions):
            observation, _, terminated, truncated, told = player.step(action)
            self._compare(observation, episode, step + 1)
            if STATE_KEY not in told:
                raise ConfigError(
                    f"expected {env_id} to draw films, with rgb_array among its render_modes, but "
                    "it does not; take another dataset."
                )
            states.append(told[STATE_KEY])
            final = told.get(FINAL_STATE_KEY)
            if (terminated or truncated) and step + 1 < len(episode.actions):
                raise ConfigError(f"{self._otherwise} it ended after {step + 1} steps.")
        recorder: Any = player
        self._journals: Journals = recorder.journals()
        self._states = np.stack(states)
        self._final = self._states[-1] if final is None else final

    @property
    def _otherwise(self) -> str:
        return (
            f"expected {self._what} to come out as it was recorded, with the same seed and "
            "actions; install the versions that it was recorded with. Here"
        )

    def _compare(self, observation: Any, episode: Any, step: int) -> None:
        recorded = _flat(_at(episode.observations, step))
        if not np.allclose(_flat(observation), recorded, atol=_TOLERANCE, rtol=_TOLERANCE):
            raise ConfigError(f"{self._otherwise} it was elsewhere after {step} steps.")

    def recorded(self, segment: Segment, steps: slice) -> Segment:
        """A segment of it with what films are made from."""
        states = self._states[steps]
        held = np.broadcast_to(self._final, (segment.n_held, *self._final.shape))
        journals = {number: one.until(steps.stop) for number, one in self._journals.items()}
        return dataclasses.replace(
            segment,
            states=np.concatenate([states, held]),
            journals=journals,
            episode_step=int(steps.start),
        )


def _at(values: Any, step: int) -> Any:
    if isinstance(values, dict):
        return {key: _at(part, step) for key, part in values.items()}
    return values[step]


def _flat(observation: Any) -> NDArray[np.float64]:
    if isinstance(observation, dict):
        return np.concatenate([_flat(observation[key]) for key in sorted(observation)])
    return np.asarray(observation, np.float64).ravel()
