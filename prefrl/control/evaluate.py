"""What the agent is worth: its true return, and predicted against true reward."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecEnv

from prefrl.control.agent.agent import Agent
from prefrl.control.environments.making import make_environments
from prefrl.control.environments.spaces import encode_actions
from prefrl.control.environments.states import STATE_KEY
from prefrl.control.reward.correlation import correlation
from prefrl.control.reward.mlp import MlpStepReward

__all__ = ["Evaluation", "evaluate"]

_LONGEST_EPISODE = 100_000


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Episodes of an agent, one per environment, padded with NaN to the longest one's T steps."""

    true_rewards: NDArray[np.float64]
    """The environment's reward, shape (E, T)."""
    predicted_rewards: NDArray[np.float64]
    """The learned reward, shape (E, T); NaN where there was no reward model."""
    states: NDArray[np.float64] | None
    """Simulator states of the first episode, shape (T, S), where they are known."""

    @property
    def returns(self) -> NDArray[np.float64]:
        """True return of each episode, shape (E,)."""
        return np.asarray(np.nansum(self.true_rewards, axis=1))

    @property
    def correlation(self) -> float:
        """Pearson's correlation of predicted with true step rewards; NaN where one is constant."""
        return correlation(self.predicted_rewards, self.true_rewards)


def evaluate(
    agent: Agent,
    env_id: str,
    *,
    episodes: int,
    seed: int,
    net: MlpStepReward | None = None,
    deterministic: bool = True,
) -> Evaluation:
    """Runs whole episodes in fresh environments, side by side.

    Args:
        agent: Who acts. Its observation statistics are not changed.
        env_id: Where.
        episodes: E.
        seed: Of the environments.
        net: Predicts rewards; None leaves them out.
        deterministic: Whether the agent takes its most likely action.

    Returns:
        True and predicted rewards, and states for a film.
    """
    venv = make_environments(env_id, n_envs=episodes, seed=seed)
    try:
        return _run_episodes(agent, venv, net, deterministic)
    finally:
        venv.close()


def _run_episodes(
    agent: Agent, venv: VecEnv, net: MlpStepReward | None, deterministic: bool
) -> Evaluation:
    true: list[NDArray[np.float64]] = []
    predicted: list[NDArray[np.float64]] = []
    states: list[NDArray[np.float64]] = []
    running = np.ones(venv.num_envs, np.bool_)
    observations = venv.reset()
    assert isinstance(observations, np.ndarray)
    while running.any() and len(true) < _LONGEST_EPISODE:
        actions = agent.act(observations, deterministic=deterministic)
        row = np.full(venv.num_envs, np.nan)
        if net is not None:
            flat = observations.reshape(venv.num_envs, -1).astype(np.float32)
            row[running] = net.predict(flat, encode_actions(actions, venv.action_space))[0][running]
        observations, rewards, dones, infos = venv.step(actions)
        assert isinstance(observations, np.ndarray)
        predicted.append(row)
        true.append(np.where(running, rewards, np.nan))
        if running[0] and STATE_KEY in infos[0]:
            states.append(infos[0][STATE_KEY])
        running &= ~dones
    return Evaluation(
        true_rewards=np.stack(true, axis=1),
        predicted_rewards=np.stack(predicted, axis=1),
        states=np.stack(states) if states else None,
    )
