"""Making environments from their ids: once, to look at them, and many side by side to act in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.envs.registration import EnvSpec, load_env_creator
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv

from prefrl.control.environments.batched import Batched
from prefrl.control.environments.guard import Guard
from prefrl.control.environments.limits import LimitEpisodes, Limits, knows_health
from prefrl.control.environments.rewind import Rewind
from prefrl.control.environments.spaces import check_spaces, layout_of
from prefrl.control.environments.specs import spec_of
from prefrl.control.environments.states import RecordState, log_mujoco_warnings
from prefrl.errors import ConfigError, MissingExtraError

__all__ = [
    "check_environment",
    "check_limits",
    "last_observations",
    "make_environments",
    "restore",
    "shows_pictures",
    "snapshots",
]


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
        env = gym.make(env_id)
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


def shows_pictures(env_id: str) -> bool:
    """Whether observations of an environment have a picture in them.

    Raises:
        ConfigError: As ``check_environment``.
    """
    check_environment(env_id)
    env = gym.make(env_id)
    try:
        return layout_of(env.observation_space).picture is not None
    finally:
        env.close()


def check_limits(env_id: str, limits: Limits) -> None:
    """Refuses limits of episodes that an environment cannot have.

    Raises:
        ConfigError: As ``check_environment``; or if it does not know whether it is healthy, or is
            one of games that are stepped together.
    """
    check_environment(env_id)
    if limits and _can_be_played_again(spec_of(env_id)):
        raise ConfigError(
            f"expected no horizon and no reset_after_fall for {env_id}, whose games are played to "
            "their end, several at once; leave them out."
        )
    if limits.after_fall is None:
        return
    env = gym.make(env_id)
    try:
        if not knows_health(env):
            raise ConfigError(
                f"expected an environment with is_healthy for reset_after_fall, such as Hopper-v5, "
                f"got {env_id}, which knows no falls; leave it out, or choose a short horizon."
            )
    finally:
        env.close()


def make_environments(
    env_id: str, *, n_envs: int, seed: int, limits: Limits | None = None
) -> VecEnv:
    """N environments side by side in this process.

    Games that can be played again are stepped together, by threads of their own. Others are stepped
    one by one: each is made anew when it breaks, records simulator states for films, and can be
    rewound.

    Args:
        env_id: A Gymnasium id.
        n_envs: N.
        seed: Of the first environment; the others follow.
        limits: Where episodes are cut early, for what ``check_limits`` lets pass.
    """
    if _can_be_played_again(spec_of(env_id)):
        games: Any = gym.make_vec(env_id, n_envs, vectorization_mode="vector_entry_point")
        return Batched(games, seed=seed)
    log_mujoco_warnings()

    def make() -> gym.Env[Any, Any]:
        guarded = Guard(lambda: gym.make(env_id))
        return LimitEpisodes(guarded, limits) if limits else guarded

    def wrap(env: gym.Env[Any, Any]) -> gym.Env[Any, Any]:
        return Rewind(RecordState(env))

    return make_vec_env(make, n_envs=n_envs, seed=seed, wrapper_class=wrap)


def _can_be_played_again(spec: EnvSpec) -> bool:
    entry = spec.vector_entry_point
    return entry is not None and hasattr(
        load_env_creator(entry) if isinstance(entry, str) else entry, "journal"
    )


def snapshots(venv: VecEnv) -> list[dict[str, Any]]:
    """How each environment of ``make_environments`` comes back to where it is."""
    inner = venv.unwrapped
    if isinstance(inner, Batched):
        return inner.snapshots()
    return [rewind.snapshot() for rewind in _rewinds(inner)]


def restore(venv: VecEnv, told: Sequence[Mapping[str, Any]], *, seeds: Sequence[int]) -> list[str]:
    """Brings all environments back.

    Args:
        venv: New, from ``make_environments``.
        told: What ``snapshots`` gave.
        seeds: Of the new episodes of those that cannot be brought back.

    Returns:
        For each environment why it begins a new episode; empty where it goes on.
    """
    inner = venv.unwrapped
    if isinstance(inner, Batched):
        inner.restore(told)
        return [""] * inner.num_envs
    rows = zip(_rewinds(inner), told, seeds, strict=True)
    return [rewind.restore(snapshot, seed=seed) for rewind, snapshot, seed in rows]


def last_observations(venv: VecEnv) -> Any:
    """What the environments of ``make_environments`` showed last, as a batch."""
    inner = venv.unwrapped
    if isinstance(inner, Batched):
        return inner.last_observations
    shown = [rewind.last_observation for rewind in _rewinds(inner)]
    space = inner.observation_space
    # As DummyVecEnv hands it out, whatever kind of number an environment gives.
    if isinstance(space, spaces.Dict):
        return {
            key: np.stack([one[key] for one in shown], dtype=part.dtype)
            for key, part in space.spaces.items()
        }
    return np.stack(shown, dtype=space.dtype)


def _rewinds(venv: VecEnv) -> list[Rewind]:
    assert isinstance(venv, DummyVecEnv)
    rewinds = []
    for env in venv.envs:
        assert isinstance(env, Rewind)  # make_environments put it outermost
        rewinds.append(env)
    return rewinds
