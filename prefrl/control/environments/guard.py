"""Recovery from a failing environment: it is made again, and its episode is cut off.

Simulators diverge and drivers fail. The outcome of the step is unknown then, so the episode counts
as truncated at the last known observation, and a new one begins in a new environment, with a seed
that is derived from the first.
"""

from __future__ import annotations

import logging
import math
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

import gymnasium as gym
import numpy as np

from prefrl.errors import EnvironmentFaultError

__all__ = ["FAULT_KEY", "Guard"]

FAULT_KEY = "prefrl/fault"
"""Key in a step's info that says what went wrong."""

_log = logging.getLogger(__name__)
_MOST_FAULTS, _WITHIN_STEPS = 5, 10_000


class Guard(gym.Wrapper[Any, Any, Any, Any]):
    """Replaces an environment that raises, or whose observations or rewards are not finite.

    Args:
        make: Makes the environment; called again after each fault.

    Raises:
        EnvironmentFaultError: From ``step`` and ``reset``, if it breaks more than five times within
            10,000 steps: then a new environment does not help.
    """

    def __init__(self, make: Callable[[], gym.Env[Any, Any]]) -> None:
        super().__init__(make())
        self.n_faults = 0
        """Number of faults so far."""
        self._make = make
        self._seed = 0
        self._n_steps = 0
        self._faults: deque[int] = deque(maxlen=_MOST_FAULTS)
        self._last: Any = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Resets; if that fails, in a new environment."""
        self._seed = self._seed if seed is None else seed
        while True:
            try:
                observation, info = self.env.reset(seed=seed, options=options)
                if trouble := _not_finite(observation):
                    raise ValueError(trouble)
            except Exception as error:
                # An environment may raise anything.
                self._replace(error)
                seed = None
            else:
                self._last = observation
                return observation, info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Steps; if that fails, the episode is truncated at the last known observation."""
        self._n_steps += 1
        try:
            observation, reward, terminated, truncated, info = self.env.step(action)
            reward = _one_number(reward)
            if trouble := _not_finite(observation) or _not_finite(reward, "reward"):
                raise ValueError(trouble)
        except Exception as error:
            self._replace(error)
            return self._last, 0.0, False, True, {FAULT_KEY: str(error)}
        self._last = observation
        return observation, reward, terminated, truncated, info

    def _replace(self, error: Exception) -> None:
        """Makes a new environment, seeded so that the next episode can be repeated."""
        while True:
            self.n_faults += 1
            too_often = (
                len(self._faults) == _MOST_FAULTS
                and self._n_steps - self._faults[0] < _WITHIN_STEPS
            )
            self._faults.append(self._n_steps)
            where = f"after {self._n_steps} steps: {type(error).__name__}: {error}"
            if too_often:
                raise EnvironmentFaultError(
                    f"expected an environment that works, but {self.spec and self.spec.id} broke "
                    f"{_MOST_FAULTS + 1} times within {_WITHIN_STEPS:,} steps, the last time "
                    f"{where}; fix the environment. What was learned so far is kept."
                ) from error
            _log.warning("an environment broke %s; making a new one.", where)
            derived = np.random.SeedSequence([self._seed, self.n_faults]).generate_state(1)
            try:
                self.env.close()
            except Exception as closing:
                _log.warning("the broken environment did not close: %s", closing)
            try:
                self.env = self._make()
                self.env.reset(seed=int(derived[0]))
            except Exception as again:
                error = again
            else:
                return


def _one_number(reward: Any) -> Any:
    """Converts a reward that is an array of one number to that number."""
    if isinstance(reward, float | int):
        return reward
    if np.size(reward) != 1:
        raise ValueError(f"the reward is {np.size(reward)} numbers, not one")
    return np.asarray(reward).item()


def _not_finite(value: Any, name: str = "observation") -> str:
    """Describes what is not finite in a number or array; empty if everything is finite."""
    if isinstance(value, Mapping):
        return next(filter(None, (_not_finite(part, str(key)) for key, part in value.items())), "")
    if isinstance(value, float | int):
        return "" if math.isfinite(value) else f"the {name} is {value}"
    array = np.asarray(value)
    # The square is a quick test (0.6 us for 17 numbers); it may overflow for finite numbers.
    if array.dtype.kind != "f" or math.isfinite(np.vdot(array, array)):
        return ""
    if np.isfinite(array).all():
        return ""
    where = np.flatnonzero(~np.isfinite(array.ravel()))
    return f"the {name} is not finite at {where[:5].tolist()}"
