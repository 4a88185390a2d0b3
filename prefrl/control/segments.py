"""Segments: fixed-length pieces of trajectories, cut from rollouts."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prefrl.control.environments.frames import PackedFrames
from prefrl.control.environments.journals import Journals, as_state, from_state
from prefrl.control.environments.rollout import Rollout

__all__ = ["OVER", "Segment", "SegmentSampler", "held"]

OVER = "-over"
"""Suffix of the id of the segment after an ending (``Segment.when_over``)."""


@dataclass(frozen=True, eq=False)
class Segment:
    """A fixed-length piece of one episode, without its true reward.

    If the environment ended the episode within it, the remaining steps are *held*: nothing more
    happens, the last observation and picture are repeated, and each step is worth 0.

    The true reward is kept separately on purpose: only an oracle or an evaluation may ask for it,
    by the segment's id.
    """

    id: str
    """Its name, which is unique within a run."""
    observations: NDArray[np.float32]
    """Observations before each action, without pictures, flattened, shape (T, O)."""
    actions: NDArray[np.float32]
    """Actions, shape (T, A), with discrete ones one-hot; zeros in held steps."""
    states: NDArray[np.float64] | None = None
    """Simulator states before each action, shape (T, S), for films; None if unknown."""
    env_steps: int = 0
    """Environment steps of the whole run when the segment was cut."""
    frames: PackedFrames | None = None
    """Pictures before each action, preceded by those of K earlier steps, shape (K + T, C, H, W);
    None without pictures."""
    journals: Journals = field(default_factory=dict)
    """The episodes or games in ``states``, up to the segment's end, for films."""
    episode_step: int | None = None
    """Number of steps in its episode before the segment; None if unknown."""
    next_observations: NDArray[np.float32] | None = None
    """Observations after each action, shape (T, O); None if they were not recorded."""
    n_held: int = 0
    """Number of held steps, after the end of the episode."""

    def __len__(self) -> int:
        return len(self.observations)

    @property
    def n_real(self) -> int:
        """Number of steps that were taken."""
        return len(self) - self.n_held

    @property
    def ended(self) -> NDArray[np.bool_]:
        """Whether the environment ended the episode with the step, shape (T,)."""
        ended = np.zeros(len(self), np.bool_)
        if self.n_held and self.n_real:
            ended[self.n_real - 1] = True
        return ended

    def when_over(self) -> Segment:
        """Returns the segment after an ending, in which every step is held.

        It is worth 0, so a comparison with it tells whether a segment is worth more or less than
        nothing, which a comparison of two other segments cannot tell.
        """
        n = len(self)

        def last(part: NDArray[Any] | None) -> Any:
            return None if part is None else np.repeat(part[-1:], n, axis=0)

        frames = None if self.frames is None else self.frames.unpack()
        return replace(
            self,
            id=f"{self.id}{OVER}",
            observations=last(self.observations),
            actions=last(self.actions),
            states=last(self.states),
            frames=None if frames is None else PackedFrames.pack(frames[[-1] * len(frames)]),
            episode_step=None,
            next_observations=last(self.next_observations),
            n_held=n,
        )

    @property
    def is_over(self) -> bool:
        """Whether all of its steps are held."""
        return self.n_real == 0

    @property
    def nbytes(self) -> int:
        """Size of its content in bytes."""
        parts = [self.observations, self.next_observations, self.actions, self.states, self.frames]
        kept = [*parts, *self.journals.values()]
        return sum(part.nbytes for part in kept if part is not None)


