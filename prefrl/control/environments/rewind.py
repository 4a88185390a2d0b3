"""Bringing an environment back to where it was: by doing again what was done to it.

Gymnasium has no way to save an environment. But one whose randomness comes from its own generator
goes the same way again from the same reset with the same actions. So each environment keeps a
journal of its episode, and a new one reads it back. Whether that worked is checked: the last
observation must come out bit for bit. What the journal cannot know is what an environment carries
from one episode into the next beside its generator.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from prefrl.control.environments.journals import JOURNAL_KEY, Journal
from prefrl.control.environments.states import FINAL_STATE_KEY, STATE_KEY

__all__ = ["Rewind", "begin", "checksum"]

_LONGEST_EPISODE = 20_000
"""Actions that are kept of an episode; one that is longer cannot be brought back."""


class Rewind(gym.Wrapper[Any, Any, Any, Any]):
    """Keeps a journal of the episode, from which a new environment can go on.

    Films are made from it, too, where the environment can be drawn but does not tell its state:
    then the info of each step has the number of the episode and the step under ``STATE_KEY``, and
    that of an episode's last step has the journal under ``JOURNAL_KEY``.
    """

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        super().__init__(env)
        self._draws = "rgb_array" in (env.metadata.get("render_modes") or ())
        self._is_filmed = False
        self._n_episodes, self._number = 0, 0
        self._beginning: str | None = None
        self._seen: list[int] = []
        self._seed: int | None = None
        self._reset: dict[str, Any] = {}
        self._actions: list[NDArray[Any]] = []
        self._n_steps = 0
        self._last: Any = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Resets, and begins the journal anew with the state of the generator before."""
        generator = None if seed is not None else _state_of(self.unwrapped.np_random)
        self._seed = self._seed if seed is None else seed
        self._reset = {"seed": seed, "options": options, "generator": generator}
        self._actions, self._n_steps = [], 0
        self._n_episodes += 1
        if self._draws:
            self._beginning = _as_json({**self._reset, "first_seed": self._seed})
            self._number = _number(self._n_episodes, self._beginning or "")
        observation, info = self.env.reset(seed=seed, options=options)
        self._seen = [checksum(observation)]
        self._last = _copied(observation)
        return observation, info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Steps, and notes the action."""
        self._n_steps += 1
        taken = np.array(action)  # an environment may change what it is given
        observation, reward, terminated, truncated, info = self.env.step(action)
        if self._n_steps <= _LONGEST_EPISODE:
            self._actions.append(taken)
            self._seen.append(checksum(observation, self._seen[-1]))
        else:
            self._actions, self._seen = [], []  # of no use any more, and memory stays bounded
        self._last = _copied(observation)
        self._is_filmed = self._draws and STATE_KEY not in info
        if self._is_filmed:
            info[STATE_KEY] = np.array([self._number, self._n_steps - 1], np.float64)
            if terminated:
                info[FINAL_STATE_KEY] = np.array([self._number, self._n_steps], np.float64)
            if (terminated or truncated) and (journals := self.journals()):
                info[JOURNAL_KEY] = next(iter(journals.items()))
        return observation, reward, terminated, truncated, info

    def journals(self) -> dict[int, Journal]:
        """The episode under way by its number, for films; empty where it cannot be played again."""
        if not (self._is_filmed and self._actions and self._beginning):
            return {}
        seen = np.array(self._seen, np.uint32)
        return {self._number: Journal(_compact(np.array(self._actions)), self._beginning, seen)}

    def snapshot(self) -> dict[str, Any]:
        """The journal: how the episode began, its actions, and what was seen last."""
        return {
            "seed": self._seed,
            "n_faults": self._n_faults,
            "reset": self._reset,
            "actions": np.array(self._actions),
            "n_steps": self._n_steps,
            "last": self._last,
            "n_episodes": self._n_episodes,
            "number": self._number,
        }

    def restore(self, snapshot: Mapping[str, Any], seed: int) -> str:
        """Goes where the snapshot was taken; where that fails, a new episode begins.

        Args:
            snapshot: Snapshot of an environment that was made in the same way.
            seed: Seed of the new episode, if one must begin.

        Returns:
            Empty; or why a new episode had to begin.
        """
        trouble = self._repeat(snapshot)
        if trouble:
            self._n_episodes = snapshot.get("n_episodes", 0)
            self.reset(seed=seed)
        self._n_faults = snapshot["n_faults"]
        return trouble

    @property
    def last_observation(self) -> Any:
        """What it showed last."""
        assert self._last is not None  # it was reset
        return self._last

    @property
    def _n_faults(self) -> int:
        """Number of faults of the inner Guard, if there is one: it derives seeds from it."""
        return int(self.get_wrapper_attr("n_faults")) if self.has_wrapper_attr("n_faults") else 0

    @_n_faults.setter
    def _n_faults(self, n_faults: int) -> None:
        if self.has_wrapper_attr("n_faults"):
            self.set_wrapper_attr("n_faults", n_faults)

    def _repeat(self, snapshot: Mapping[str, Any]) -> str:
        if snapshot["n_steps"] > _LONGEST_EPISODE:
            return f"its episode has more than {_LONGEST_EPISODE:,} steps"
        begun = snapshot["reset"]
        if begun["seed"] is None and begun["generator"] is None:
            return "its random numbers come from a generator that cannot be read"
        begin(self, {**begun, "first_seed": snapshot["seed"]})
        self._reset = dict(begun)
        # Earlier releases did not count.
        self._n_episodes = snapshot.get("n_episodes", self._n_episodes)
        self._number = snapshot.get("number", self._number)
        for number, action in enumerate(snapshot["actions"], start=1):
            _, _, terminated, truncated, _ = self.step(action)
            if terminated or truncated:
                return f"its episode ended after {number} steps where it went on before"
        if not _same(self.last_observation, snapshot["last"]):
            return "the same actions led elsewhere: it is not reproducible"
        return ""


def begin(env: gym.Env[Any, Any], told: Mapping[str, Any]) -> Any:
    """Resets an environment to how an episode began.

    Args:
        env: Made as the one that the episode was played in.
        told: ``seed`` and ``options`` of its reset; ``generator``, the state of the generator
            before it, where there was no seed; and ``first_seed``, that of the environment.

    Returns:
        The first observation.
    """
    if told["generator"] is not None:
        if told["first_seed"] is not None:
            env.reset(seed=told["first_seed"])  # Guard derives later seeds from the first one
        _set_state(env.unwrapped.np_random, told["generator"])
    observation, _ = env.reset(seed=told["seed"], options=told["options"])
    return observation


def checksum(observation: Any, before: int = 0) -> int:
    """A number that changes with what was observed, now or before.

    Args:
        observation: An array, or a dict of arrays.
        before: The number of the step before.
    """
    if isinstance(observation, Mapping):
        for key in sorted(observation):
            before = checksum(observation[key], before)
        return before
    return zlib.crc32(np.asarray(observation).tobytes(), before)


def _number(n_episodes: int, beginning: str) -> int:
    """The number of an episode; no two environments or processes of a run use the same one."""
    # 48 bits: a float64 holds it exactly.
    digest = hashlib.blake2b(f"{n_episodes} {beginning}".encode(), digest_size=6).digest()
    return int.from_bytes(digest, "big")


def _compact(actions: NDArray[Any]) -> NDArray[Any]:
    """Whole numbers in as few bytes as they need."""
    if actions.dtype.kind not in "iu" or not actions.size:
        return actions
    least, most = np.min_scalar_type(actions.min()), np.min_scalar_type(actions.max())
    return actions.astype(np.promote_types(least, most))


def _as_json(told: Mapping[str, Any]) -> str | None:
    """As text; None where a part is no data."""
    try:
        return json.dumps(told, default=_as_list)
    except (TypeError, ValueError):
        return None


def _as_list(value: Any) -> Any:
    """An array or a number of numpy's, for JSON."""
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} is no data")


def _state_of(generator: Any) -> dict[str, Any] | None:
    """The state of numpy's generator, or of its older ``RandomState``; None of any other."""
    if isinstance(generator, np.random.RandomState):
        return dict(generator.get_state(legacy=False))
    if isinstance(generator, np.random.Generator):
        return dict(generator.bit_generator.state)
    return None


def _set_state(generator: Any, state: dict[str, Any]) -> None:
    if isinstance(generator, np.random.RandomState):
        generator.set_state(state)
    else:
        generator.bit_generator.state = state


def _copied(observation: Any) -> Any:
    """As arrays of its own, in a dict observation too."""
    if isinstance(observation, Mapping):
        return {key: np.array(value) for key, value in observation.items()}
    return np.array(observation)


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, Mapping):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    return np.array_equal(one, other, equal_nan=one.dtype.kind == "f")
