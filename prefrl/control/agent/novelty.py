"""A reward for new states, until there is a learned reward."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.running_mean_std import RunningMeanStd

from prefrl.control.agent.replay_buffer import RelabelledReplayBuffer
from prefrl.control.environments.rollout import Rollout
from prefrl.control.environments.spaces import Layout
from prefrl.errors import UnsupportedSpaceError

__all__ = ["BufferNovelty", "RolloutNovelty", "distance_to_nearest"]

_K = 5
_SEEN = 1000
_AT_ONCE = 1000  # states, which bounds the memory
_SMALLEST = 1e-6
_NOTHING = 1e-9


class _Distances:
    """Distances to earlier states, scaled to a standard deviation of 1.

    As in PEBBLE (Lee et al. 2021, section 4.1 and appendix B), the distance of a state to the 5th
    nearest visited state estimates the states' entropy, and is divided by its running standard
    deviation. Before that, each number of a state is divided by its standard deviation over new and
    visited states together, so that a number that never varied before has a scale, too.
    """

    def __init__(self) -> None:
        self._moments = RunningMeanStd(shape=())

    def __call__(
        self, states: NDArray[np.floating], seen: NDArray[np.floating]
    ) -> NDArray[np.float32]:
        """Returns rewards (B,) of states (B, O), given visited states (S, O)."""
        scale = np.maximum(np.concatenate([states, seen]).std(0), _SMALLEST)
        distances = distance_to_nearest(states / scale, seen / scale)
        self._moments.update(distances)
        return (distances / np.sqrt(self._moments.var + _SMALLEST)).astype(np.float32)

    def state_dict(self) -> list[float]:
        """The state for a checkpoint."""
        m = self._moments
        return [float(m.mean), float(m.var), m.count]

    def load_state_dict(self, state: Sequence[float]) -> None:
        """Restores a state."""
        mean, var, count = state
        self._moments.mean, self._moments.var = np.asarray(mean), np.asarray(var)
        self._moments.count = count


class BufferNovelty:
    """Rewards stored states by their distance to a thousand evenly spaced stored states.

    Args:
        buffer: The agent's replay buffer.
        layout: Layout of the observations.

    Raises:
        UnsupportedSpaceError: For pictures, whose pixels say little about distances.
    """

    def __init__(self, buffer: RelabelledReplayBuffer, layout: Layout) -> None:
        if layout.picture is not None:
            raise UnsupportedSpaceError(
                "expected observations without pictures for explore_steps, got "
                f"{layout.picture}; leave explore_steps out."
            )
        self._buffer = buffer
        self._layout = layout
        self._distances = _Distances()

    def rewards(self, observations: Any, *rest: Any) -> NDArray[np.float32]:
        """Returns the rewards of stored transitions.

        Args:
            observations: Observations as in the buffer, shape (B, ...), or a dict of them.
            *rest: The other parts of the transitions, which are ignored.

        Returns:
            Rewards, shape (B,), with a standard deviation of about 1.
        """
        n = self._buffer.size()
        rows = np.unique(np.linspace(0, n - 1, min(n, _SEEN)).astype(int))
        envs = np.arange(len(rows)) % self._buffer.n_envs
        stored = self._buffer.stored(self._buffer.observations, (rows, envs))
        return self._distances(self._layout.numbers(observations), self._layout.numbers(stored))

    def state_dict(self) -> dict[str, Any]:
        """The state for a checkpoint."""
        return {"moments": self._distances.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores a state."""
        self._distances.load_state_dict(state["moments"])


class RolloutNovelty:
    """Rewards the steps of a rollout by the distances of their next states to all states so far.

    It keeps one to two thousand states, evenly spaced over all states so far.
    """

    def __init__(self) -> None:
        self._distances = _Distances()
        self._seen: NDArray[np.float32] | None = None
        self._stride, self._next = 1, 0  # keeps every stride-th state, beginning with the next-th

    def __call__(self, rollout: Rollout) -> NDArray[np.float32]:
        """Adds a rollout, and returns the reward of its steps, shape (T, N)."""
        after = rollout.next_observations
        states = rollout.observations if after is None else after
        flat = states.reshape(-1, states.shape[-1])
        self._take_in(flat)
        assert self._seen is not None
        return self._distances(flat, self._seen).reshape(rollout.dones.shape)

    def _take_in(self, states: NDArray[np.float32]) -> None:
        kept = states[self._next :: self._stride]
        self._next = (self._next - len(states)) % self._stride
        self._seen = kept if self._seen is None else np.concatenate([self._seen, kept])
        while len(self._seen) > 2 * _SEEN:
            # Keeps every second one including the newest, so that the next one is a stride later.
            self._seen = self._seen[len(self._seen) % 2 == 0 :: 2].copy()
            self._next, self._stride = self._next + self._stride, 2 * self._stride

    def state_dict(self) -> dict[str, Any]:
        """The state for a checkpoint."""
        return {
            "seen": self._seen,
            "stride": [self._stride, self._next],
            "moments": self._distances.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores a state."""
        self._seen, (self._stride, self._next) = state["seen"], state["stride"]
        self._distances.load_state_dict(state["moments"])


def distance_to_nearest(
    states: NDArray[np.floating], seen: NDArray[np.floating], k: int = _K
) -> NDArray[np.float64]:
    """Returns the distance of each state to its k-th nearest neighbour, itself not counted.

    Args:
        states: States, shape (B, O).
        seen: Possible neighbours, shape (S, O). One at distance 0 counts as the state itself.
        k: Number of the neighbour; the farthest is taken if there are fewer.

    Returns:
        Distances, shape (B,).
    """
    if len(states) > _AT_ONCE:
        parts = np.array_split(states, -(-len(states) // _AT_ONCE))
        return np.concatenate([distance_to_nearest(part, seen, k) for part in parts])
    a, b = states.astype(np.float64), seen.astype(np.float64)
    squares = np.square(a).sum(1)[:, None] + np.square(b).sum(1)[None] - 2 * a @ b.T  # (B, S)
    last = min(k, len(b) - 1)
    nearest = np.sort(np.partition(squares, last, axis=1)[:, : last + 1], axis=1)
    # A difference of large squares is rarely exactly 0.
    finds_itself = nearest[:, 0] <= _NOTHING * (1 + np.square(a).sum(1))
    place = np.where(finds_itself, last, min(k - 1, last))
    return np.asarray(np.sqrt(np.maximum(nearest[np.arange(len(a)), place], 0.0)))
