"""An environment that counts, and some that go wrong; without torch, as workers load it."""

import gymnasium as gym
import numpy as np
from gymnasium import spaces


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


class Careless(Counter):
    """Raises at its third step."""

    def step(self, action):
        if self.t == 2:
            raise RuntimeError("the simulator has gone")
        return super().step(action)
