"""Exploration of an on-policy agent: the noise of its actions after the reward has changed."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3.common.base_class import BaseAlgorithm

from prefrl.errors import ConfigError

__all__ = ["Exploration", "ExplorationConfig", "rank_correlation"]


@dataclass(frozen=True)
class ExplorationConfig:
    """What keeps an on-policy agent from settling too early."""

    min_std: float = 0.0
    """Lower limit for the standard deviation of the noise on continuous actions."""
    renew_below: float | None = None
    """Reset the noise to its initial standard deviation when a new reward ranks the steps of the
    newest rollout differently from the old one: when their Spearman correlation is below this."""
    novelty: bool = True
    """While all answers are ties, reward states that are far from those seen before, so that there
    is something to compare. Not with pictures."""

    def __post_init__(self) -> None:
        if not 0 <= self.min_std < math.inf:
            raise ConfigError(f"min_std must not be negative, got {self.min_std}.")
        if self.renew_below is not None and not -1 <= self.renew_below <= 1:
            raise ConfigError(f"renew_below is a correlation, got {self.renew_below}.")


class Exploration:
    """Controls the noise of a policy's actions.

    An agent whose noise shrank while the reward was wrong no longer explores enough once the reward
    is right.

    Args:
        model: The agent. A policy without noise of its own, as for discrete actions, is left alone.
        config: Settings.
    """

    def __init__(self, model: BaseAlgorithm, config: ExplorationConfig) -> None:
        self._config = config
        self._log_std: torch.nn.Parameter | None = getattr(model.policy, "log_std", None)
        self._first = float(getattr(model.policy, "log_std_init", 0.0))

    @property
    def compares(self) -> bool:
        """Whether ``reward_changed`` needs the rewards before and after."""
        return self._log_std is not None and self._config.renew_below is not None

    @torch.no_grad()
    def reward_changed(self, before: NDArray[np.float32], after: NDArray[np.float32]) -> bool:
        """Renews the noise if a new reward differs much from the old one.

        Args:
            before: The old reward's values for the newest rollout, shape (T, N).
            after: The new reward's values, shape (T, N).

        Returns:
            Whether the noise was renewed.
        """
        if self._log_std is None or self._config.renew_below is None:
            return False
        # NaN if one of them is constant, as before the first fit: then there is nothing to forget.
        if not rank_correlation(before, after) < self._config.renew_below:
            return False
        self._log_std.clamp_(min=self._first)
        return True

    @torch.no_grad()
    def keep_noise(self) -> None:
        """Raises the noise to its lower limit."""
        if self._log_std is not None and self._config.min_std > 0:
            self._log_std.clamp_(min=math.log(self._config.min_std))


def rank_correlation(left: NDArray[np.floating], right: NDArray[np.floating]) -> float:
    """Returns Spearman's correlation of two arrays of equal shape; NaN if one is constant."""
    if np.ptp(left) == 0 or np.ptp(right) == 0:
        return math.nan
    a, b = (np.argsort(np.argsort(part.ravel())) for part in (left, right))
    return float(np.corrcoef(a, b)[0, 1])
