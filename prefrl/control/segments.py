"""Segments: fixed-length pieces of trajectories, cut from rollouts, kept in a bounded pool."""

from __future__ import annotations

import hashlib
import itertools
from collections import deque
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prefrl.control.environments.frames import PackedFrames
from prefrl.control.environments.rollout import Journals, Rollout
from prefrl.core.comparisons import Item

__all__ = ["Segment", "SegmentPool", "SegmentSampler"]


@dataclass(frozen=True, eq=False)
class Segment:
    """A fixed-length piece of one episode: data only, and no true reward.

    The true reward is kept apart on purpose: only an oracle or an evaluation may ask for it, by the
    segment's id.
    """

    id: str
    """A name that is unique within a run."""
    observations: NDArray[np.float32]
    """What the agent saw before each action, but for pictures, flattened, shape (T, O)."""
    actions: NDArray[np.float32]
    """What it did: shape (T, A); discrete actions are one-hot."""
    states: NDArray[np.float64] | None = None
    """Simulator states before each action, shape (T, S), for films; None where unknown."""
    env_steps: int = 0
    """Environment steps of the whole run when the segment was cut."""
    frames: PackedFrames | None = None
    """Pictures before each action, shape (K + T, C, H, W), after those of the K steps before; None
    without pictures."""
    journals: Journals = field(default_factory=dict)
    """The games in ``states``, as far as the segment goes, for films."""

    def __len__(self) -> int:
        return len(self.observations)

    @property
    def nbytes(self) -> int:
        """Bytes that its content takes."""
        parts = [self.observations, self.actions, self.states, self.frames]
        kept = [*parts, *self.journals.values()]
        return sum(part.nbytes for part in kept if part is not None)


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
                        cut.append(_join(stretches, env_steps, env))
                        stretches.clear()
                if end in ends:
                    stretches.clear()
            # Carried steps must not keep their whole rollout alive.
            stretches[:] = [stretch.copied() for stretch in stretches]
        return cut

    def drop(self, env: int) -> None:
        """Forgets the open steps of an environment, whose episode was cut."""
        self._open[env].clear()

    def state_dict(self) -> dict[str, Any]:
        """The open steps of each environment."""
        opened = [_as_one(stretches) for stretches in self._open]
        return {"open": [None if one is None else _as_state(one.rollout) for one in opened]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes back to a state."""
        for stretches, content in zip(self._open, state["open"], strict=True):
            stretches.clear()
            if content is not None:
                journals = dict(content["journals"])
                rollout = Rollout(**{**content, "journals": journals})
                stretches.append(_Stretch(rollout, 0, 0, len(rollout.dones)))


def _join(
    stretches: list[_Stretch], env_steps: int, env: int
) -> tuple[Segment, NDArray[np.float64]]:
    whole = _as_one(stretches)
    assert whole is not None
    rollout = whole.rollout
    observations, actions = rollout.observations[:, 0], rollout.actions[:, 0]
    # The name says when, where and what: a run that repeats itself gives the same names, and one
    # that does not cannot give an old name to something else.
    name = hashlib.blake2b(f"{env_steps} {env} {stretches[-1].stop}".encode(), digest_size=8)
    for array in (observations, actions, rollout.frames):
        if array is not None:
            name.update(array.tobytes())
    segment = Segment(
        id=f"s{name.hexdigest()}",
        observations=observations,
        actions=actions,
        states=None if rollout.states is None else rollout.states[:, 0],
        env_steps=env_steps,
        frames=None if rollout.frames is None else PackedFrames.pack(rollout.frames[:, 0]),
        journals=rollout.journals,
    )
    return segment, rollout.true_rewards[:, 0]


def _as_one(stretches: list[_Stretch]) -> _Stretch | None:
    """Several stretches of one environment as one, copied; None if there are none."""
    if not stretches:
        return None
    parts = [stretch.copied().rollout for stretch in stretches]
    states = [part.states for part in parts if part.states is not None]
    # Only the pictures before the first part are not the last ones of the part before.
    frames = [
        part.frames[part.n_before if number else 0 :]
        for number, part in enumerate(parts)
        if part.frames is not None
    ]
    rollout = Rollout(
        observations=np.concatenate([part.observations for part in parts]),
        actions=np.concatenate([part.actions for part in parts]),
        true_rewards=np.concatenate([part.true_rewards for part in parts]),
        dones=np.concatenate([part.dones for part in parts]),
        states=np.concatenate(states) if len(states) == len(parts) else None,
        frames=np.concatenate(frames) if frames else None,
        journals={game: actions for p in parts for game, actions in p.journals.items()},
    )
    return _Stretch(rollout, 0, 0, len(rollout.dones))


@dataclass(frozen=True)
class _Stretch:
    """Steps start to stop of one environment of a rollout."""

    rollout: Rollout
    env: int
    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start

    def copied(self) -> _Stretch:
        """The same steps as a rollout of their own."""
        r, rows, columns = self.rollout, slice(self.start, self.stop), slice(self.env, self.env + 1)
        states = None if r.states is None else r.states[rows, columns].copy()
        own = Rollout(
            observations=r.observations[rows, columns].copy(),
            actions=r.actions[rows, columns].copy(),
            true_rewards=r.true_rewards[rows, columns].copy(),
            dones=r.dones[rows, columns].copy(),
            states=states,
            frames=self._frames(),
            journals=_journals(states, r.journals),
        )
        return _Stretch(own, 0, 0, len(self))

    def _frames(self) -> NDArray[np.uint8] | None:
        """The pictures with those before, which are black where the episode had not begun."""
        r = self.rollout
        if r.frames is None:
            return None
        frames = r.frames[self.start : r.n_before + self.stop, self.env : self.env + 1].copy()
        ends = np.flatnonzero(r.dones[: self.start, self.env])
        if len(ends):
            frames[: max(0, r.n_before - (self.start - 1 - int(ends[-1])))] = 0
        return frames


def _journals(states: NDArray[np.float64] | None, journals: Journals) -> Journals:
    """The games that states are of, as far as those go."""
    if states is None or not journals:
        return {}
    numbers, steps = states[:, 0, 0].astype(int), states[:, 0, 1].astype(int)
    return {
        game: journals[game][: int(steps[numbers == game].max())]
        for game in np.unique(numbers).tolist()
        if game in journals
    }


def _as_state(rollout: Rollout) -> dict[str, Any]:
    return {**vars(rollout), "journals": [list(game) for game in rollout.journals.items()]}


class SegmentPool:
    """The newest segments, from which pairs are chosen, and apart from them their true rewards.

    Old segments waste queries (QPA; rl-teacher keeps the newest 200): the pool forgets them.

    Args:
        size: Segments at most.
        max_bytes: Bytes that their content may take; at least two segments are kept.
    """

    def __init__(self, size: int, *, max_bytes: int = 2**29) -> None:
        self.nbytes = 0
        """Bytes that their content takes."""
        self._size = size
        self._max_bytes = max_bytes
        self._segments: deque[Segment] = deque()
        self._true_rewards: dict[str, NDArray[np.float64]] = {}

    def __len__(self) -> int:
        return len(self._segments)

    def __getitem__(self, position: int) -> Segment:
        return self._segments[position]

    def add(self, segment: Segment, true_rewards: NDArray[np.float64]) -> None:
        """Adds a segment with its true step rewards, shape (T,); the oldest ones may have to go."""
        self._segments.append(segment)
        self._true_rewards[segment.id] = true_rewards
        self.nbytes += segment.nbytes
        while len(self._segments) > self._size or (
            self.nbytes > self._max_bytes and len(self._segments) > 2
        ):
            oldest = self._segments.popleft()
            del self._true_rewards[oldest.id]
            self.nbytes -= oldest.nbytes

    def true_rewards(self, item: Item) -> NDArray[np.float64]:
        """True step rewards of a segment, shape (T,): for oracles and evaluation only."""
        return self._true_rewards[item.id]

    def recent(self, n: int) -> list[Segment]:
        """The n newest segments, or all there are."""
        return list(self._segments)[-n:]

    def state_dict(self) -> dict[str, Any]:
        """All segments and their true rewards, stacked."""
        segments = list(self._segments)
        if not segments:
            return {}
        states = [segment.states for segment in segments if segment.states is not None]
        frames = [segment.frames for segment in segments if segment.frames is not None]
        return {
            "ids": [segment.id for segment in segments],
            "env_steps": [segment.env_steps for segment in segments],
            "observations": np.stack([segment.observations for segment in segments]),
            "actions": np.stack([segment.actions for segment in segments]),
            "states": np.stack(states) if len(states) == len(segments) else None,
            "true_rewards": np.stack([self._true_rewards[s.id] for s in segments]),
            "frames": [[list(f.shape), np.frombuffer(f.content, np.uint8)] for f in frames],
            "journals": [[list(game) for game in s.journals.items()] for s in segments],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes back to a state."""
        self._segments.clear()
        self._true_rewards.clear()
        self.nbytes = 0
        packed = [PackedFrames(tuple(shape), c.tobytes()) for shape, c in state.get("frames", ())]
        for i, item_id in enumerate(state.get("ids", ())):
            # Copies: one segment that stays must not keep all others alive.
            segment = Segment(
                id=item_id,
                observations=state["observations"][i].copy(),
                actions=state["actions"][i].copy(),
                states=None if state["states"] is None else state["states"][i].copy(),
                env_steps=state["env_steps"][i],
                frames=packed[i] if packed else None,
                journals={game: actions.copy() for game, actions in state["journals"][i]},
            )
            self.add(segment, state["true_rewards"][i].copy())

    def random_candidates(
        self, n: int, size: int, asked: Collection[frozenset[str]], rng: np.random.Generator
    ) -> list[tuple[Segment, ...]]:
        """Up to n candidates of so many segments, of which no two were asked or are drawn together.

        Drawn at random.
        """
        found = list[tuple[Segment, ...]]()
        drawn_together = set[frozenset[str]]()
        for places in rng.integers(len(self._segments), size=(2 * n, size)).tolist():
            if len(found) == n:
                break
            candidate = tuple(self._segments[place] for place in places)
            pairs = {frozenset((a.id, b.id)) for a, b in itertools.combinations(candidate, 2)}
            new = not any(pair in asked or pair in drawn_together for pair in pairs)
            if new and len(set(places)) == size:
                found.append(candidate)
                drawn_together |= pairs
        return found
