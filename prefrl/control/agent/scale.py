"""Scales the learned reward in the same way as a true reward."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.running_mean_std import RunningMeanStd

__all__ = ["ReturnScale"]

_CLIP, _EPSILON = 10.0, 1e-8  # VecNormalize's own


class ReturnScale:
    """Divides rewards by the running standard deviation of their discounted return.

    On-policy agents get the true reward through Stable-Baselines3's ``VecNormalize``, which scales
    it so that the discounted *return* has a standard deviation of 1. The learned reward has 1 per
    *step*, which is ten to fifty times as much: the gradient of the value loss would then dominate
    the clipped gradient that policy and values share, and a comparison with the true reward would
    also compare two learning rates. So the learned reward goes through the same formula here.

    The constants are part of the agent's state, not of the published weights. They are moments over
    all rollouts since the first fit, as those of ``VecNormalize`` are over all steps. So they
    change ever more slowly, and a new reward changes them by no more than one rollout's share.

    Args:
        n_envs: Number of parallel environments (N).
        gamma: The agent's discount.
    """

    def __init__(self, n_envs: int, gamma: float) -> None:
        self._gamma = gamma
        self._returns = np.zeros(n_envs)
        self._moments = RunningMeanStd(shape=())

    def __call__(
        self, rewards: NDArray[np.float32], dones: NDArray[np.bool_]
    ) -> NDArray[np.float32]:
        """Updates the constants with a rollout, and scales its rewards.

        Args:
            rewards: Learned rewards, shape (T, N).
            dones: Whether the step was the last of its episode, shape (T, N).

        Returns:
            Scaled rewards, shape (T, N), in [-10, 10].
        """
        returns = np.empty(rewards.shape)
        for t, (reward, done) in enumerate(zip(rewards, dones, strict=True)):
            self._returns = self._returns * self._gamma + reward
            returns[t] = self._returns
            self._returns[done] = 0.0
        self._moments.update(returns.reshape(-1))
        scaled = rewards / np.sqrt(self._moments.var + _EPSILON)
        return np.clip(scaled, -_CLIP, _CLIP).astype(np.float32)

    def forget(self, env: int) -> None:
        """Restarts the return of an environment whose episode was cut off."""
        self._returns[env] = 0.0

    def state_dict(self) -> dict[str, Any]:
        """The state for a checkpoint."""
        m = self._moments
        return {"returns": self._returns.copy(), "moments": [float(m.mean), float(m.var), m.count]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores a state."""
        self._returns = state["returns"].copy()
        mean, var, count = state["moments"]
        self._moments.mean, self._moments.var = np.asarray(mean), np.asarray(var)
        self._moments.count = count
