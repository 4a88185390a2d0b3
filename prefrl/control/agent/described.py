"""A script's training as a config, as far as a config can say it: for what reads a run later."""

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
from prefrl.control.environments.registered import id_with_module
from prefrl.control.environments.source import EnvConfig
from prefrl.control.preferences import PreferenceConfig
from prefrl.core.plugs import with_names
from prefrl.errors import ConfigError

__all__ = ["describe_script"]

_log = logging.getLogger(__name__)
_OWN_WRAPPERS = {"Monitor", "OrderEnforcing", "PassiveEnvChecker", "TimeLimit"}


def describe_script(
    model: BaseAlgorithm,
    venv: VecEnv,
    preferences: PreferenceConfig,
    *,
    run: Path,
    steps: int,
    seed: int,
) -> dict[str, Any]:
    """The content of ``config.json``, with which ``prefrl train`` would do nearly the same.

    What a config cannot say, such as nets of the script's own, is left out: then what builds the
    agent anew refuses its policy, and everything else works.

    Args:
        model: What is trained.
        venv: What it acts in.
        preferences: How the reward is learned.
        run: Where the run is written.
        steps: Environment steps.
        seed: Of the callback.

    Raises:
        ConfigError: If the algorithm is none that prefrl knows, or the settings hold a function
            that other processes could not import.
    """
    algorithm = _algorithm_of(model)
    env_id, env = _environment_of(venv)
    content = {
        "env_id": env_id,
        "steps": steps,
        "algo": algorithm.name,
        "oracle": "synthetic",
        "sync": True,
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


def _environment_of(venv: VecEnv) -> tuple[str, EnvConfig]:
    spec = venv.get_attr("spec")[0]
    if spec is None or not spec.id:
        name = type(venv.get_attr("unwrapped")[0]).__name__
        _log.warning(
            "%s is not registered with Gymnasium, so prefrl evaluate, prefrl replay and films "
            "cannot make it; call gymnasium.register, and make it by its id.",
            name,
        )
        return name, EnvConfig(processes=0)
    kwargs = {name: value for name, value in spec.kwargs.items() if name != "render_mode"}
    wrappers: list[str] = []
    lost: list[str] = []
    for wrapper in spec.additional_wrappers:
        if wrapper.name in _OWN_WRAPPERS:
            continue
        (lost if wrapper.kwargs else wrappers).append(wrapper.entry_point)
    try:
        env = EnvConfig(kwargs=kwargs, wrapper=tuple(wrappers), processes=0)
    except ConfigError:
        env, lost = EnvConfig(processes=0), [*lost, *kwargs]
    if lost:
        _log.warning(
            "config.json cannot hold %s of the environment, so prefrl evaluate and films make it "
            "without; register an environment that has them built in.",
            ", ".join(lost),
        )
    env_id = id_with_module(spec)
    if env_id is None:
        _log.warning(
            "no module was found that registers %s, so prefrl evaluate, prefrl replay and films "
            "cannot make it; call gymnasium.register in the module that has its class.",
            spec.id,
        )
    return env_id or spec.id, env


def _agent_of(model: BaseAlgorithm, algorithm: Algorithm) -> AgentConfig:
    """The settings of an agent, all filled in."""
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
    """What Stable-Baselines3 keeps as functions of the time that is left: where they begin."""
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
