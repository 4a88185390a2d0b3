"""Environments that are hard to film, or cannot be filmed, each for a reason of its own.

They are met by ids: another process makes them, too.
"""

import os
import signal

import gymnasium as gym
import numpy as np
from control.toys import Counter
from gymnasium import spaces


class Blind(Counter):
    """Draws nothing."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 20}  # noqa: RUF012 as in Gymnasium

    def __init__(self, render_mode=None):
        super().__init__(length=100)
        self.render_mode = render_mode

    def render(self):
        return None


class Seen(Blind):
    """Draws well."""

    def render(self):
        return np.full((32, 32, 3), 2 * self.t, np.uint8)


class Modeless(Counter):
    """Takes no render_mode."""

    metadata = Blind.metadata

    def __init__(self):
        super().__init__(length=100)


class Stateless(Seen):
    """Cannot be put into a state: it is to be played again."""

    def __getattribute__(self, name):
        if name in ("get_state", "set_state"):
            raise AttributeError(name)
        return super().__getattribute__(name)


class Chance(Stateless):
    """Draws well, and goes where the system's own entropy leads it."""

    def _see(self):
        return np.random.default_rng().random(2, np.float32)


class Stuck(Seen):
    """Tells its state, as some robots do, and breaks where it is put into one."""

    def set_state(self, state):
        raise AssertionError("the simulator\nwas never asked to")


class Mute(Seen):
    """Breaks where it is asked for its state: it is to be played again."""

    def get_state(self):
        raise ZeroDivisionError("no state")


class Crashes(Seen):
    """Ends the process that draws it."""

    def render(self):
        os.kill(os.getpid(), signal.SIGSEGV)


class Hangs(Seen):
    """Never draws."""

    def render(self):
        signal.pause()


class Walk(gym.Env):
    """A walk that starts and slips by chance; its picture has a grey that tells the place."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 7}  # noqa: RUF012 as in Gymnasium

    def __init__(self, render_mode=None):
        self.render_mode = render_mode
        self.observation_space = spaces.Box(0, 255, (1,), np.float64)
        self.action_space = spaces.Discrete(3)
        self.pid = os.getpid()

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.place, self.t = int(self.np_random.integers(80, 160)), 0
        return np.array([float(self.place)]), {}

    def step(self, action):
        assert self.action_space.contains(action)
        self.place += int(self.np_random.integers(-2, 3)) + int(action) - 1
        self.t += 1
        return np.array([float(self.place)]), 0.0, self.t == 17, False, {}

    def render(self):
        return np.full((20, 30, 3), self.place, np.uint8)


gym.register("test/Walk-v0", entry_point=Walk)
for kind in (Blind, Seen, Modeless, Stateless, Chance, Stuck, Mute, Crashes, Hangs):
    gym.register(f"test/{kind.__name__}-v0", entry_point=kind, max_episode_steps=100)
