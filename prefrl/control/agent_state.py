"""All that an agent is at the end of an update: what it takes to go on bit for bit."""

from __future__ import annotations

import logging
import random
from collections import deque
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from stable_baselines3.common.running_mean_std import RunningMeanStd
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from prefrl.control.hide_reward import find_hide_reward
from prefrl.control.rewind import Rewind

if TYPE_CHECKING:
    from prefrl.control.agents import Agent

__all__ = ["agent_state", "random_state", "restore_agent", "restore_random_state"]

_log = logging.getLogger(__name__)
_COUNTERS = ("num_timesteps", "_n_updates", "_episode_num", "_current_progress_remaining")


def agent_state(agent: Agent) -> dict[str, Any]:
    """Policy, optimiser, counters, statistics, environments and random states.

    Args:
        agent: Between two iterations.

    Returns:
        Nested mappings and lists of tensors, arrays, and what JSON can hold.
    """
    model = agent.model
    assert model._last_obs is not None  # it was started
    return {
        "policy": dict(model.policy.state_dict()),
        "optimizer": model.policy.optimizer.state_dict(),
        "counters": {name: getattr(model, name) for name in _COUNTERS},
        "iterations": agent.n_iterations,
        "last_obs": model._last_obs,
        "last_episode_starts": model._last_episode_starts,
        "ep_info": [dict(info) for info in model.ep_info_buffer or ()],
        "ep_success": list(model.ep_success_buffer or ()),
        "normalizer": _normalizer_state(agent.normalizer),
        "hide_reward": find_hide_reward(agent.normalizer).state_dict(),
        "environments": [rewind.snapshot() for rewind in _rewinds(agent)],
        "random": random_state(),
    }


def restore_agent(agent: Agent, state: Mapping[str, Any]) -> None:
    """Brings a new agent to a state. The random states follow when it is started.

    Where an environment cannot be brought back, its episode is cut, a new one begins, and a loud
    line says that what follows is not what it would have been.
    """
    model = agent.model
    model.policy.load_state_dict(state["policy"])
    model.policy.optimizer.load_state_dict(state["optimizer"])
    for name, value in state["counters"].items():
        setattr(model, name, value)
    agent.n_iterations = state["iterations"]
    size = model._stats_window_size
    model.ep_info_buffer = deque(state["ep_info"], maxlen=size)
    model.ep_success_buffer = deque(state["ep_success"], maxlen=size)
    _restore_normalizer(agent.normalizer, state["normalizer"])
    _restore_environments(agent, state)


def _restore_environments(agent: Agent, state: Mapping[str, Any]) -> None:
    model, hide_reward = agent.model, find_hide_reward(agent.normalizer)
    hide_reward.load_state_dict(state["hide_reward"])
    seen, starts = state["last_obs"].copy(), state["last_episode_starts"].copy()
    rewinds = _rewinds(agent)
    for i, snapshot in enumerate(state["environments"]):
        derived = np.random.SeedSequence([agent.seed, model.num_timesteps, i]).generate_state(1)
        if trouble := rewinds[i].restore(snapshot, seed=int(derived[0])):
            _log.warning("ENVIRONMENT %d BEGINS A NEW EPISODE: %s", i, trouble)
            hide_reward.interrupt(i)
            starts[i] = True
    raw = np.stack([rewind.last_observation for rewind in rewinds])
    agent.normalizer.old_obs = raw
    hide_reward.see(raw)
    normalized = agent.normalizer.normalize_obs(raw)
    assert isinstance(normalized, np.ndarray)
    for i in hide_reward.interrupted:
        seen[i] = normalized[i]
    model._last_obs, model._last_episode_starts = seen, starts
    model._last_original_obs = agent.normalizer.get_original_obs()


def _rewinds(agent: Agent) -> list[Rewind]:
    environments = agent.normalizer.unwrapped
    assert isinstance(environments, DummyVecEnv)
    rewinds = []
    for env in environments.envs:
        assert isinstance(env, Rewind)  # make_environments put it outermost
        rewinds.append(env)
    return rewinds


def _normalizer_state(normalizer: VecNormalize) -> dict[str, Any]:
    state: dict[str, Any] = {"returns": normalizer.returns, "old_reward": normalizer.old_reward}
    for name in ("obs_rms", "ret_rms"):
        statistics = getattr(normalizer, name, None)
        if isinstance(statistics, RunningMeanStd):
            state[name] = [statistics.mean, statistics.var, statistics.count]
    return state


def _restore_normalizer(normalizer: VecNormalize, state: Mapping[str, Any]) -> None:
    normalizer.returns, normalizer.old_reward = state["returns"], state["old_reward"]
    for name in ("obs_rms", "ret_rms"):
        if name in state:
            statistics = getattr(normalizer, name)
            statistics.mean, statistics.var, statistics.count = state[name]


def random_state() -> dict[str, Any]:
    """The states of all global generators that Stable-Baselines3 draws from."""
    version, numbers, gauss = random.getstate()
    name, keys, position, has_gauss, cached = np.random.get_state(legacy=True)
    state: dict[str, Any] = {
        "python": [version, list(numbers), gauss],
        "numpy": [name, keys, position, has_gauss, cached],
        "torch": torch.get_rng_state(),
    }
    if torch.cuda.is_available():
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
