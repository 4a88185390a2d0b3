"""Replaces an environment's reward by a learned one, for any trainer."""

from __future__ import annotations

from typing import Any, overload

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper, VecFrameStack, VecNormalize
from stable_baselines3.common.vec_env.base_vec_env import VecEnvObs, VecEnvStepReturn

from prefrl.control.learned.judge import Judge
from prefrl.control.learned.reward import Reward, check_same_spaces_as
from prefrl.errors import ConfigError

__all__ = ["TRUE_REWARD_KEY", "LearnedReward", "LearnedRewardEnv", "LearnedRewardVecEnv"]

TRUE_REWARD_KEY = "true_reward"
"""Key of the environment's own reward in ``info``."""


@overload
def LearnedReward(env: VecEnv, reward: Reward) -> LearnedRewardVecEnv: ...
@overload
def LearnedReward(env: gym.Env[Any, Any], reward: Reward) -> LearnedRewardEnv: ...
def LearnedReward(
    env: gym.Env[Any, Any] | VecEnv, reward: Reward
) -> LearnedRewardEnv | LearnedRewardVecEnv:
    """Replaces an environment's own reward by a learned one.

    The environment's own reward is in ``info["true_reward"]``. Put it inside of wrappers that
    normalise or stack observations, and outside of a ``Monitor`` that should log the true return.

    Args:
        env: An environment of Gymnasium, or a vectorised one of Stable-Baselines3.
        reward: A reward from ``load_reward``.

    Returns:
        The environment with the learned reward.

    Raises:
        ConfigError: If the reward was learned on other observations or actions, or the environment
            is of another kind, or already normalises or stacks observations.
    """
    if isinstance(env, VecEnv):
        return LearnedRewardVecEnv(env, reward)
    if isinstance(env, gym.Env):
        return LearnedRewardEnv(env, reward)
    raise ConfigError(
        f"expected a gymnasium.Env or a VecEnv of Stable-Baselines3, got {type(env).__name__}; "
        "wrap each environment before they are vectorised."
    )


class LearnedRewardEnv(gym.Wrapper[Any, Any, Any, Any]):
    """One environment with a learned reward.

    Args:
        env: The environment.
        reward: The reward.

    Raises:
        ConfigError: If the reward was learned on other observations or actions.
    """

    def __init__(self, env: gym.Env[Any, Any], reward: Reward) -> None:
        check_same_spaces_as(reward, env)
        super().__init__(env)
        self._judge = Judge(reward.net, env.observation_space, env.action_space, 1)
        self._seen: Any = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Begins an episode."""
        observation, info = self.env.reset(seed=seed, options=options)
        self._judge.forget(np.ones(1, np.bool_))
        self._seen = _batch_of_one(observation)
        return observation, info

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Takes a step, and returns its learned reward."""
        observation, true_reward, terminated, truncated, info = self.env.step(action)
        after = _batch_of_one(observation)
        cut = {"TimeLimit.truncated": truncated and not terminated}
        done = np.array([terminated or truncated])
        taken = np.asarray(action)[None]
        reward = float(self._judge.rewards(self._seen, taken, after, done, [cut])[0])
        self._seen = after
        return observation, reward, terminated, truncated, {**info, TRUE_REWARD_KEY: true_reward}


class LearnedRewardVecEnv(VecEnvWrapper):
    """A vectorised environment of Stable-Baselines3 with a learned reward.

    Args:
        venv: The environment.
        reward: The reward.

    Raises:
        ConfigError: If the reward was learned on other observations or actions, or observations are
            already normalised or stacked.
    """

    def __init__(self, venv: VecEnv, reward: Reward) -> None:
        inner: Any = venv
        while isinstance(inner, VecEnvWrapper):
            if isinstance(inner, VecNormalize | VecFrameStack):
                name = type(inner).__name__
                raise ConfigError(
                    f"expected LearnedReward inside of {name}, got a {name} inside; write "
                    f"{name}(LearnedReward(venv, reward), ...)."
                )
            inner = inner.venv
        check_same_spaces_as(reward, venv)
        super().__init__(venv)
        self._judge = Judge(reward.net, venv.observation_space, venv.action_space, venv.num_envs)
        self._seen: Any = None
        self._actions: NDArray[Any] = np.empty(0)

    def reset(self) -> VecEnvObs:
        """Begins an episode in each environment."""
        observations = self.venv.reset()
        self._judge.forget(np.ones(self.num_envs, np.bool_))
        self._seen = _copied(observations)
        return observations

    def step_async(self, actions: NDArray[Any]) -> None:
        """Begins a step."""
        self._actions = np.array(actions)
        self.venv.step_async(actions)

    def step_wait(self) -> VecEnvStepReturn:
        """Completes the step, and returns its learned rewards."""
        observations, true_rewards, dones, infos = self.venv.step_wait()
        rewards = self._judge.rewards(self._seen, self._actions, observations, dones, infos)
        self._judge.forget(dones)
        self._seen = _copied(observations)
        told = [
            {**info, TRUE_REWARD_KEY: float(own)}
            for info, own in zip(infos, true_rewards, strict=True)
        ]
        return observations, rewards, dones, told


def _batch_of_one(observation: Any) -> Any:
    if isinstance(observation, dict):
        return {key: np.array(part)[None] for key, part in observation.items()}
    return np.array(observation)[None]


def _copied(observations: Any) -> Any:
    """Copies observations, as environments may write the next ones into the same array."""
    if isinstance(observations, dict):
        return {key: np.array(part) for key, part in observations.items()}
    return np.array(observations)
