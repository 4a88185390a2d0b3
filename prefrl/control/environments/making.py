"""Making environments from their ids: once, to look at them, and many side by side to act in."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
from gymnasium.envs.registration import EnvSpec
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecEnv

from prefrl.control.environments.guard import Guard
from prefrl.control.environments.rewind import Rewind
from prefrl.control.environments.spaces import check_spaces
from prefrl.control.environments.states import RecordState, log_mujoco_warnings
from prefrl.errors import ConfigError, MissingExtraError

__all__ = ["check_environment", "make_environments"]


def check_environment(env_id: str) -> EnvSpec:
    """Makes an environment once, to fail early and clearly.

    Args:
        env_id: A Gymnasium id, ``module:id`` where a module has to be imported first.

    Returns:
        Its specification.

    Raises:
        ConfigError: If there is no such environment or it cannot be made.
        MissingExtraError: If a library that it needs is absent.
        UnsupportedSpaceError: If its spaces are not supported.
    """
    log_mujoco_warnings()
    try:
        env = gym.make(env_id, render_mode="rgb_array")
    except gym.error.DependencyNotInstalled as error:
        raise MissingExtraError(
            f"expected the libraries of {env_id} to be installed, but {error}"
        ) from error
    except (gym.error.Error, ImportError) as error:
        raise ConfigError(
            f"expected an environment that Gymnasium can make, got {env_id!r}: {error} "
            "Look at the spelling and version, and write module:id where a module registers it, "
            "as in prefrl_envs:prefrl/Hopper-v0."
        ) from error
    try:
        check_spaces(env.observation_space, env.action_space)
        assert env.spec is not None  # gymnasium.make always sets it
        return env.spec
    finally:
        env.close()


def make_environments(env_id: str, *, n_envs: int, seed: int) -> VecEnv:
    """N environments side by side in this process.

    Each is made anew when it breaks, records simulator states for films, and can be rewound.
    """
    log_mujoco_warnings()

    def make() -> Guard:
        return Guard(lambda: gym.make(env_id))

    def wrap(env: gym.Env[Any, Any]) -> gym.Env[Any, Any]:
        return Rewind(RecordState(env))

    return make_vec_env(make, n_envs=n_envs, seed=seed, wrapper_class=wrap)