class SegmentSampler:
    """Cuts the trajectories of N environments into segments that never straddle episodes.

    A trajectory is cut from the start of its episode, without overlap; steps left at the end of a
    rollout are carried into the next. Steps left at the end of an episode are put into a segment
    that overlaps with the one before. If the episode was cut off, this segment ends with it. If the
    episode ended by itself, the segment always shows the ending, which is held for the rest of the
    segment, but for at most half of it if the episode is long enough. An episode that was cut off
    before it was as long as a segment is dropped.

    Args:
        segment_length: Steps per segment (T).
        n_envs: Number of parallel environments.
    """

    def __init__(self, segment_length: int, n_envs: int) -> None:
        self.segment_length = segment_length
        self._trails = [_Trail() for _ in range(n_envs)]

    def cut(self, rollout: Rollout, *, env_steps: int) -> list[tuple[Segment, NDArray[np.float64]]]:
        """Cuts a rollout.

        Args:
            rollout: Record of the steps since the last call.
            env_steps: Environment steps of the whole run so far.

        Returns:
            The new segments, each with its true step rewards, shape (T,), for oracles only.
        """
        cut: list[tuple[Segment, NDArray[np.float64]]] = []
        for env, trail in enumerate(self._trails):
            ends = (np.flatnonzero(rollout.dones[:, env]) + 1).tolist()
            for start, stop in pairwise(sorted({0, *ends, len(rollout.dones)})):
                ended = rollout.ended is not None and bool(rollout.ended[stop - 1, env])
                trail.extend(_Stretch(rollout, env, start, stop))
                for first, n_held in self._places(trail, over=stop in ends, ended=ended):
                    name = f"{env_steps} {env} {stop - len(trail) + first + self.segment_length}"
                    cut.append(trail.segment(first, self.segment_length, n_held, name, env_steps))
                if stop in ends:
                    trail.clear()
            # So that carried steps do not keep their whole rollout alive.
            trail.keep(self.segment_length)
        return cut

    def _places(self, trail: _Trail, *, over: bool, ended: bool) -> list[tuple[int, int]]:
        """Decides where to cut segments: their first steps in the trail, and how many are held."""
        length, places = self.segment_length, []
        # If the last step ended the episode, it belongs to the segment with the held ending.
        while len(trail) - trail.n_cut > (length if ended else length - 1):
            places.append((trail.n_cut, 0))
            trail.n_cut += length
        rest = len(trail) - trail.n_cut
        if ended:
            n_held = min(length - rest, length // 2)
            n_held = max(1, n_held, length - len(trail))
            places.append((len(trail) + n_held - length, n_held))
        elif over and rest and len(trail) >= length:
            places.append((len(trail) - length, 0))
        return places

    def drop(self, env: int) -> None:
        """Drops the pending steps of an environment whose episode was cut off."""
        self._trails[env].clear()

    def state_dict(self) -> dict[str, Any]:
        """The state for a checkpoint: the pending steps of each environment."""
        return {"trails": [trail.state_dict() for trail in self._trails]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores a state."""
        for trail, content in zip(self._trails, state["trails"], strict=True):
            trail.load_state_dict(content)


class _Trail:
    """The newest steps of the current episode: those in no segment yet, and some before them."""

    def __init__(self) -> None:
        self.n_cut = 0
        """Number of its steps that are in segments."""
        self._before = 0  # number of the episode's steps before the trail
        self._parts: list[_Stretch] = []

    def __len__(self) -> int:
        return sum(len(part) for part in self._parts)

    def extend(self, stretch: _Stretch) -> None:
        """Appends steps of the same episode."""
        self._parts.append(stretch)

    def _whole(self) -> Rollout:
        self._parts = [_as_one(self._parts)]
        return self._parts[0].rollout

    def segment(
        self, first: int, length: int, n_held: int, name: str, env_steps: int
    ) -> tuple[Segment, NDArray[np.float64]]:
        """Makes a segment that starts at ``first``; also returns its true rewards."""
        steps = _Stretch(self._whole(), 0, first, first + length - n_held).copied().rollout
        return _segment(steps, n_held, name, env_steps, self._before + first)

    def keep(self, n: int) -> None:
        """Drops steps that are in segments, except the newest ``n`` of them."""
        if gone := max(0, self.n_cut - n):
            self._parts = [_Stretch(self._whole(), 0, gone, len(self))]
            self._before += gone
            self.n_cut -= gone
        self._parts[-1:] = [part.copied() for part in self._parts[-1:]]

    def clear(self) -> None:
        """Drops all steps, since the episode is over."""
        self._parts, self.n_cut, self._before = [], 0, 0

    def state_dict(self) -> dict[str, Any]:
        """The state for a checkpoint: the steps, and where they begin."""
        steps = _as_state(self._whole()) if self._parts else None
        return {"n_cut": self.n_cut, "before": self._before, "steps": steps}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores a state."""
        self.n_cut, self._before, self._parts = state["n_cut"], state["before"], []
        if (steps := state["steps"]) is not None:
            rollout = Rollout(**{**steps, "journals": from_state(steps["journals"])})
            self._parts = [_Stretch(rollout, 0, 0, len(rollout.dones))]


def _segment(
    steps: Rollout, n_held: int, name: str, env_steps: int, before: int
) -> tuple[Segment, NDArray[np.float64]]:
    """Makes a segment from one environment's steps and ``n_held`` held ones, with true rewards."""
    observations, actions = steps.observations[:, 0], steps.actions[:, 0]
    after = None if steps.next_observations is None else steps.next_observations[:, 0]
    states = None if steps.states is None else steps.states[:, 0]
    frames = None if steps.frames is None else steps.frames[:, 0]
    if n_held:
        final = observations[-1] if after is None else after[-1]
        observations = held(observations, final, n_held)
        after = None if after is None else held(after, final, n_held)
        actions = held(actions, np.zeros_like(actions[-1]), n_held)
        if states is not None and steps.final_states is not None:
            states = held(states, steps.final_states[-1, 0], n_held)
        frames = None if frames is None else held(frames, frames[-1], n_held)
    # The name depends on time, place and content: a run that repeats steps after a resume gives
    # the same names, and never gives an old name to something else.
    digest = hashlib.blake2b(name.encode(), digest_size=8)
    for array in (observations, actions, frames):
        if array is not None:
            digest.update(array.tobytes())
    segment = Segment(
        id=f"s{digest.hexdigest()}",
        observations=observations,
        actions=actions,
        states=states,
        env_steps=env_steps,
        frames=None if frames is None else PackedFrames.pack(frames),
        journals=steps.journals,
        episode_step=before,
        next_observations=after,
        n_held=n_held,
    )
    return segment, np.append(steps.true_rewards[:, 0], np.zeros(n_held))


def held(steps: NDArray[Any], final: NDArray[Any], n: int) -> NDArray[Any]:
    """Appends n copies of ``final``, shape (...), to steps of shape (T, ...)."""
    return np.concatenate([steps, np.broadcast_to(final, (n, *final.shape))])


def _as_one(stretches: list[_Stretch]) -> _Stretch:
    """Copies consecutive stretches of one environment into one."""
    parts = [stretch.copied().rollout for stretch in stretches]
    # The pictures before each part but the first are the last ones of the part before it.
    frames = [
        part.frames[part.n_before if number else 0 :]
        for number, part in enumerate(parts)
        if part.frames is not None
    ]
    named = ("states", "next_observations", "ended", "final_states")
    rollout = Rollout(
        observations=np.concatenate([part.observations for part in parts]),
        actions=np.concatenate([part.actions for part in parts]),
        true_rewards=np.concatenate([part.true_rewards for part in parts]),
        dones=np.concatenate([part.dones for part in parts]),
        frames=np.concatenate(frames) if frames else None,
        journals={number: journal for p in parts for number, journal in p.journals.items()},
        **{name: _joined([getattr(part, name) for part in parts]) for name in named},
    )
    return _Stretch(rollout, 0, 0, len(rollout.dones))


def _joined(parts: list[NDArray[Any] | None]) -> Any:
    """Concatenates the parts; None if one is missing."""
    there = [part for part in parts if part is not None]
    return np.concatenate(there) if len(there) == len(parts) else None


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
        """Copies the steps into a rollout of their own."""
        r = self.rollout
        states, ended, final = self._own(r.states), self._own(r.ended), self._own(r.final_states)
        own = Rollout(
            observations=self._own(r.observations),
            actions=self._own(r.actions),
            true_rewards=self._own(r.true_rewards),
            dones=self._own(r.dones),
            states=states,
            frames=self._frames(),
            journals=_journals(states, ended, final, r.journals) if r.journals else {},
            next_observations=self._own(r.next_observations),
            ended=ended,
            final_states=final,
        )
        return _Stretch(own, 0, 0, len(self))

    def _own(self, part: NDArray[Any] | None) -> Any:
        if part is None:
            return None
        return part[self.start : self.stop, self.env : self.env + 1].copy()

    def _frames(self) -> NDArray[np.uint8] | None:
        """Returns the pictures and those of earlier steps, black before the episode began."""
        r = self.rollout
        if r.frames is None:
            return None
        frames = r.frames[self.start : r.n_before + self.stop, self.env : self.env + 1].copy()
        ends = np.flatnonzero(r.dones[: self.start, self.env])
        if len(ends):
            frames[: max(0, r.n_before - (self.start - 1 - int(ends[-1])))] = 0
        return frames


def _journals(
    states: NDArray[np.float64] | None,
    ended: NDArray[np.bool_] | None,
    final: NDArray[np.float64] | None,
    journals: Journals,
) -> Journals:
    """Returns the journals to which one environment's states and endings refer."""
    if states is None:
        return {}
    moments = states[:, 0]
    if ended is not None and final is not None:
        moments = np.concatenate([moments, final[ended]])
    numbers, steps = moments[~np.isnan(moments[:, 0])].astype(int).T
    return {
        number: journals[number].until(int(steps[numbers == number].max()))
        for number in np.unique(numbers).tolist()
        if number in journals
    }


def _as_state(rollout: Rollout) -> dict[str, Any]:
    return {**vars(rollout), "journals": as_state(rollout.journals)}
