"""Small environments and rollouts made by hand, for the tests of the control side."""

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from stable_baselines3.common.vec_env import DummyVecEnv

from prefrl.control.environments.rollout import Rollout


class Counter(gym.Env):
    """Observes the time, pays ten times the time plus the action, ends after ``length`` steps."""

    def __init__(self, length=7, reward_scale=1.0, terminates=True):
        self.observation_space = spaces.Box(-np.inf, np.inf, (2,), np.float32)
        self.action_space = spaces.Box(-1, 1, (1,), np.float32)
        self.length = length
        self.scale = reward_scale
        self.terminates = terminates
        self.t = 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t = 0
        return self._see(), {}

    def step(self, action):
        reward = self.scale * (10.0 * self.t + float(action[0]))
        self.t += 1
        done = self.t == self.length
        return self._see(), reward, done and self.terminates, done and not self.terminates, {}

    def _see(self):
        return np.array([self.t, -self.t], np.float32)

    def get_state(self):
        return np.array([self.t], np.float64)

    def set_state(self, state):
        self.t = int(state[0])


def counters(n_envs=1, **options):
    return DummyVecEnv([lambda: Counter(**options)] * n_envs)


def rollout(n_steps, n_envs=1, *, ends=(), start=0):
    """Observations and rewards tell step and environment: 100 * environment + step."""
    numbers = 100.0 * np.arange(n_envs)[None] + start + np.arange(n_steps)[:, None]  # (T, N)
    dones = np.zeros((n_steps, n_envs), bool)
    for step, env in ends:
        dones[step, env] = True
    return Rollout(
        observations=numbers[..., None].astype(np.float32),
        actions=-numbers[..., None].astype(np.float32),
        true_rewards=numbers,
        dones=dones,
        states=numbers[..., None],
    )
