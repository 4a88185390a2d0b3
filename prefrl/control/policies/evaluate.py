"""Evaluates an agent: its true return, and predicted against true reward."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecEnv

from prefrl.control.config import TrainConfig
from prefrl.control.environments.batched import GAME_OVER_KEY, SCORE_KEY
from prefrl.control.environments.journals import JOURNAL_KEY, Journal, Journals
from prefrl.control.environments.making import (
    journals_under_way,
    last_observations,
    make_environments,
)
from prefrl.control.environments.source import EnvConfig
from prefrl.control.environments.stacking import stack_frames
from prefrl.control.environments.states import STATE_KEY
from prefrl.control.learned.judge import Judge
from prefrl.control.preferences import StepReward
from prefrl.control.reward.correlation import correlation

__all__ = ["EVALUATION_SEED", "Evaluation", "Player", "evaluate", "evaluate_as_configured"]

EVALUATION_SEED = 1_000_003
"""Added to a training's seed, so that final evaluations have other episodes than the training."""


class Player(Protocol):
    """Protocol of an agent that acts."""

    frame_stack: int
    """Number of pictures stacked in its observations."""

    def act(
        self, observations: Any, *, deterministic: bool, begins: NDArray[np.bool_] | None
    ) -> NDArray[Any]:
        """Returns actions for a batch of observations, as ``Agent.act`` does."""
        ...


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Episodes of an agent, one per environment, padded with NaN to the longest one's T steps."""

    true_rewards: NDArray[np.float64]
    """The environment's reward, shape (E, T); for games with a score, their points."""
    predicted_rewards: NDArray[np.float64]
    """The learned reward, shape (E, T); NaN without a reward model."""
    states: NDArray[np.float64] | None
    """Simulator states of the first episode, shape (T, S), or its number and steps if films are
    made by replaying it; None if neither is known."""
    journals: Journals
    """The episodes or games in ``states``."""
    n_cut: int = 0
    """Number of episodes that were cut before their end, whose returns are incomplete."""

    @property
    def returns(self) -> NDArray[np.float64]:
        """True return of each episode, shape (E,)."""
        return np.asarray(np.nansum(self.true_rewards, axis=1))

    @property
    def correlation(self) -> float:
        """Pearson's correlation of predicted with true step rewards; NaN if one is constant."""
        return correlation(self.predicted_rewards, self.true_rewards)


def evaluate(
    agent: Player,
    env_id: str,
    *,
    episodes: int,
    seed: int,
    net: StepReward | None = None,
    deterministic: bool = True,
    max_steps: int = 10_000,
    env: EnvConfig | None = None,
    go_on: Callable[[], bool] = lambda: True,
) -> Evaluation:
    """Runs whole episodes or games in new environments, in parallel.

    Args:
        agent: The agent, whose observation statistics are not changed.
        env_id: A Gymnasium id.
        episodes: Number of episodes (E), one per environment.
        seed: Seed of the environments.
        net: Predicts rewards; None leaves them out.
        deterministic: Whether the agent takes its most likely action.
        max_steps: Steps after which an episode that has not ended is cut.
        env: Arguments and wrappers of the environments.
        go_on: Called before each step but the first; False cuts all episodes there.

    Returns:
        True and predicted rewards, and states for a film.
    """
    venv = make_environments(env_id, n_envs=episodes, seed=seed, env=env)
    try:
        return _run_episodes(agent, venv, net, deterministic, max_steps, go_on)
    finally:
        venv.close()


def evaluate_as_configured(
    player: Player, config: TrainConfig, *, seed: int = EVALUATION_SEED, **options: Any
) -> Evaluation:
    """Runs the evaluation episodes that a training's config asks for.

    Args:
        player: The agent.
        config: Config of the training.
        seed: Added to the training's seed.
        **options: Further arguments of ``evaluate``.
    """
    return evaluate(
        player,
        config.env_id,
        episodes=config.eval_episodes,
        seed=config.seed + seed,
        max_steps=config.eval_max_steps,
        env=config.env,
        **options,
    )


def _run_episodes(
    agent: Player,
    venv: VecEnv,
    net: StepReward | None,
    deterministic: bool,
    max_steps: int,
    go_on: Callable[[], bool],
) -> Evaluation:
    true: list[NDArray[np.float64]] = []
    predicted: list[NDArray[np.float64]] = []
    states: list[NDArray[np.float64]] = []
    journals: dict[int, Journal] = {}
    running = np.ones(venv.num_envs, np.bool_)
    acting = stack_frames(venv, agent.frame_stack) or venv
    judge = None
    if net is not None:
        judge = Judge(net, venv.observation_space, venv.action_space, venv.num_envs)
    seen, begins = acting.reset(), np.ones(venv.num_envs, np.bool_)
    while running.any() and len(true) < max_steps and (go_on() or not true):
        shown = last_observations(venv)
        actions = agent.act(seen, deterministic=deterministic, begins=begins)
        row = np.full(venv.num_envs, np.nan)
        seen, rewards, dones, infos = acting.step(actions)
        if judge is not None:
            row[running] = judge.rewards(shown, actions, seen, dones, infos)[running]
        over = [GAME_OVER_KEY in info for info in infos]
        if SCORE_KEY in infos[0]:
            rewards = np.array([info[SCORE_KEY] for info in infos])
        predicted.append(row)
        true.append(np.where(running, rewards, np.nan))
        if running[0] and STATE_KEY in infos[0]:
            states.append(infos[0][STATE_KEY])
            if JOURNAL_KEY in infos[0]:
                journals |= dict([infos[0][JOURNAL_KEY]])
        begins = np.asarray(dones | over)
        running &= ~begins
        if judge is not None:
            judge.forget(dones)
    if running[0]:
        journals |= journals_under_way(venv)
    return Evaluation(
        true_rewards=np.stack(true, axis=1),
        predicted_rewards=np.stack(predicted, axis=1),
        states=np.stack(states) if states else None,
        journals=journals,
        n_cut=int(running.sum()),
    )
