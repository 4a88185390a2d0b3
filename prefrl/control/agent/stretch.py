"""Measures the reward over one rollout, or over several short ones together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prefrl.control.queries import disagreement_of_rollout
from prefrl.control.reward.correlation import correlation

__all__ = ["Stretch"]

_STEPS = 1000


class Stretch:
    """Gathers rollouts for one row of metrics.

    A rollout of at least a segment's length is a row of its own. A2C's rollouts have only five
    steps: a run has hundreds of thousands of them, and none is long enough to measure disagreement.

    Args:
        segment_length: Steps per segment.
        n_envs: Number of parallel environments (N).
    """

    def __init__(self, segment_length: int, n_envs: int) -> None:
        self._segment_length = segment_length
        self._n_envs = n_envs
        self._parts: list[tuple[NDArray[Any], ...]] = []
        self._fit_steps = 0

    def add(
        self,
        true_rewards: NDArray[np.float64],
        rewards: NDArray[np.float32],
        raw: NDArray[np.float32],
        *,
        fit_steps: int,
    ) -> None:
        """Adds a rollout.

        Args:
            true_rewards: True rewards, shape (T, N).
            rewards: The agent's rewards, shape (T, N).
            raw: Raw step rewards of the members, shape (M, T, N).
            fit_steps: Gradient steps of the fit that scored it if the fit is new; else 0.
        """
        self._parts.append((true_rewards, rewards, raw))
        self._fit_steps += fit_steps

    @property
    def n_steps(self) -> int:
        """Steps of each environment so far."""
        return sum(len(true_rewards) for true_rewards, _, _ in self._parts)

    @property
    def is_whole(self) -> bool:
        """Whether there are enough steps for a row."""
        if self._parts and len(self._parts[0][0]) >= self._segment_length:
            return True
        return self.n_steps >= max(self._segment_length, _STEPS / self._n_envs)

    def take(self) -> dict[str, float | int]:
        """Returns the figures so far, and starts again."""
        true_rewards, rewards, raw = (
            parts[0] if len(parts) == 1 else np.concatenate(parts, axis=-2)
            for parts in zip(*self._parts, strict=True)
        )
        fit_steps, self._fit_steps = self._fit_steps, 0
        self._parts.clear()
        return {
            "predicted_reward_mean": float(rewards.mean()),
            "predicted_reward_std": float(rewards.std()),
            "reward_correlation": correlation(rewards, true_rewards),
            "disagreement": disagreement_of_rollout(raw, self._segment_length),
            "fit_steps": fit_steps,
        }

    def state_dict(self) -> dict[str, Any]:
        """The state for a checkpoint."""
        return {"parts": [list(part) for part in self._parts], "fit_steps": self._fit_steps}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores a state."""
        self._parts = [tuple(part) for part in state["parts"]]
        self._fit_steps = state["fit_steps"]
