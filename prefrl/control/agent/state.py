"""The complete state of an agent between two iterations, to continue bit for bit.

What it learns with is asked of the algorithm itself, as for ``model.save``: nets and optimisers by
name, and what else is a tensor. A replay buffer goes apart: it is too large to be written often.
"""

from __future__ import annotations

import copy
import logging
import random
from collections import deque
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.running_mean_std import RunningMeanStd
from stable_baselines3.common.save_util import recursive_getattr, recursive_setattr
from stable_baselines3.common.vec_env import VecEnv, VecNormalize

from prefrl.control.environments.hide_reward import HideReward
from prefrl.control.environments.making import last_observations, restore, snapshots
from prefrl.control.environments.stacking import StackFrames
from prefrl.errors import RunDirectoryError
from prefrl.runtime.rundir import RunDirectory

__all__ = [
    "HasState",
    "agent_state",
    "learner_state",
    "model_state",
    "observation_statistics",
    "random_state",
    "restore_agent",
    "restore_learner",
    "restore_model",
    "restore_policy",
    "restore_random_state",
    "save_policy",
]

_log = logging.getLogger(__name__)
_COUNTERS = (
    "num_timesteps",
    "_n_updates",
    "_episode_num",
    "_current_progress_remaining",
    "_n_calls",  # DQN's, by which its target net is updated
    "exploration_rate",
)


class HasState(Protocol):
    """An agent, as far as its state goes."""

    model: BaseAlgorithm
    """The algorithm."""
    environments: VecEnv
    """What it acts in; a ``HideReward``, where the reward is hidden."""
    stacked: StackFrames | None
    """What stacks pictures, where there are any."""
    normalizer: VecNormalize
    """What standardises observations."""
    seed: int
    """Seed of everything random."""
    n_iterations: int
    """Iterations so far."""


def learner_state(model: BaseAlgorithm) -> dict[str, Any]:
    """Nets, optimisers and other tensors that an algorithm learns with, by name; not copied."""
    names, variables = model._get_torch_save_params()
    return {
        "modules": {name: dict(recursive_getattr(model, name).state_dict()) for name in names},
        "variables": {name: recursive_getattr(model, name) for name in variables},
    }


@torch.no_grad()
def restore_learner(model: BaseAlgorithm, state: Mapping[str, Any]) -> None:
    """Brings nets, optimisers and other tensors to a state that ``learner_state`` gave."""
    for name, content in state["modules"].items():
        recursive_getattr(model, name).load_state_dict(content)
    for name, tensor in state["variables"].items():
        own = recursive_getattr(model, name)
        if isinstance(own, torch.Tensor) and own.is_leaf:
            own.copy_(tensor)  # the optimiser holds this very tensor
        else:
            recursive_setattr(model, name, tensor)


def model_state(model: BaseAlgorithm) -> dict[str, Any]:
    """Nets, optimisers, counters and statistics of observations: what a script goes on from."""
    normalizer = model.get_vec_normalize_env()
    state = {
        "learner": learner_state(model),
        "counters": {name: getattr(model, name) for name in _COUNTERS if hasattr(model, name)},
        "normalizer": None if normalizer is None else _normalizer_state(normalizer),
    }
    return copy.deepcopy(state)


def restore_model(model: BaseAlgorithm, state: Mapping[str, Any]) -> None:
    """Brings a model and its ``VecNormalize`` to a state that ``model_state`` gave.

    Raises:
        RuntimeError: If it has other nets.
        ValueError: If its observations are not normalised as they were.
    """
    normalizer = model.get_vec_normalize_env()
    if (normalizer is None) != (state["normalizer"] is None):
        raise ValueError("one has its environments in VecNormalize, and the other does not")
    restore_learner(model, state["learner"])
    for name, value in state["counters"].items():
        setattr(model, name, value)
    if normalizer is not None:
        statistics = {**state["normalizer"], "returns": normalizer.returns}
        _restore_normalizer(normalizer, {**statistics, "old_reward": normalizer.old_reward})


def save_policy(model: BaseAlgorithm, normalizer: VecNormalize | None, run: RunDirectory) -> None:
    """Writes ``policy.zip`` and the observation statistics, with no pickle of ours."""
    model.save(run.policy)
    if normalizer is not None and normalizer.norm_obs:
        arrays = {
            f"{name}.{part}": getattr(statistics, part)
            for name, statistics in observation_statistics(normalizer).items()
            for part in ("mean", "var", "count")
        }
        np.savez(run.observation_stats, **arrays)


