"""Environments of which nothing can be shown, each for a reason of its own.

They are met by ids: another process makes them, too.
"""

import os
import signal

import gymnasium as gym
import numpy as np
from control.toys import Counter


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


class Stateless(Blind):
    """Cannot be put into a state."""

    def __getattribute__(self, name):
        if name in ("get_state", "set_state"):
            raise AttributeError(name)
        return super().__getattribute__(name)


class Stuck(Seen):
    """Tells its state, as some robots do, and breaks where it is put into one."""

    def set_state(self, state):
        raise AssertionError("the simulator\nwas never asked to")


class Mute(Seen):
    """Breaks where it is asked for its state."""

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


for kind in (Blind, Seen, Modeless, Stateless, Stuck, Mute, Crashes, Hangs):
    gym.register(f"test/{kind.__name__}-v0", entry_point=kind, max_episode_steps=100)
