"""A reward for what has not been seen, for the time before there is a learned one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.running_mean_std import RunningMeanStd

from prefrl.control.agent.replay_buffer import RelabelledReplayBuffer
from prefrl.control.environments.spaces import Layout
from prefrl.errors import UnsupportedSpaceError

__all__ = ["Novelty", "distance_to_nearest"]

_K = 5
_SEEN = 1000
_SMALLEST = 1e-6
_NOTHING = 1e-9


class Novelty:
    """Rewards a state by its distance to the 5th nearest of those in the buffer.

    PEBBLE (Lee et al. 2021, section 4.1 and appendix B): the distance estimates the entropy of the
    states visited, and is divided by its running standard deviation. Distances are to a thousand of
    the stored states, drawn evenly, whose numbers are standardised first.

    Args:
        buffer: What the agent has seen.
        layout: How observations are taken apart.

    Raises:
        UnsupportedSpaceError: For pictures: their pixels say little about distances.
    """

    def __init__(self, buffer: RelabelledReplayBuffer, layout: Layout) -> None:
        if layout.picture is not None:
            raise UnsupportedSpaceError(
                "expected observations without pictures for explore_steps, got "
                f"{layout.picture}; leave explore_steps out."
            )
        self._buffer = buffer
        self._layout = layout
        self._moments = RunningMeanStd(shape=())

    def rewards(self, observations: Any, *rest: Any) -> NDArray[np.float32]:
        """The reward of stored transitions.

        Args:
            observations: As the buffer has them, shape (B, ...), or a dict of such.
            *rest: What else there is of the transitions, not looked at.

        Returns:
            Shape (B,), at a standard deviation of 1.
        """
        n = self._buffer.size()
        rows = np.unique(np.linspace(0, n - 1, min(n, _SEEN)).astype(int))
        envs = np.arange(len(rows)) % self._buffer.n_envs
        stored = self._buffer.stored(self._buffer.observations, (rows, envs))
        seen = self._layout.numbers(stored)
        scale = np.maximum(seen.std(0), _SMALLEST)
        distances = distance_to_nearest(self._layout.numbers(observations) / scale, seen / scale)
        self._moments.update(distances)
        return (distances / np.sqrt(self._moments.var + _SMALLEST)).astype(np.float32)

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        m = self._moments
        return {"moments": [float(m.mean), float(m.var), m.count]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes back to a state."""
        mean, var, count = state["moments"]
        self._moments.mean, self._moments.var = np.asarray(mean), np.asarray(var)
        self._moments.count = count


def distance_to_nearest(
    states: NDArray[np.floating], seen: NDArray[np.floating], k: int = _K
) -> NDArray[np.float64]:
    """Distance of each state to the k-th nearest of others, itself not counted.

    Args:
        states: Shape (B, O).
        seen: Shape (S, O). One at distance 0 counts as the state itself.
        k: Which neighbour; the farthest where there are fewer.

    Returns:
        Shape (B,).
    """
    a, b = states.astype(np.float64), seen.astype(np.float64)
    squares = np.square(a).sum(1)[:, None] + np.square(b).sum(1)[None] - 2 * a @ b.T  # (B, S)
    last = min(k, len(b) - 1)
    nearest = np.sort(np.partition(squares, last, axis=1)[:, : last + 1], axis=1)
    # The difference of large squares is seldom exactly 0.
    finds_itself = nearest[:, 0] <= _NOTHING * (1 + np.square(a).sum(1))
    place = np.where(finds_itself, last, min(k - 1, last))
    return np.asarray(np.sqrt(np.maximum(nearest[np.arange(len(a)), place], 0.0)))
