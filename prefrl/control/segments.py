"""Segments: fixed-length pieces of trajectories, cut from rollouts, kept in a bounded pool."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prefrl.control.hide_reward import Rollout
from prefrl.core.comparisons import Item

__all__ = ["Segment", "SegmentPool", "SegmentSampler", "load_segment", "save_segment"]


@dataclass(frozen=True, eq=False)
class Segment:
    """A fixed-length piece of one episode: data only, and no true reward.

    The true reward is kept apart on purpose: only an oracle or an evaluation may ask for it, by the
    segment's id.
    """

    id: str
    """A name that is unique within a run."""
    observations: NDArray[np.float32]
    """What the agent saw before each action, flattened, shape (T, O)."""
    actions: NDArray[np.float32]
    """What it did: shape (T, A); discrete actions are one-hot."""
    states: NDArray[np.float64] | None = None
    """Simulator states before each action, shape (T, S), for films; None where unknown."""
    env_steps: int = 0
    """Environment steps of the whole run when the segment was cut."""

    def __len__(self) -> int:
        return len(self.observations)


class SegmentSampler:
    """Cuts the trajectories of N environments into segments that never straddle episodes.

    A trajectory is cut from the start of its episode on, without overlap; what is left at the end
    of an episode is dropped, what is left at the end of a rollout is carried into the next.

    Args:
        segment_length: Steps per segment (T).
        n_envs: Environments side by side.
    """

    def __init__(self, segment_length: int, n_envs: int) -> None:
        self.segment_length = segment_length
        self._open: list[list[_Stretch]] = [[] for _ in range(n_envs)]
        self._n_cut = 0

    def cut(self, rollout: Rollout, *, env_steps: int) -> list[tuple[Segment, NDArray[np.float64]]]:
        """Cuts a rollout.

        Args:
            rollout: What happened since the last call.
            env_steps: Environment steps of the whole run so far.

        Returns:
            Each new segment with its true step rewards, shape (T,), for oracles only.
        """
        cut: list[tuple[Segment, NDArray[np.float64]]] = []
        for env, stretches in enumerate(self._open):
            ends = np.flatnonzero(rollout.dones[:, env]) + 1
            start = 0
            for end in [*ends.tolist(), len(rollout.dones)]:
                while start < end:
                    missing = self.segment_length - sum(len(s) for s in stretches)
                    stretch = _Stretch(rollout, env, start, min(start + missing, end))
                    stretches.append(stretch)
                    start = stretch.stop
                    if len(stretch) == missing:
                        cut.append(self._join(stretches, env_steps))
                        stretches.clear()
                if end in ends:
                    stretches.clear()
            # Carried steps must not keep their whole rollout alive.
            stretches[:] = [stretch.copied() for stretch in stretches]
        return cut

    def _join(
        self, stretches: list[_Stretch], env_steps: int
    ) -> tuple[Segment, NDArray[np.float64]]:
        states = [s.of(s.rollout.states) for s in stretches if s.rollout.states is not None]
        segment = Segment(
            id=f"s{self._n_cut:07d}",
            observations=np.concatenate([s.of(s.rollout.observations) for s in stretches]),
            actions=np.concatenate([s.of(s.rollout.actions) for s in stretches]),
            states=np.concatenate(states) if len(states) == len(stretches) else None,
            env_steps=env_steps,
        )
        self._n_cut += 1
        return segment, np.concatenate([s.of(s.rollout.true_rewards) for s in stretches])


@dataclass(frozen=True)
class _Stretch:
    """Steps start to stop of one environment of a rollout."""

    rollout: Rollout
    env: int
    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start

    def of(self, array: NDArray[Any]) -> NDArray[Any]:
        """These steps of an array (T, N, ...)."""
        return array[self.start : self.stop, self.env]

    def copied(self) -> _Stretch:
        """The same steps as a rollout of their own."""
        r, rows, columns = self.rollout, slice(self.start, self.stop), slice(self.env, self.env + 1)
        own = Rollout(
            observations=r.observations[rows, columns].copy(),
            actions=r.actions[rows, columns].copy(),
            true_rewards=r.true_rewards[rows, columns].copy(),
            dones=r.dones[rows, columns].copy(),
            states=None if r.states is None else r.states[rows, columns].copy(),
        )
        return _Stretch(own, 0, 0, len(self))


class SegmentPool:
    """The newest segments, from which pairs are chosen, and apart from them their true rewards.

    Old segments waste queries (QPA; rl-teacher keeps the newest 200): the pool forgets them. What
    was put to a labeller is kept for good with ``keep``.

    Args:
        size: Segments at most.
    """

    def __init__(self, size: int) -> None:
        self._segments: deque[Segment] = deque(maxlen=size)
        self._true_rewards: dict[str, NDArray[np.float64]] = {}
        self.kept: dict[str, Segment] = {}
        """Segments that were put to a labeller, by id."""

    def __len__(self) -> int:
        return len(self._segments)

    def __getitem__(self, position: int) -> Segment:
        return self._segments[position]

    def add(self, segment: Segment, true_rewards: NDArray[np.float64]) -> None:
        """Adds a segment with its true step rewards, shape (T,); the oldest one may have to go."""
        if len(self._segments) == self._segments.maxlen:
            oldest = self._segments[0]
            if oldest.id not in self.kept:
                del self._true_rewards[oldest.id]
        self._segments.append(segment)
        self._true_rewards[segment.id] = true_rewards

    def keep(self, *segments: Segment) -> None:
        """Keeps segments and their true rewards however old they get."""
        self.kept.update((segment.id, segment) for segment in segments)

    def true_rewards(self, item: Item) -> NDArray[np.float64]:
        """True step rewards of a segment, shape (T,): for oracles and evaluation only."""
        return self._true_rewards[item.id]

    def recent(self, n: int) -> list[Segment]:
        """The n newest segments, or all there are."""
        return list(self._segments)[-n:]

    def random_pairs(
        self, n: int, asked: Collection[frozenset[str]], rng: np.random.Generator
    ) -> list[tuple[Segment, Segment]]:
        """Up to n different pairs of different segments, drawn at random, without those asked."""
        drawn = rng.integers(len(self._segments), size=(2 * n, 2))
        pairs: dict[frozenset[str], tuple[Segment, Segment]] = {}
        for left, right in drawn.tolist():
            pair = (self._segments[left], self._segments[right])
            key = frozenset((pair[0].id, pair[1].id))
            if left != right and key not in asked and key not in pairs:
                pairs[key] = pair
                if len(pairs) == n:
                    break
        return list(pairs.values())


def save_segment(path: Path, segment: Segment) -> None:
    """Writes a segment to an .npz file, without pickles."""
    states = {} if segment.states is None else {"states": segment.states}
    np.savez(
        path,
        allow_pickle=False,
        env_steps=segment.env_steps,
        observations=segment.observations,
        actions=segment.actions,
        **states,
    )


def load_segment(path: Path) -> Segment:
    """Reads what ``save_segment`` wrote; the id is the file's name."""
    with np.load(path, allow_pickle=False) as arrays:
        return Segment(
            id=path.stem,
            observations=arrays["observations"],
            actions=arrays["actions"],
            states=arrays["states"] if "states" in arrays else None,
            env_steps=int(arrays["env_steps"]),
        )
