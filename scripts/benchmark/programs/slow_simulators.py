"""Environments whose step takes 20 ms: one sleeps, the other computes."""

import time

import gymnasium as gym
import numpy as np

_SECONDS = 0.02


class Sleeping(gym.Env):
    """As a simulator on another machine."""

    observation_space = gym.spaces.Box(-1, 1, (3,), np.float32)
    action_space = gym.spaces.Box(-1, 1, (2,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros(3, np.float32), {}

    def step(self, action):
        self._take_time()
        return np.zeros(3, np.float32), 0.0, False, False, {}

    def _take_time(self):
        time.sleep(_SECONDS)


class Computing(Sleeping):
    """As a simulator in Python."""

    def _take_time(self):
        until = time.thread_time() + _SECONDS
        while time.thread_time() < until:
            pass


gym.register("slow/Sleeping-v0", entry_point=Sleeping, max_episode_steps=200)
gym.register("slow/Computing-v0", entry_point=Computing, max_episode_steps=200)
