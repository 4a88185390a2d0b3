"""Makes environments from their ids: one to check it, and many side by side to act in."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from gymnasium.envs.registration import EnvSpec
from stable_baselines3.common.env_util import make_vec_env, unwrap_wrapper
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv

from prefrl.control.environments.batched import Batched
from prefrl.control.environments.journals import Journal
from prefrl.control.environments.limits import Limits, knows_health
from prefrl.control.environments.one import OneEnvironment, record_for_films
from prefrl.control.environments.processes import Processes, stacked
from prefrl.control.environments.rewind import Rewind
from prefrl.control.environments.source import (
    EnvConfig,
    can_be_played_again,
    make_env,
    make_games,
)
from prefrl.control.environments.spaces import check_spaces, layout_of
from prefrl.control.environments.states import log_mujoco_warnings
from prefrl.errors import ConfigError, UnsupportedSpaceError

__all__ = [
    "check_environment",
    "check_first_step",
    "check_limits",
    "describe_spaces",
    "journals_under_way",
    "last_observations",
    "make_environments",
    "records_for_films",
    "restore",
    "shows_pictures",
    "snapshots",
]

_log = logging.getLogger(__name__)
_ATTEMPTS = 3


def check_environment(env_id: str, env: EnvConfig | None = None) -> EnvSpec:
    """Makes an environment once, to fail early and clearly.

    Args:
        env_id: A Gymnasium id, ``module:id`` where a module has to be imported first.
        env: Its arguments and wrappers.

    Returns:
        Its specification.

    Raises:
        ConfigError: If there is no such environment or it cannot be made.
        MissingExtraError: If a library that it needs is absent.
        UnsupportedSpaceError: If its spaces are not supported.
    """
    log_mujoco_warnings()
    made = make_env(env_id, env)
    try:
        check_spaces(made.observation_space, made.action_space)
        assert made.spec is not None  # gymnasium.make always sets it
        spec = made.spec
    finally:
        made.close()
    if env and (env.kwargs or env.wrapper) and can_be_played_again(env_id):
        make_games(env_id, env, 1).close()
    return spec


def check_first_step(env_id: str, env: EnvConfig | None = None) -> None:
    """Takes one step; refuses an environment that fails, or whose reward is several numbers.

    Occasional faults are accepted, because ``Guard`` replaces the environment.

    Raises:
        ConfigError: As ``check_environment``; or if it breaks three times out of three.
        UnsupportedSpaceError: If the reward is several numbers.
    """
    for attempt in range(1, _ATTEMPTS + 1):
        made = make_env(env_id, env)
        try:
            made.reset(seed=0)
            reward: Any = made.step(made.action_space.sample())[1]
            break
        except Exception as error:
            # An environment may raise anything.
            what = f"{type(error).__name__}: {error}"
            if attempt == _ATTEMPTS:
                raise ConfigError(
                    f"expected an environment that can be reset and stepped, but {env_id} broke at "
                    f"its first step {_ATTEMPTS} times, the last time with {what}; fix it."
                ) from error
            _log.warning("%s broke at its first step: %s", env_id, what)
        finally:
            made.close()
    if np.size(reward) != 1:
        raise UnsupportedSpaceError(
            f"expected a reward of one number, got {np.size(reward)} of them from {env_id}; sum "
            "them up in the environment, or in a wrapper that --env.wrapper names."
        )


def describe_spaces(env_id: str, env: EnvConfig | None = None) -> dict[str, str]:
    """Describes an environment's observation and action spaces, so that tasks can be told apart.

    Raises:
        ConfigError: As ``check_environment``.
    """
    made = make_env(env_id, env)
    made.close()
    return {"observations": str(made.observation_space), "actions": str(made.action_space)}


def shows_pictures(env_id: str, env: EnvConfig | None = None) -> bool:
    """Whether observations of an environment contain a picture.

    Raises:
        ConfigError: As ``check_environment``.
    """
    check_environment(env_id, env)
    made = make_env(env_id, env)
    try:
        return layout_of(made.observation_space).picture is not None
    finally:
        made.close()


def check_limits(env_id: str, limits: Limits, env: EnvConfig | None = None) -> None:
    """Refuses episode limits that an environment does not support.

    Raises:
        ConfigError: As ``check_environment``; or if falls are a limit but it does not report its
            health, or if it consists of games that are stepped together.
    """
    check_environment(env_id, env)
    if limits and can_be_played_again(env_id):
        raise ConfigError(
            f"expected no horizon and no reset_after_fall for {env_id}, whose games are played to "
            "their end, several at once; leave them out."
        )
    if limits.after_fall is None:
        return
    made = make_env(env_id, env)
    try:
        if not knows_health(made):
            raise ConfigError(
                f"expected an environment with is_healthy for reset_after_fall, such as Hopper-v5, "
                f"got {env_id}, which knows no falls; leave it out, or choose a short horizon."
            )
    finally:
        made.close()


def make_environments(
    env_id: str,
    *,
    n_envs: int,
    seed: int,
    limits: Limits | None = None,
    env: EnvConfig | None = None,
) -> VecEnv:
    """Makes N environments side by side, in this process or in others.

    Games that can be replayed are stepped together, by threads of their own. Others are stepped one
    by one: each is made again when it breaks, records what films need (simulator states, or a
    journal of the episode), and can be rewound.

    Args:
        env_id: A Gymnasium id.
        n_envs: N.
        seed: Seed of the first environment; the others follow.
        limits: Limits that cut episodes early, if ``check_limits`` accepts them.
        env: Arguments and wrappers of each.
    """
    if can_be_played_again(env_id):
        return Batched(make_games(env_id, env, n_envs), seed=seed)
    one = OneEnvironment(env_id, env, limits)
    n_processes = 0 if env is None or env.processes == "auto" else env.processes
    if n_processes:
        return Processes([one] * n_envs, n_processes, seed=seed)
    log_mujoco_warnings()
    return make_vec_env(one.inside, n_envs=n_envs, seed=seed, wrapper_class=record_for_films)


def snapshots(venv: VecEnv) -> list[dict[str, Any]]:
    """Returns a snapshot of each environment of ``make_environments``, for ``restore``."""
    inner = venv.unwrapped
    if isinstance(inner, Batched):
        return inner.snapshots()
    if isinstance(inner, Processes):
        return inner.call("snapshot")
    return [rewind.snapshot() for rewind in _rewinds(inner)]


def restore(venv: VecEnv, told: Sequence[Mapping[str, Any]], *, seeds: Sequence[int]) -> list[str]:
    """Restores all environments.

    Args:
        venv: New environments from ``make_environments``.
        told: The output of ``snapshots``.
        seeds: Seeds of new episodes, for environments that cannot be restored.

    Returns:
        For each environment why it begins a new episode; empty if it was restored.
    """
    inner = venv.unwrapped
    if isinstance(inner, Batched):
        inner.restore(told)
        return [""] * inner.num_envs
    if isinstance(inner, Processes):
        troubles = inner.call("restore", list(zip(told, seeds, strict=True)))
        inner.see(inner.call("last_observation"))
        return troubles
    rows = zip(_rewinds(inner), told, seeds, strict=True)
    return [rewind.restore(snapshot, seed) for rewind, snapshot, seed in rows]


def journals_under_way(venv: VecEnv) -> dict[int, Journal]:
    """Returns the journals of current episodes or games, by number, if they are recorded."""
    inner = venv.unwrapped
    if isinstance(inner, Batched):
        return inner.journals()
    if isinstance(inner, Processes):
        told = inner.call("journals")
    elif isinstance(inner, DummyVecEnv):
        rewinds = [unwrap_wrapper(env, Rewind) for env in inner.envs]
        told = [rewind.journals() for rewind in rewinds if isinstance(rewind, Rewind)]
    else:
        told = inner.env_method("journals") if all(inner.env_is_wrapped(Rewind)) else []
    return {number: journal for one in told for number, journal in one.items()}


def records_for_films(venv: VecEnv) -> bool:
    """Whether the environments record what their films need."""
    is_ours = isinstance(venv.unwrapped, Batched | Processes)
    return is_ours or all(venv.env_is_wrapped(Rewind))


def last_observations(venv: VecEnv) -> Any:
    """Returns the newest observations of environments from ``make_environments``, as a batch."""
    inner = venv.unwrapped
    if isinstance(inner, Batched):
        return inner.last_observations
    if isinstance(inner, Processes):
        shown = inner.last_observations
    else:
        shown = [rewind.last_observation for rewind in _rewinds(inner)]
    return stacked(shown, inner.observation_space)


def _rewinds(venv: VecEnv) -> list[Rewind]:
    assert isinstance(venv, DummyVecEnv)
    rewinds = []
    for env in venv.envs:
        assert isinstance(env, Rewind)  # make_environments put it outermost
        rewinds.append(env)
    return rewinds
