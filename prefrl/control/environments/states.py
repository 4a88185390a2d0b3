"""Simulator states, recorded while the agent acts so that films can be made on demand."""

from __future__ import annotations

import functools
import logging
import os
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from prefrl.errors import ConfigError

__all__ = [
    "FINAL_STATE_KEY",
    "STATE_KEY",
    "RecordState",
    "log_mujoco_warnings",
    "read_state",
    "tells_state",
    "write_state",
]

_log = logging.getLogger(__name__)

STATE_KEY = "prefrl/state"
"""Key in a step's info for the state before the step."""
FINAL_STATE_KEY = "prefrl/final_state"
"""Key for the state after a step that ended the episode."""


def read_state(env: gym.Env[Any, Any]) -> NDArray[np.float64] | None:
    """Reads the simulator's state: MuJoCo's qpos and qvel, or the environment's ``get_state``.

    Args:
        env: Any environment.

    Returns:
        A copy, shape (S,); None if there is no known way to read it.
    """
    inner: Any = env.unwrapped
    if not hasattr(inner, "set_state"):
        return None
    data = getattr(inner, "data", None)
    if data is not None and hasattr(data, "qpos"):
        return np.concatenate([data.qpos, data.qvel])
    if hasattr(inner, "get_state"):
        return np.array(inner.get_state(), np.float64)
    return None


def tells_state(env: gym.Env[Any, Any]) -> bool:
    """Whether ``RecordState`` can record the states of an environment, after a reset."""
    try:
        return read_state(env) is not None
    except Exception:
        # An environment may raise anything.
        return False


def write_state(env: gym.Env[Any, Any], state: NDArray[np.float64]) -> None:
    """Puts an environment into a state from ``read_state``, shape (S,)."""
    inner: Any = env.unwrapped
    data = getattr(inner, "data", None)
    if data is not None and hasattr(data, "qpos"):
        inner.set_state(state[: len(data.qpos)], state[len(data.qpos) :])
    else:
        inner.set_state(state)


class RecordState(gym.Wrapper[Any, Any, Any, Any]):
    """Adds the state before each step, where it is known, to the step's info."""

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        super().__init__(env)
        self._last: NDArray[np.float64] | None = None
        self._is_broken = False

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Steps, and puts the state before the step under ``STATE_KEY``."""
        state = self._read()
        observation, reward, terminated, truncated, info = self.env.step(action)
        if state is not None:
            info[STATE_KEY] = state
            if terminated:
                info[FINAL_STATE_KEY] = self._read()
        return observation, reward, terminated, truncated, info

    def _read(self) -> NDArray[np.float64] | None:
        """Reads the state; NaN after a failure, because films must not end a training."""
        if not self._is_broken:
            try:
                self._last = read_state(self.env)
            except Exception as error:
                # An environment may raise anything.
                _log.warning("no films: its state cannot be read: %s", error)
                self._is_broken = True
                if self._last is not None:
                    self._last = np.full_like(self._last, np.nan)
        return self._last


@functools.cache
def log_mujoco_warnings() -> None:
    """Sends MuJoCo's warnings to the log, not to the terminal and MUJOCO_LOG.TXT.

    Gymnasium's own HalfCheetah model alone warns eight times at each start.

    Raises:
        ConfigError: If ``MUJOCO_GL`` is set to a value with which MuJoCo cannot be imported.
    """
    try:
        import mujoco
    except ImportError:
        return
    except (AttributeError, OSError, RuntimeError) as error:
        # MuJoCo raises RuntimeError for an unknown name, PyOpenGL AttributeError without a library.
        asked = os.environ.get("MUJOCO_GL")
        raise ConfigError(
            f"expected MUJOCO_GL to name a GL that works here, got {asked!r} ({error}); unset it, "
            "and prefrl looks for one itself."
        ) from error
    mujoco.set_mju_user_warning(logging.getLogger("prefrl.mujoco").info)
