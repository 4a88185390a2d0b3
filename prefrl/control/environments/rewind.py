"""Bringing an environment back to where it was: by doing again what was done to it.

Gymnasium has no way to save an environment. But one whose randomness comes from its own generator
goes the same way again from the same reset with the same actions. So each environment keeps a
journal of its episode, and a new one reads it back. Whether that worked is checked: the last
observation must come out bit for bit. What the journal cannot know is what an environment carries
from one episode into the next beside its generator.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

__all__ = ["Rewind"]

_LONGEST_EPISODE = 20_000
"""Actions that are kept of an episode; one that is longer cannot be brought back."""


class Rewind(gym.Wrapper[Any, Any, Any, Any]):
    """Keeps a journal of the episode, from which a new environment can go on."""

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        super().__init__(env)
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
        observation, info = self.env.reset(seed=seed, options=options)
        self._last = _copied(observation)
        return observation, info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Steps, and notes the action."""
        self._n_steps += 1
        if self._n_steps <= _LONGEST_EPISODE:
            self._actions.append(np.array(action))
        else:
            self._actions = []  # of no use any more, and memory stays bounded
        step = self.env.step(action)
        self._last = _copied(step[0])
        return step

    def snapshot(self) -> dict[str, Any]:
        """The journal: how the episode began, its actions, and what was seen last."""
        return {
            "seed": self._seed,
            "n_faults": self._n_faults,
            "reset": self._reset,
            "actions": np.array(self._actions),
            "n_steps": self._n_steps,
            "last": self._last,
        }

    def restore(self, snapshot: Mapping[str, Any], seed: int) -> str:
        """Goes where the snapshot was taken; where that fails, a new episode begins.

        Args:
            snapshot: Of an environment made in the same way.
            seed: Of the new episode, if it has to be one.

        Returns:
            Empty; or why a new episode had to begin.
        """
        trouble = self._repeat(snapshot)
        if trouble:
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
        """Of the Guard within, if there is one: it derives seeds from it."""
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
        if begun["generator"] is not None:
            if snapshot["seed"] is not None:
                self.reset(seed=snapshot["seed"])  # Guard derives later seeds from the first one
            _set_state(self.unwrapped.np_random, begun["generator"])
        self.reset(seed=begun["seed"], options=begun["options"])
        self._reset = dict(begun)
        for number, action in enumerate(snapshot["actions"], start=1):
            _, _, terminated, truncated, _ = self.step(action)
            if terminated or truncated:
                return f"its episode ended after {number} steps where it went on before"
        if not _same(self.last_observation, snapshot["last"]):
            return "the same actions led elsewhere: it is not reproducible"
        return ""


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
