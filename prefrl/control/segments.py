"""Segments: fixed-length pieces of trajectories, cut from rollouts."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prefrl.control.environments.frames import PackedFrames
from prefrl.control.environments.journals import Journals
from prefrl.control.environments.rollout import Rollout

__all__ = ["Segment", "SegmentSampler"]


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
    episode_step: int | None = None
    """Steps of its episode before its first one; None where that is not known."""

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
        # Steps of the episode before those that are open; None where that is not known.
        self._before: list[int | None] = [0] * n_envs

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
                        before = self._before[env]
                        cut.append(_join(stretches, env_steps, env, before))
                        stretches.clear()
                        if before is not None:
                            self._before[env] = before + self.segment_length
                if end in ends:
                    stretches.clear()
                    self._before[env] = 0
            # Carried steps must not keep their whole rollout alive.
            stretches[:] = [stretch.copied() for stretch in stretches]
        return cut

    def drop(self, env: int) -> None:
        """Forgets the open steps of an environment, whose episode was cut."""
        self._open[env].clear()
        self._before[env] = 0

    def state_dict(self) -> dict[str, Any]:
        """The open steps of each environment."""
        opened = [_as_one(stretches) for stretches in self._open]
        return {
            "open": [None if one is None else _as_state(one.rollout) for one in opened],
            "before": list(self._before),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes back to a state."""
        # Earlier releases did not count.
        self._before = list(state.get("before", [None] * len(self._open)))
        for stretches, content in zip(self._open, state["open"], strict=True):
            stretches.clear()
            if content is not None:
                journals = dict(content["journals"])
                rollout = Rollout(**{**content, "journals": journals})
                stretches.append(_Stretch(rollout, 0, 0, len(rollout.dones)))


def _join(
    stretches: list[_Stretch], env_steps: int, env: int, before: int | None
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
        episode_step=before,
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
