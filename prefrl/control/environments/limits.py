"""Cuts training episodes early, like a time limit: no reward shows it, and values continue.

If nothing ends an episode, an agent that falls at its start lies there for the rest of it, and all
of its segments look alike. Short episodes, as in rl-teacher, or a new episode some steps after a
fall show more beginnings.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gymnasium as gym

__all__ = ["LimitEpisodes", "Limits", "knows_health"]


@dataclass(frozen=True)
class Limits:
    """Limits that cut training episodes."""

    horizon: int | None = None
    """Steps after which an episode is cut."""
    after_fall: int | None = None
    """Successive unhealthy steps after which an episode is cut."""
    at_endings: bool = False
    """Whether the environment's own endings are reported as time limits. Then nothing is learned
    from them, and values continue past them (Christiano et al. 2017, appendix A, hid endings
    because they reveal the true reward)."""

    def __bool__(self) -> bool:
        return self.horizon is not None or self.after_fall is not None or self.at_endings


def knows_health(env: gym.Env[Any, Any]) -> bool:
    """Whether an environment reports its health, as Gymnasium's MuJoCo walkers do."""
    return hasattr(type(env.unwrapped), "is_healthy")


class LimitEpisodes(gym.Wrapper[Any, Any, Any, Any]):
    """Truncates episodes at limits, which learners treat as time limits.

    Args:
        env: The environment; it has ``is_healthy`` if falls are a limit.
        limits: The limits.
    """

    def __init__(self, env: gym.Env[Any, Any], limits: Limits) -> None:
        super().__init__(env)
        self._limits = limits
        self._n_steps, self._n_fallen = 0, 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Resets the environment and the counts."""
        self._n_steps, self._n_fallen = 0, 0
        return self.env.reset(seed=seed, options=options)

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Steps, and truncates an episode that reaches a limit."""
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
