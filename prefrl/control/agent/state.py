"""The complete state of an agent between two iterations, to continue bit for bit.

The algorithm itself says what it learns with, as for ``model.save``: nets and optimisers by name,
and further tensors. A replay buffer is saved separately, as it is too large to be written often.
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
    "_n_calls",  # DQN updates its target net by this count
    "exploration_rate",
)


class HasState(Protocol):
    """The parts of an agent that make up its state."""

    model: BaseAlgorithm
    """The algorithm."""
    environments: VecEnv
    """The environments that it acts in; a ``HideReward`` if the reward is hidden."""
    stacked: StackFrames | None
    """The wrapper that stacks pictures, if there are any."""
    normalizer: VecNormalize
    """The wrapper that standardises observations."""
    seed: int
    """Seed of everything random."""
    n_iterations: int
    """Number of iterations so far."""


def learner_state(model: BaseAlgorithm) -> dict[str, Any]:
    """Returns nets, optimisers and other tensors of an algorithm by name, without copying."""
    names, variables = model._get_torch_save_params()
    return {
        "modules": {name: dict(recursive_getattr(model, name).state_dict()) for name in names},
        "variables": {name: recursive_getattr(model, name) for name in variables},
    }


@torch.no_grad()
def restore_learner(model: BaseAlgorithm, state: Mapping[str, Any]) -> None:
    """Restores nets, optimisers and other tensors to a state from ``learner_state``."""
    for name, content in state["modules"].items():
        recursive_getattr(model, name).load_state_dict(content)
    for name, tensor in state["variables"].items():
        own = recursive_getattr(model, name)
        if isinstance(own, torch.Tensor) and own.is_leaf:
            own.copy_(tensor)  # in place, as the optimiser refers to this tensor
        else:
            recursive_setattr(model, name, tensor)


def model_state(model: BaseAlgorithm) -> dict[str, Any]:
    """Copies nets, optimisers, counters and observation statistics, for a script to continue."""
    normalizer = model.get_vec_normalize_env()
    state = {
        "learner": learner_state(model),
        "counters": {name: getattr(model, name) for name in _COUNTERS if hasattr(model, name)},
        "normalizer": None if normalizer is None else _normalizer_state(normalizer),
    }
    return copy.deepcopy(state)


def restore_model(model: BaseAlgorithm, state: Mapping[str, Any]) -> None:
    """Restores a model and its ``VecNormalize`` to a state from ``model_state``.

    Raises:
        RuntimeError: If the model has other nets.
        ValueError: If only one of the two has a ``VecNormalize``.
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
    """Writes ``policy.zip`` and the observation statistics, without pickles of our own."""
    model.save(run.policy)
    if normalizer is not None and normalizer.norm_obs:
        arrays = {
            f"{name}.{part}": getattr(statistics, part)
            for name, statistics in observation_statistics(normalizer).items()
            for part in ("mean", "var", "count")
        }
        np.savez(run.observation_stats, **arrays)


def agent_state(agent: HasState) -> dict[str, Any]:
    """Copies nets, optimisers, counters, statistics, environments and random states.

    Args:
        agent: An agent between two iterations.

    Returns:
        Nested mappings and lists of tensors, arrays, and values that JSON can hold.
    """
    model, hide_reward = agent.model, _hide_reward(agent)
    assert model._last_obs is not None  # the agent was started
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
        # The source of random actions: those before the first update, and DQN's.
        "action_space": model.action_space.np_random.bit_generator.state,
    }
    return copy.deepcopy(state)  # training continues in the same arrays


def restore_agent(agent: HasState, state: Mapping[str, Any]) -> list[str]:
    """Restores a new agent to a state, except the random states, which ``Agent.start`` restores.

    If an environment cannot be restored, its episode is cut and a new one begins, with a warning in
    the log that the continuation is not exact.

    Args:
        agent: A new agent with the same settings.
        state: State from ``agent_state``.

    Returns:
        Reasons why the continuation is not exact; empty if it is.

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
    """Restores only nets and statistics, for an agent that acts without further training.

    Args:
        agent: An agent with the same settings.
        state: State from ``agent_state``.

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
    # The replayed episodes have used the seeds: a later reset must not use them again.
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
    """Returns the agent's ``HideReward``; None if it trains on the true reward."""
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
    """Returns the statistics of the policy's observations by name, with a key for dicts."""
    return {name: s for name, s in _statistics(normalizer).items() if name.startswith("obs_rms")}


def _statistics(normalizer: VecNormalize) -> dict[str, RunningMeanStd]:
    """Returns all statistics by name, with a key for dict observations."""
    found: dict[str, RunningMeanStd] = {}
    for name in ("obs_rms", "ret_rms"):
        statistics = getattr(normalizer, name, None)
        parts = statistics if isinstance(statistics, dict) else {"": statistics}
        named = {f"{name}/{key}" if key else name: part for key, part in parts.items()}
        found |= {key: part for key, part in named.items() if isinstance(part, RunningMeanStd)}
    return found


def random_state() -> dict[str, Any]:
    """Returns the states of all global generators that Stable-Baselines3 draws from."""
    version, numbers, gauss = random.getstate()
    name, keys, position, has_gauss, cached = np.random.get_state(legacy=True)
    state: dict[str, Any] = {
        "python": [version, list(numbers), gauss],
        "numpy": [name, keys, position, has_gauss, cached],
        "torch": torch.get_rng_state(),
    }
    # If CUDA is not in use, asking would create a context on each GPU.
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        state["cuda"] = torch.cuda.get_rng_state_all()
    return state


def restore_random_state(state: Mapping[str, Any]) -> None:
    """Restores all global generators to a state from ``random_state``."""
    version, numbers, gauss = state["python"]
    random.setstate((version, tuple(numbers), gauss))
    np.random.set_state(tuple(state["numpy"]))
    torch.set_rng_state(state["torch"])
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(state["cuda"])