def agent_state(agent: HasState) -> dict[str, Any]:
    """Policy, optimiser, counters, statistics, environments and random states.

    Args:
        agent: Between two iterations.

    Returns:
        Nested mappings and lists of tensors, arrays, and what JSON can hold: a copy.
    """
    model, hide_reward = agent.model, _hide_reward(agent)
    assert model._last_obs is not None  # it was started
    state = {
        "learner": learner_state(model),
        "counters": {name: getattr(model, name) for name in _COUNTERS if hasattr(model, name)},
        "iterations": agent.n_iterations,
        "last_obs": model._last_obs,
        "last_original_obs": model._last_original_obs,
        "last_episode_starts": model._last_episode_starts,
        "ep_info": [dict(info) for info in model.ep_info_buffer or ()],
        "ep_success": list(model.ep_success_buffer or ()),
        "normalizer": _normalizer_state(agent.normalizer),
        "hide_reward": None if hide_reward is None else hide_reward.state_dict(),
        "pictures": None if agent.stacked is None else agent.stacked.history.frames,
        "environments": snapshots(agent.normalizer),
        "random": random_state(),
        # What random actions are drawn from: those before the first update, and DQN's.
        "action_space": model.action_space.np_random.bit_generator.state,
    }
    return copy.deepcopy(state)  # training goes on in the same arrays


def restore_agent(agent: HasState, state: Mapping[str, Any]) -> list[str]:
    """Brings a new agent to a state. The random states follow when it is started.

    Where an environment cannot be brought back, its episode is cut, a new one begins, and a loud
    line says that what follows is not what it would have been.

    Args:
        agent: New, with the settings of the one that the state is of.
        state: What ``agent_state`` gave.

    Returns:
        Why the continuation is not exact; empty if it is.

    Raises:
        RunDirectoryError: If the state is that of an agent with other settings.
    """
    state, model = copy.deepcopy(dict(state)), agent.model
    _check_fit(agent, state)
    restore_learner(model, state["learner"])
    for name, value in state["counters"].items():
        setattr(model, name, value)
    agent.n_iterations = state["iterations"]
    size = model._stats_window_size
    model.ep_info_buffer = deque(state["ep_info"], maxlen=size)
    model.ep_success_buffer = deque(state["ep_success"], maxlen=size)
    model.action_space.np_random.bit_generator.state = state["action_space"]
    _restore_normalizer(agent.normalizer, state["normalizer"])
    if (hide_reward := _hide_reward(agent)) is not None:
        hide_reward.load_state_dict(state["hide_reward"])
    return _restore_environments(agent, state)


def restore_policy(agent: HasState, state: Mapping[str, Any]) -> None:
    """Brings nets and statistics to a state, for an agent that is to act and not to go on.

    Args:
        agent: With the settings of the one that the state is of.
        state: What ``agent_state`` gave.

    Raises:
        RunDirectoryError: If the state is that of an agent with other settings.
    """
    _check_fit(agent, state)
    restore_learner(agent.model, state["learner"])
    _restore_normalizer(agent.normalizer, state["normalizer"])


def _check_fit(agent: HasState, state: Mapping[str, Any]) -> None:
    """Raises RunDirectoryError if the state is that of an agent with other settings."""

    def shapes(policy: Mapping[str, torch.Tensor]) -> str:
        return ", ".join(f"{name} {tuple(tensor.shape)}" for name, tensor in policy.items())

    pairs = {
        "policy": (
            shapes(agent.model.policy.state_dict()),
            shapes(state["learner"]["modules"]["policy"]),
        ),
        "environments": (agent.normalizer.num_envs, len(state["environments"])),
        "hidden rewards": (_hide_reward(agent) is not None, state["hide_reward"] is not None),
    }
    for name, (here, there) in pairs.items():
        if here != there:
            raise RunDirectoryError(
                f"expected the state of an agent with the same settings, with {name}: {here}; got "
                f"{name}: {there}. Resume with the config that the run was started with."
            )


