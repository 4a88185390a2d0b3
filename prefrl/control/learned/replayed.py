"""Replays episodes of a dataset in their environment, so that films can be made of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from prefrl.control.environments.adapting import AdaptObservations
from prefrl.control.environments.journals import Journals
from prefrl.control.environments.one import record_for_films
from prefrl.control.environments.registered import environment_of_spec
from prefrl.control.environments.source import make_env
from prefrl.control.environments.states import (
    FINAL_STATE_KEY,
    STATE_KEY,
    log_mujoco_warnings,
    tells_state,
)
from prefrl.control.learned.episodes import some_of
from prefrl.control.segments import Segment
from prefrl.errors import ConfigError

__all__ = ["Player", "Replayed"]

_TOLERANCE = 1e-3  # another version of MuJoCo may give other last digits
_MOST_LEVELS = 10.0  # mean error of a picture, of 255 levels: Minari stores pictures as JPEG


@dataclass(frozen=True)
class _Episode:
    """The parts of an episode that ``arrays_of`` reads, as the environment shows them here."""

    observations: Any
    actions: Any
    terminations: NDArray[np.bool_]


@dataclass(frozen=True)
class Replayed:
    """An episode whose replay, as far as it goes, equals the recording."""

    episode: _Episode
    """Observations, actions and endings, for ``arrays_of``."""
    states: NDArray[np.float64]
    """Simulator states before each action, or the episode's number and step, shape (T, S)."""
    final: NDArray[np.float64]
    """The same after the last action, shape (S,)."""
    journals: Journals
    """The episode by number, if films are made by replaying it."""

    def with_films(self, segment: Segment, steps: slice) -> Segment:
        """Returns one of its segments with the states and journals that films need."""
        held = np.broadcast_to(self.final, (segment.n_held, *self.final.shape))
        return dataclasses.replace(
            segment,
            states=np.concatenate([self.states[steps], held]),
            journals={number: one.until(steps.stop) for number, one in self.journals.items()},
            episode_step=int(steps.start),
        )


class Player:
    """The environment of a dataset of Minari, which replays its episodes.

    Args:
        dataset: The dataset.

    Raises:
        ConfigError: If the environment cannot be made, or has another action space.
    """

    def __init__(self, dataset: Any) -> None:
        spec = dataset.spec.env_spec
        name = dataset.spec.dataset_id
        if spec is None:
            raise ConfigError(
                f"expected {name} to name its environment, which films are made with, but it does "
                "not."
            )
        self.env_id, self.env, trouble = environment_of_spec(spec)
        """Id of the environment, and its arguments and wrappers."""
        if trouble:
            raise ConfigError(f"films need the environment of {name}, but {trouble}")
        log_mujoco_warnings()
        self._env: Any = record_for_films(make_env(self.env_id, self.env))
        if self._env.action_space != dataset.action_space:
            self._env.close()
            raise ConfigError(
                f"expected {self.env_id} to take actions as they were recorded, from "
                f"{dataset.action_space}, but it takes them from {self._env.action_space}."
            )
        self._adapter = _adapter_of(self._env)

    def close(self) -> None:
        """Closes the environment."""
        self._env.close()

    @property
    def spaces(self) -> tuple[gym.Space[Any], gym.Space[Any]]:
        """Observation and action space of the environment."""
        return self._env.observation_space, self._env.action_space

    def play(self, episode: Any, about: Mapping[str, Any], n_steps: int) -> Replayed:
        """Replays an episode.

        Args:
            episode: An episode of Minari.
            about: Its metadata in Minari, with its seed and the options of its reset.
            n_steps: Number of steps to replay.

        Raises:
            ConfigError: If the replay differs from the recording, or no films can be made of it.
        """
        what = f"episode {episode.id} in {self.env_id}"
        if about.get("seed") is None:
            raise ConfigError(
                f"expected the seed of {what}, to replay it for films, but the dataset has none; "
                "record one with Minari's DataCollector, which keeps it."
            )
        recorded = self._as_shown(episode.observations, n_steps + 1)
        states, final = list[NDArray[np.float64]](), None
        seen, _ = self._env.reset(seed=int(about["seed"]), options=about.get("options"))
        _compare(seen, some_of(recorded, 0), what, 0)
        for step in range(n_steps):
            action = some_of(episode.actions, step)
            seen, _, terminated, truncated, told = self._env.step(action)
            _compare(seen, some_of(recorded, step + 1), what, step + 1)
            if terminated != bool(episode.terminations[step]) or (truncated and step + 1 < n_steps):
                raise _otherwise(what, f"it ended, or went on, after step {step + 1}")
            states.append(told.get(STATE_KEY))
            final = told.get(FINAL_STATE_KEY, states[-1])
        journals: Journals = self._env.journals()
        if states[-1] is None or not (journals or tells_state(self._env)):
            raise ConfigError(
                f"expected films of {what}, but it has no rgb_array among its render_modes, or is "
                "longer than the 20,000 steps that are kept; take another dataset."
            )
        assert final is not None
        ended = np.asarray(episode.terminations, np.bool_)
        shown = _Episode(recorded, episode.actions, ended)
        return Replayed(shown, np.stack(states), final, journals)

    def _as_shown(self, observations: Any, n: int) -> Any:
        """Returns the first n recorded observations, as the environment shows them here."""
        if self._adapter is None:
            return some_of(observations, slice(n))
        shown = [self._adapter.observation(some_of(observations, step)) for step in range(n)]
        if isinstance(shown[0], Mapping):
            return {key: np.stack([one[key] for one in shown]) for key in shown[0]}
        return np.stack(shown)


def _adapter_of(env: gym.Env[Any, Any]) -> AdaptObservations | None:
    while isinstance(env, gym.Wrapper):
        if isinstance(env, AdaptObservations):
            return env
        env = env.env
    return None


def _compare(seen: Any, recorded: Any, what: str, step: int) -> None:
    if not _alike(seen, recorded):
        raise _otherwise(what, f"it observed something else after {step} of them")


def _alike(seen: Any, recorded: Any) -> bool:
    if isinstance(seen, Mapping):
        return all(_alike(part, recorded[key]) for key, part in seen.items())
    if np.shape(seen) != np.shape(recorded):
        return False
    one, other = np.asarray(seen, np.float64), np.asarray(recorded, np.float64)
    if np.asarray(seen).dtype == np.uint8 and np.ndim(seen) > 1:
        return float(np.abs(one - other).mean()) <= _MOST_LEVELS
    return np.allclose(one, other, atol=_TOLERANCE, rtol=_TOLERANCE)


def _otherwise(what: str, how: str) -> ConfigError:
    return ConfigError(
        f"expected {what} to come out as it was recorded, with the same seed and actions, but "
        f"{how}; install the versions that it was recorded with."
    )
