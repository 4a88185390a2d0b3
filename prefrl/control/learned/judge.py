"""The learned reward of environments while they are stepped."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from prefrl.control.environments.endings import ended_of, numbers_after
from prefrl.control.environments.frames import History
from prefrl.control.environments.rollout import Rollout
from prefrl.control.environments.spaces import encode_actions, layout_of
from prefrl.control.preferences import StepReward

__all__ = ["Judge"]


class Judge:
    """Gives rewards step by step, and keeps the earlier pictures that the net needs.

    Args:
        net: The reward.
        observation_space: Observation space of one environment.
        action_space: Action space of one environment.
        n_envs: Number of parallel environments (N).
    """

    def __init__(
        self,
        net: StepReward,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        n_envs: int,
    ) -> None:
        self._net = net
        self._layout = layout_of(observation_space)
        self._action_space = action_space
        self._history: History | None = None
        if self._layout.picture is not None:
            self._history = History(net.n_before + 1, n_envs, self._layout.picture)

    def rewards(
        self,
        observations: Any,
        actions: NDArray[Any],
        after: Any,
        dones: NDArray[Any],
        infos: list[dict[str, Any]],
    ) -> NDArray[np.float32]:
        """Returns the rewards of one step of each environment, shape (N,).

        Args:
            observations: Observations before the step.
            actions: Actions of the step.
            after: Observations that the step returned.
            dones: Which episodes are over, shape (N,).
            infos: Infos that the step returned.
        """
        numbers, pictures = self._layout.split(observations)
        if self._history is not None and pictures is not None:
            self._history.push(pictures)
        nothing = np.zeros((1, len(numbers)))
        step = Rollout(
            observations=numbers[None],
            actions=encode_actions(actions, self._action_space)[None],
            true_rewards=nothing,
            dones=nothing.astype(np.bool_),
            states=None,
            frames=None if self._history is None else self._history.frames,
            next_observations=numbers_after(self._layout, after, dones, infos)[None],
            ended=ended_of(dones, infos)[None],
        )
        reward, _ = self._net.predict(step)
        return np.asarray(reward[0])

    def forget(self, dones: NDArray[Any]) -> None:
        """Forgets the pictures of episodes that have ended."""
        if self._history is not None:
            self._history.forget(np.flatnonzero(dones))
