"""Describes a script's training as a config, as far as possible, for later readers of the run."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.type_aliases import TrainFreq
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper, VecFrameStack

from prefrl.control.agent.algorithms import ALGORITHMS, Algorithm
from prefrl.control.agent.building import ACTIVATIONS
from prefrl.control.agent.config import FOLLOWERS, AgentConfig
from prefrl.control.environments.registered import environment_of_spec
from prefrl.control.environments.source import EnvConfig
from prefrl.control.preferences import PreferenceConfig
from prefrl.core.plugs import with_names
from prefrl.errors import ConfigError

__all__ = ["describe_script", "environment_for_films", "own_nets"]

_log = logging.getLogger(__name__)
_DESCRIBED_NETS = {
    "activation_fn",
    "features_extractor_class",
    "features_extractor_kwargs",
    "net_arch",
    "optimizer_class",
    "optimizer_kwargs",
    "use_sde",
}
_KNOWN_PACKAGES = {"prefrl", "stable_baselines3"}


def describe_script(
    model: BaseAlgorithm,
    venv: VecEnv,
    preferences: PreferenceConfig,
    *,
    run: Path,
    steps: int,
    seed: int,
    oracle: str,
) -> dict[str, Any]:
    """Makes a ``config.json`` with which ``prefrl train`` would do nearly the same.

    It omits what a config cannot express, such as the script's own nets. Commands that build the
    agent again then refuse its policy; everything else works.

    Args:
        model: The agent.
        venv: The environments that it acts in.
        preferences: Settings for learning the reward.
        run: Path of the run directory.
        steps: Environment steps of the training.
        seed: Seed of the callback.
        oracle: Who answers: synthetic, human or mixed.

    Raises:
        ConfigError: If prefrl does not know the algorithm, or the settings contain a function that
            other processes cannot import.
    """
    algorithm = _algorithm_of(model)
    env_id, env, trouble = _environment_of(venv)
    if trouble:
        _log.warning("%s", trouble)
    content = {
        "env_id": env_id,
        "steps": steps,
        "algo": algorithm.name,
        "oracle": oracle,
        "sync": oracle == "synthetic",
        "device": str(model.device),
        "seed": seed,
        "run": str(run),
        "threads": torch.get_num_threads(),
        "preferences": dataclasses.asdict(preferences),
        "agent": dataclasses.asdict(_agent_of(model, algorithm)),
        "env": dataclasses.asdict(env),
    }
    named: dict[str, Any] = with_names(content)
    return named


def _algorithm_of(model: BaseAlgorithm) -> Algorithm:
    known = {algorithm.path.rpartition(".")[-1]: algorithm for algorithm in ALGORITHMS.values()}
    for parent in type(model).__mro__:
        if parent.__name__ in known:
            return known[parent.__name__]
    raise ConfigError(
        f"expected one of {', '.join(known)}, or a class derived from one, for a run that is "
        f"written to disk, got {type(model).__name__}; leave run= out."
    )


def own_nets(model: BaseAlgorithm) -> list[str]:
    """Names the parts of a policy's nets that ``config.json`` cannot describe."""
    told, algorithm = model.policy_kwargs, _algorithm_of(model)
    named = [name for name in told if name not in algorithm.own and name not in _DESCRIBED_NETS]
    if told.get("activation_fn") not in (None, *ACTIVATIONS.values()):
        named.append("activation_fn")
    extractor = told.get("features_extractor_class")
    if extractor is not None and extractor.__module__.partition(".")[0] not in _KNOWN_PACKAGES:
        named.append("features_extractor_class")
    if model.policy_class not in type(model).policy_aliases.values():
        named.append(model.policy_class.__name__)
    return named


def environment_for_films(venv: VecEnv) -> str:
    """Returns the id with which another process can make a script's environment.

    Raises:
        ConfigError: If no other process can make the same environment.
    """
    env_id, _, trouble = _environment_of(venv)
    if trouble:
        raise ConfigError(f"people are shown films, but {trouble}")
    return env_id


def _environment_of(venv: VecEnv) -> tuple[str, EnvConfig, str]:
    """Returns its id and config, and why it cannot be made from these; empty if it can."""
    spec = venv.get_attr("spec")[0]
    if spec is None or not spec.id:
        name = type(venv.get_attr("unwrapped")[0]).__name__
        trouble = (
            f"{name} is not registered with Gymnasium, so prefrl evaluate, prefrl replay and films "
            "cannot make it; call gymnasium.register, and make it by its id."
        )
        return name, EnvConfig(processes=0), trouble
    return environment_of_spec(spec)


def _agent_of(model: BaseAlgorithm, algorithm: Algorithm) -> AgentConfig:
    """Returns the settings of an agent, all filled in."""
    values = dict(algorithm.own)
    for name in values:
        if isinstance(value := getattr(model, name, None), bool | int | float | str):
            values[name] = value
    values |= _with_schedules(model, values) | _nets(model.policy_kwargs, algorithm)
    values["n_envs"] = model.n_envs
    normalizer, stacked = model.get_vec_normalize_env(), _stack_of(model.get_env())
    values["normalize_observations"] = normalizer is not None and normalizer.norm_obs
    values["frame_stack"] = 1 if stacked is None else stacked.stacked_obs.n_stack
    for name, leader in FOLLOWERS.items():
        if name in values and values[name] is None:
            values[name] = values[leader]
    values = {name: value for name, value in values.items() if name in algorithm.own}
    try:
        return dataclasses.replace(AgentConfig(source="a script"), **values)
    except ConfigError as error:
        _log.warning("config.json cannot hold the settings of the agent: %s", error)
        return dataclasses.replace(AgentConfig(source="a script"), **algorithm.own)


def _with_schedules(model: BaseAlgorithm, values: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the initial values of settings that Stable-Baselines3 keeps as schedules."""
    found: dict[str, Any] = {"learning_rate": float(model.lr_schedule(1.0))}
    for name in ("clip_range", "clip_range_vf"):
        if name in values and callable(function := getattr(model, name, None)):
            found[name] = float(function(1.0))
    frequency = getattr(model, "train_freq", None)
    if isinstance(frequency, TrainFreq):
        found |= {"train_freq": frequency.frequency, "train_freq_unit": frequency.unit.value}
    return found


def _nets(policy_kwargs: Mapping[str, Any], algorithm: Algorithm) -> dict[str, Any]:
    told = {name: value for name, value in policy_kwargs.items() if name in algorithm.own}
    kind = policy_kwargs.get("activation_fn")
    for name in [name for name, own in ACTIVATIONS.items() if own is kind]:
        told["activation"] = name
    layers = policy_kwargs.get("net_arch")
    if isinstance(layers, dict):
        told["hidden"] = tuple(layers.get("pi", ()))
        told["critic_hidden"] = tuple(layers.get(algorithm.critic_key, ()))
    elif layers is not None:
        told["hidden"] = tuple(layers)
    return told


def _stack_of(venv: VecEnv | None) -> VecFrameStack | None:
    while isinstance(venv, VecEnvWrapper):
        if isinstance(venv, VecFrameStack):
            return venv
        venv = venv.venv
    return None
