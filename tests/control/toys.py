"""Small environments and rollouts made by hand, for the tests of the control side."""

import dataclasses

import gymnasium as gym
import numpy as np
from control.counter import Counter
from gymnasium import spaces
from stable_baselines3.common.vec_env import DummyVecEnv

from prefrl.control.environments.rollout import Rollout


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


class Counting:
    """Prefers high actions, and counts how often it was asked."""

    def __init__(self):
        self.n = 0

    def compare(self, left, right):
        self.n += 1
        return "left" if left.actions.sum() > right.actions.sum() else "right"


class Screen(gym.Env):
    """Shows the time as the brightness of a picture; in a dict, with the time as a number too."""

    metadata = {"render_modes": ["rgb_array"]}  # noqa: RUF012 as in Gymnasium

    def __init__(self, length=5, *, shape=(8, 8, 1), as_dict=False, render_mode=None):
        self.render_mode = render_mode
        picture = spaces.Box(0, 255, shape, np.uint8)
        self.observation_space = picture
        if as_dict:
            number = spaces.Box(-np.inf, np.inf, (1,), np.float32)
            self.observation_space = spaces.Dict({"picture": picture, "time": number})
        self.action_space = spaces.Discrete(3)
        self.length = length
        self.shape = shape
        self.t = 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t = 1
        return self._see(), {}

    def step(self, action):
        reward = float(self.t)
        self.t += 1
        return self._see(), reward, False, self.t > self.length, {}

    def _see(self):
        picture = np.full(self.shape, self.t, np.uint8)
        if isinstance(self.observation_space, spaces.Dict):
            return {"picture": picture, "time": np.array([self.t], np.float32)}
        return picture


def seen(observations, actions):
    """A rollout of which only observations (T, N, O) and actions (T, N, A) matter."""
    shape = observations.shape[:2]
    nothing = np.zeros(shape)
    return Rollout(observations, actions, nothing, nothing.astype(bool), None)


def screens(n_envs=1, **options):
    return DummyVecEnv([lambda: Screen(**options)] * n_envs)


def picture_rollout(n_steps, *, ends=(), start=0, n_before=3, n_envs=1):
    """As ``rollout``, with pictures of 2 x 2 whose brightness is the step plus 1, less 100s."""
    plain = rollout(n_steps, n_envs, ends=ends, start=start)
    told = np.arange(start - n_before, start + n_steps) + 1
    frames = np.clip(told, 0, 255).astype(np.uint8)[:, None, None, None, None]
    return dataclasses.replace(
        plain, frames=np.tile(frames, (1, n_envs, 1, 2, 2)), states=None, journals={}
    )


def assert_same_segments(left, right):
    """Of two lists of segments with their true rewards."""
    assert len(left) == len(right)
    for (a, rewards_a), (b, rewards_b) in zip(left, right, strict=True):
        assert (a.id, a.env_steps, a.episode_step) == (b.id, b.env_steps, b.episode_step)
        pairs = [(getattr(a, n), getattr(b, n)) for n in ("observations", "actions", "states")]
        for x, y in [*pairs, (rewards_a, rewards_b)]:
            assert (x.dtype, x.tobytes()) == (y.dtype, y.tobytes())
