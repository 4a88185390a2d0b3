"""The candidate pool: the newest segments and, optionally, a sample of all segments so far."""

from __future__ import annotations

import heapq
import itertools
from collections import deque
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prefrl.control.environments.frames import PackedFrames
from prefrl.control.environments.journals import from_state, shared_from_state, shared_state
from prefrl.control.segments import OVER, Segment
from prefrl.core.comparisons import Item

__all__ = ["SegmentPool", "SegmentReservoir"]

_Rewarded = tuple[Segment, NDArray[np.float64]]
"""A segment and its true step rewards, shape (T,)."""


class SegmentReservoir:
    """A uniform sample of all segments so far.

    Each segment draws a number, and those with the smallest numbers stay. So the sample is uniform
    at any moment, even if its size in bytes is the limit: then the highest number that may stay
    falls for all segments alike.

    Args:
        size: Most segments to keep.
        max_bytes: Bytes that their content may take; at least two segments are kept.
        rng: Random number generator, from which each added segment draws one number.
    """

    def __init__(self, size: int, *, max_bytes: int, rng: np.random.Generator) -> None:
        self._size = size
        self._max_bytes = max_bytes
        self._rng = rng
        self._nbytes = 0
        self._n_seen = 0
        self._below = 1.0
        # A heap with the largest number at its top; the running count of segments breaks ties.
        self._kept: list[tuple[float, int, _Rewarded]] = []

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def segments(self) -> list[Segment]:
        """The sample, the oldest first."""
        return [segment for _, _, (segment, _) in self._in_order()]

    def add(self, segment: Segment, true_rewards: NDArray[np.float64]) -> None:
        """Offers a segment with its true step rewards, shape (T,), which is kept at random."""
        number = self._rng.random()
        self._n_seen += 1
        if number >= self._below:
            return
        heapq.heappush(self._kept, (-number, self._n_seen, (segment, true_rewards)))
        self._nbytes += segment.nbytes
        while len(self._kept) > self._size or (
            self._nbytes > self._max_bytes and len(self._kept) > 2
        ):
            largest, _, (gone, _) = heapq.heappop(self._kept)
            self._below = -largest
            self._nbytes -= gone.nbytes

    def true_rewards(self, item: Item) -> NDArray[np.float64]:
        """Returns a segment's true step rewards, shape (T,), for oracles and evaluation only."""
        for _, _, (segment, rewards) in self._kept:
            if segment.id == item.id:
                return rewards
        raise KeyError(item.id)

    def _in_order(self) -> list[tuple[float, int, _Rewarded]]:
        return sorted(self._kept, key=lambda kept: kept[1])

    def state_dict(self) -> dict[str, Any]:
        """The state for a checkpoint: segments, their true rewards and numbers."""
        kept = self._in_order()
        return {
            "segments": _as_state([rewarded for _, _, rewarded in kept]),
            "numbers": [-number for number, _, _ in kept],
            "counts": [count for _, count, _ in kept],
            "n_seen": self._n_seen,
            "below": self._below,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores a state."""
        rewarded = _from_state(state["segments"])
        rows = zip(state["numbers"], state["counts"], rewarded, strict=True)
        self._kept = [(-number, count, one) for number, count, one in rows]
        heapq.heapify(self._kept)
        self._nbytes = sum(segment.nbytes for segment, _ in rewarded)
        self._n_seen, self._below = state["n_seen"], state["below"]


class SegmentPool:
    """The newest segments, from which candidates are drawn, with separate true rewards.

    Old segments waste queries (QPA; rl-teacher keeps the newest 200), so the pool forgets them. But
    if all new segments look alike, older ones teach more: PPE (NeurIPS 2025) draws half of its
    candidates from the newest segments and half from the whole history.

    Args:
        size: Most segments to keep.
        max_bytes: Bytes that their content may take; at least two segments are kept.
        history: A sample that is also offered each segment; None without a history.
    """

    def __init__(
        self, size: int, *, max_bytes: int = 2**29, history: SegmentReservoir | None = None
    ) -> None:
        self.nbytes = 0
        """Size of the newest segments' content, in bytes."""
        self._size = size
        self._max_bytes = max_bytes
        self._history = history
        self._segments: deque[Segment] = deque()
        self._true_rewards: dict[str, NDArray[np.float64]] = {}

    def __len__(self) -> int:
        return len(self._segments)

    def __getitem__(self, position: int) -> Segment:
        return self._segments[position]

    def add(self, segment: Segment, true_rewards: NDArray[np.float64]) -> None:
        """Adds a segment with its true step rewards, shape (T,); may remove the oldest ones."""
        if self._history is not None:
            self._history.add(segment, true_rewards)
        self._segments.append(segment)
        self._true_rewards[segment.id] = true_rewards
        self.nbytes += segment.nbytes
        while len(self._segments) > self._size or (
            self.nbytes > self._max_bytes and len(self._segments) > 2
        ):
            oldest = self._segments.popleft()
            del self._true_rewards[oldest.id]
            self.nbytes -= oldest.nbytes

    @property
    def shows_endings(self) -> bool:
        """Whether an episode ended by itself in one of the newest segments."""
        return any(segment.n_held for segment in self._segments)

    def true_rewards(self, item: Item) -> NDArray[np.float64]:
        """Returns a segment's true step rewards, shape (T,), for oracles and evaluation only."""
        if isinstance(item, Segment) and item.is_over:
            return np.zeros(len(item))
        if item.id not in self._true_rewards and self._history is not None:
            return self._history.true_rewards(item)
        return self._true_rewards[item.id]

    def recent(self, n: int) -> list[Segment]:
        """Returns the n newest segments, or all if there are fewer."""
        return list(self._segments)[-n:]

    def state_dict(self) -> dict[str, Any]:
        """The state for a checkpoint: all segments and their true rewards."""
        state = _as_state([(s, self._true_rewards[s.id]) for s in self._segments])
        return state if self._history is None else state | {"history": self._history.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores a state."""
        rewarded = _from_state(state)
        self._segments = deque(segment for segment, _ in rewarded)
        self._true_rewards = {segment.id: rewards for segment, rewards in rewarded}
        self.nbytes = sum(segment.nbytes for segment, _ in rewarded)
        if self._history is not None:
            self._history.load_state_dict(state["history"])

    def random_candidates(
        self,
        n: int,
        size: int,
        asked: Collection[frozenset[str]],
        rng: np.random.Generator,
        *,
        history_share: float = 0.0,
        early_share: float = 0.0,
        ending_share: float = 0.0,
        over_share: float = 0.0,
    ) -> list[tuple[Segment, ...]]:
        """Draws up to n candidates; no two have a pair of segments in common.

        Args:
            n: Most candidates to draw.
            size: Number of segments in each.
            asked: Pairs of ids that no candidate may contain.
            rng: Random number generator.
            history_share: Share of the candidates whose segments are all from the history. If that
                gives too few, the newest segments make up for it.
            early_share: Share of the segments that are drawn only from those that start within the
                first 2 T steps of their episode, if there are any.
            ending_share: Least share of the segments in which an episode ends by itself, if there
                are any.
            over_share: Share of the candidates in which one segment is the time after such an
                ending (``Segment.when_over``).

        Returns:
            Candidates, those from the newest segments first.
        """
        found = list[tuple[Segment, ...]]()
        shares = early_share, ending_share, over_share
        if self._history is not None and (n_history := round(history_share * n)):
            found = _draw(self._history.segments, n_history, size, asked, rng, shares)
            asked = {*asked, *(pair for one in found for pair in _pairs(one))}
        newest = list(self._segments)
        return _draw(newest, n - len(found), size, asked, rng, shares) + found


def _draw(
    segments: Sequence[Segment],
    n: int,
    size: int,
    asked: Collection[frozenset[str]],
    rng: np.random.Generator,
    shares: tuple[float, float, float],
) -> list[tuple[Segment, ...]]:
    early_share, ending_share, over_share = shares
    places = rng.integers(len(segments), size=(2 * n, size))
    early = np.flatnonzero([_is_early(segment) for segment in segments]) if early_share else ()
    if len(early):
        chosen = rng.random(places.shape) < early_share
        places = np.where(chosen, rng.choice(early, size=places.shape), places)
    ending = np.flatnonzero([segment.n_held > 0 for segment in segments])
    there = len(ending) / len(segments)
    if 0 < there < ending_share:
        chosen = rng.random(places.shape) < (ending_share - there) / (1 - there)
        places = np.where(chosen, rng.choice(ending, size=places.shape), places)
    sides = np.full(len(places), -1)  # which segment of each is the time after an ending; -1: none
    if len(ending) and over_share:
        over = rng.random(len(places)) < over_share
        sides[over] = rng.integers(size, size=int(over.sum()))
        places[over, sides[over]] = rng.choice(ending, size=int(over.sum()))
    found = list[tuple[Segment, ...]]()
    asked = {frozenset(map(_name, pair)) for pair in asked}
    drawn_together = set[frozenset[str]]()
    for row, side in zip(places.tolist(), sides.tolist(), strict=True):
        if len(found) == n:
            break
        candidate = tuple(
            segments[place].when_over() if number == side else segments[place]
            for number, place in enumerate(row)
        )
        pairs = _pairs(candidate)
        new = not any(pair in asked or pair in drawn_together for pair in pairs)
        if new and len(set(row)) == size:
            found.append(candidate)
            drawn_together |= pairs
    return found


def _is_early(segment: Segment) -> bool:
    start = segment.episode_step
    return start is not None and start < 2 * len(segment)


def _pairs(candidate: Sequence[Segment]) -> set[frozenset[str]]:
    return {frozenset((_name(a.id), _name(b.id))) for a, b in itertools.combinations(candidate, 2)}


def _name(segment_id: str) -> str:
    """Returns a segment's id; all segments after an ending share one, as all are worth the same."""
    return OVER if segment_id.endswith(OVER) else segment_id


def _as_state(rewarded: Sequence[_Rewarded]) -> dict[str, Any]:
    """Returns segments and their true rewards as stacked arrays."""
    if not rewarded:
        return {}
    segments = [segment for segment, _ in rewarded]
    states = [segment.states for segment in segments if segment.states is not None]
    frames = [segment.frames for segment in segments if segment.frames is not None]
    after = [s.next_observations for s in segments if s.next_observations is not None]
    return {
        "ids": [segment.id for segment in segments],
        "env_steps": [segment.env_steps for segment in segments],
        "episode_steps": [segment.episode_step for segment in segments],
        "observations": np.stack([segment.observations for segment in segments]),
        "actions": np.stack([segment.actions for segment in segments]),
        "states": np.stack(states) if len(states) == len(segments) else None,
        "next_observations": np.stack(after) if len(after) == len(segments) else None,
        "n_held": [segment.n_held for segment in segments],
        "true_rewards": np.stack([rewards for _, rewards in rewarded]),
        "frames": [[list(f.shape), np.frombuffer(f.content, np.uint8)] for f in frames],
        "journals": shared_state([segment.journals for segment in segments]),
    }


def _from_state(state: Mapping[str, Any]) -> list[_Rewarded]:
    """Restores the segments and true rewards from ``_as_state``."""
    rewarded = list[_Rewarded]()
    ids = state.get("ids", ())
    starts = state.get("episode_steps", [None] * len(ids))  # missing in earlier releases
    after, held = state.get("next_observations"), state.get("n_held", [0] * len(ids))
    packed = [PackedFrames(tuple(shape), c.tobytes()) for shape, c in state.get("frames", ())]
    kept = state.get("journals", ())
    # Earlier releases wrote the journals segment by segment.
    shared = isinstance(kept, Mapping)
    journals = shared_from_state(kept) if shared else [from_state(one) for one in kept]
    for i, item_id in enumerate(ids):
        # Copies, so that a segment that stays does not keep all others alive.
        segment = Segment(
            id=item_id,
            observations=state["observations"][i].copy(),
            actions=state["actions"][i].copy(),
            states=None if state["states"] is None else state["states"][i].copy(),
            env_steps=state["env_steps"][i],
            episode_step=starts[i],
            frames=packed[i] if packed else None,
            journals=journals[i],
            next_observations=None if after is None else after[i].copy(),
            n_held=held[i],
        )
        rewarded.append((segment, state["true_rewards"][i].copy()))
    return rewarded
