"""Training episodes that are cut early, as by a time limit: no reward says so, and values go on.

Where nothing ends an episode, an agent that falls at its start lies there for the rest of it, and
all that it shows is alike. Short episodes, as rl-teacher's, or a new one some steps after a fall
show more beginnings.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gymnasium as gym

__all__ = ["LimitEpisodes", "Limits", "knows_health"]


@dataclass(frozen=True)
class Limits:
    """When a training episode is cut."""

    horizon: int | None = None
    """After so many steps."""
    after_fall: int | None = None
    """After so many steps in a row in which the environment was not healthy."""
    at_endings: bool = False
    """Where the environment ends it: an ending is given out as a time limit. So nobody learns
    anything from it, and values go on behind it (Christiano et al. 2017, appendix A, hid endings,
    as they tell of the true reward)."""

    def __bool__(self) -> bool:
        return self.horizon is not None or self.after_fall is not None or self.at_endings


def knows_health(env: gym.Env[Any, Any]) -> bool:
    """Whether an environment says if it is healthy, as Gymnasium's walkers of MuJoCo do."""
    return hasattr(type(env.unwrapped), "is_healthy")


class LimitEpisodes(gym.Wrapper[Any, Any, Any, Any]):
    """Truncates episodes at limits, so that whoever learns takes it for a time limit.

    Args:
        env: With ``is_healthy``, where falls are a limit.
        limits: When.
    """

    def __init__(self, env: gym.Env[Any, Any], limits: Limits) -> None:
        super().__init__(env)
        self._limits = limits
        self._n_steps, self._n_fallen = 0, 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Resets, and counts anew."""
        self._n_steps, self._n_fallen = 0, 0
        return self.env.reset(seed=seed, options=options)

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Steps; where a limit is reached and the episode goes on, it is truncated."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        if self._limits.at_endings:
            terminated, truncated = False, terminated or truncated
        if not (terminated or truncated):
            truncated = self._is_over()
        return observation, reward, terminated, truncated, info

    def _is_over(self) -> bool:
        limits = self._limits
        self._n_steps += 1
        if limits.after_fall is not None:
            inner: Any = self.unwrapped
            self._n_fallen = 0 if inner.is_healthy else self._n_fallen + 1
            if self._n_fallen >= limits.after_fall:
                return True
        return limits.horizon is not None and self._n_steps >= limits.horizon