def _restore_environments(agent: HasState, state: Mapping[str, Any]) -> list[str]:
    model, normalizer, hide_reward = agent.model, agent.normalizer, _hide_reward(agent)
    derived = [
        int(np.random.SeedSequence([agent.seed, model.num_timesteps, i]).generate_state(1)[0])
        for i in range(normalizer.num_envs)
    ]
    troubles = restore(normalizer, state["environments"], seeds=derived)
    cut = {i: trouble for i, trouble in enumerate(troubles) if trouble}
    for i, trouble in cut.items():
        _log.warning("ENVIRONMENT %d BEGINS A NEW EPISODE: %s", i, trouble)
    # The journals have consumed the seeds: a later reset must not begin all over.
    normalizer._reset_seeds()
    normalizer.unwrapped._reset_seeds()
    raw = last_observations(normalizer)
    if hide_reward is not None:
        hide_reward.see(raw)
        for i in cut:
            hide_reward.interrupt(i)
    if agent.stacked is not None:
        raw = agent.stacked.go_back(state["pictures"], raw, cut=list(cut))
    normalizer.old_obs = raw
    normalized, seen = normalizer.normalize_obs(raw), state["last_obs"]
    for i in cut:
        _replace_row(seen, normalized, i)
        state["last_episode_starts"][i], normalizer.returns[i] = True, 0.0
    model._last_obs, model._last_episode_starts = seen, state["last_episode_starts"]
    model._last_original_obs = state["last_original_obs"]
    return [f"environment {i} begins a new episode: {trouble}" for i, trouble in cut.items()]


def _replace_row(observations: Any, by: Any, row: int) -> None:
    if isinstance(observations, dict):
        for key in observations:
            observations[key][row] = by[key][row]
    else:
        observations[row] = by[row]


def _hide_reward(agent: HasState) -> HideReward | None:
    """None for an agent that trains on the true reward."""
    return agent.environments if isinstance(agent.environments, HideReward) else None


def _normalizer_state(normalizer: VecNormalize) -> dict[str, Any]:
    state: dict[str, Any] = {"returns": normalizer.returns, "old_reward": normalizer.old_reward}
    for name, statistics in _statistics(normalizer).items():
        state[name] = [statistics.mean, statistics.var, statistics.count]
    return state


def _restore_normalizer(normalizer: VecNormalize, state: Mapping[str, Any]) -> None:
    normalizer.returns, normalizer.old_reward = state["returns"], state["old_reward"]
    for name, statistics in _statistics(normalizer).items():
        if name in state:
            statistics.mean, statistics.var, statistics.count = state[name]


def observation_statistics(normalizer: VecNormalize) -> dict[str, RunningMeanStd]:
    """Statistics of the policy's observations by name; those of dict observations by key."""
    return {name: s for name, s in _statistics(normalizer).items() if name.startswith("obs_rms")}


def _statistics(normalizer: VecNormalize) -> dict[str, RunningMeanStd]:
    """By name; those of dict observations by key."""
    found: dict[str, RunningMeanStd] = {}
    for name in ("obs_rms", "ret_rms"):
        statistics = getattr(normalizer, name, None)
        parts = statistics if isinstance(statistics, dict) else {"": statistics}
        named = {f"{name}/{key}" if key else name: part for key, part in parts.items()}
        found |= {key: part for key, part in named.items() if isinstance(part, RunningMeanStd)}
    return found


def random_state() -> dict[str, Any]:
    """The states of all global generators that Stable-Baselines3 draws from."""
    version, numbers, gauss = random.getstate()
    name, keys, position, has_gauss, cached = np.random.get_state(legacy=True)
    state: dict[str, Any] = {
        "python": [version, list(numbers), gauss],
        "numpy": [name, keys, position, has_gauss, cached],
        "torch": torch.get_rng_state(),
    }
    # Asking where CUDA is not in use would take a context on each GPU.
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        state["cuda"] = torch.cuda.get_rng_state_all()
    return state


def restore_random_state(state: Mapping[str, Any]) -> None:
    """Puts all global generators into a state that ``random_state`` gave."""
    version, numbers, gauss = state["python"]
    random.setstate((version, tuple(numbers), gauss))
    np.random.set_state(tuple(state["numpy"]))
    torch.set_rng_state(state["torch"])
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(state["cuda"])
