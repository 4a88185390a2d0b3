"""One environment with its wrappers; it can be made in a process without torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gymnasium as gym

from prefrl.control.environments.guard import Guard
from prefrl.control.environments.limits import LimitEpisodes, Limits
from prefrl.control.environments.rewind import Rewind
from prefrl.control.environments.source import EnvConfig, make_env
from prefrl.control.environments.states import RecordState, log_mujoco_warnings

__all__ = ["OneEnvironment", "record_for_films"]


@dataclass(frozen=True)
class OneEnvironment:
    """Makes an environment that survives faults, records what films need, and can be rewound."""

    env_id: str
    """A Gymnasium id."""
    env: EnvConfig | None = None
    """Its arguments and wrappers."""
    limits: Limits | None = None
    """Limits that cut its episodes early."""

    def __call__(self) -> gym.Env[Any, Any]:
        """Makes the environment with all wrappers."""
        log_mujoco_warnings()
        return record_for_films(self.inside())

    def inside(self) -> gym.Env[Any, Any]:
        """Makes the part that goes inside a ``Monitor``: the environment without its recorder."""
        guarded = Guard(lambda: make_env(self.env_id, self.env))
        return LimitEpisodes(guarded, self.limits) if self.limits else guarded


def record_for_films(env: gym.Env[Any, Any]) -> gym.Env[Any, Any]:
    """Wraps an environment so that it records what its films are made from.

    ::

        venv = make_vec_env("CartPole-v1", n_envs=8, wrapper_class=prefrl.record_for_films)

    These are the simulator's states if it gives them, otherwise the start of each episode and its
    actions. It takes a few microseconds per step, and draws nothing.

    Args:
        env: Any environment; put it around all other wrappers.

    Returns:
        The same, wrapped.
    """
    return Rewind(RecordState(env))
