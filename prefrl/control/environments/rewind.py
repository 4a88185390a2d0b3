"""Restores an environment by replaying its episode.

Gymnasium has no way to save an environment. But one whose randomness comes only from its own
generator repeats an episode after the same reset with the same actions. So each environment keeps a
journal of its episode, which a new one replays. The result is checked: the last observation must be
the same. The journal does not contain what an environment carries from one episode into the next
besides its generator.
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
"""Most actions to keep of an episode; a longer episode cannot be restored."""


class Rewind(gym.Wrapper[Any, Any, Any, Any]):
    """Keeps a journal of the episode, from which a new environment can continue it.

    Films are made from it, too, if the environment can be drawn but does not report its state. Then
    the info of each step has the numbers of the episode and the step under ``STATE_KEY``, and that
    of an episode's last step has the journal under ``JOURNAL_KEY``.
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
        """Resets, and begins a new journal with the generator's state before the reset."""
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
        """Steps, and adds the action to the journal."""
        self._n_steps += 1
        taken = np.array(action)  # the environment may change its argument
        observation, reward, terminated, truncated, info = self.env.step(action)
        if self._n_steps <= _LONGEST_EPISODE:
            self._actions.append(taken)
            self._seen.append(checksum(observation, self._seen[-1]))
        else:
            self._actions, self._seen = [], []  # useless now, and memory stays bounded
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
        """Returns the current episode by number, for films; empty if it cannot be replayed."""
        if not (self._is_filmed and self._actions and self._beginning):
            return {}
        seen = np.array(self._seen, np.uint32)
        return {self._number: Journal(_compact(np.array(self._actions)), self._beginning, seen)}

    def snapshot(self) -> dict[str, Any]:
        """Returns how the episode began, its actions, and the last observation, for ``restore``."""
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
        """Restores a snapshot; if that fails, begins a new episode.

        Args:
            snapshot: Snapshot of an environment that was made in the same way.
            seed: Seed of the new episode, if one begins.

        Returns:
            Why a new episode had to begin; empty if the old one was restored.
        """
        trouble = self._repeat(snapshot)
        if trouble:
            self._n_episodes = snapshot.get("n_episodes", 0)
            self.reset(seed=seed)
        self._n_faults = snapshot["n_faults"]
        return trouble

    @property
    def last_observation(self) -> Any:
        """The newest observation."""
        assert self._last is not None  # it was reset
        return self._last

    @property
    def _n_faults(self) -> int:
        """Fault count of the inner Guard, which derives seeds from it; 0 without a Guard."""
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
        # Snapshots of earlier releases lack the counts.
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
        env: Made in the same way as the one that played the episode.
        told: ``seed`` and ``options`` of its reset; ``generator``, the state of the generator
            before it, if there was no seed; and ``first_seed``, the environment's last seed.

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
    """Returns a checksum of an observation and all before it.

    Args:
        observation: An array, or a dict of arrays.
        before: The checksum at the step before.
    """
    if isinstance(observation, Mapping):
        for key in sorted(observation):
            before = checksum(observation[key], before)
        return before
    return zlib.crc32(np.asarray(observation).tobytes(), before)


def _number(n_episodes: int, beginning: str) -> int:
    """Returns the number of an episode, unique across a run's environments and processes."""
    # 48 bits: a float64 holds it exactly.
    digest = hashlib.blake2b(f"{n_episodes} {beginning}".encode(), digest_size=6).digest()
    return int.from_bytes(digest, "big")


def _compact(actions: NDArray[Any]) -> NDArray[Any]:
    """Stores integers in the smallest dtype that holds them."""
    if actions.dtype.kind not in "iu" or not actions.size:
        return actions
    least, most = np.min_scalar_type(actions.min()), np.min_scalar_type(actions.max())
    return actions.astype(np.promote_types(least, most))


def _as_json(told: Mapping[str, Any]) -> str | None:
    """Encodes as JSON; None if a part is not data."""
    try:
        return json.dumps(told, default=_as_list)
    except (TypeError, ValueError):
        return None


def _as_list(value: Any) -> Any:
    """Converts an array or number of NumPy for JSON."""
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} is no data")


def _state_of(generator: Any) -> dict[str, Any] | None:
    """Returns the state of NumPy's generator or older ``RandomState``; None for any other."""
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
    """Copies an observation, which may be a dict."""
    if isinstance(observation, Mapping):
        return {key: np.array(value) for key, value in observation.items()}
    return np.array(observation)


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, Mapping):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    return np.array_equal(one, other, equal_nan=one.dtype.kind == "f")
