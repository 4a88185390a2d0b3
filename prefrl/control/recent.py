"""Samples of the newest segments, which normalise inputs and rewards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from prefrl.control.environments.frames import PackedFrames
from prefrl.control.pool import SegmentPool
from prefrl.control.segments import Segment
from prefrl.errors import RunDirectoryError
from prefrl.runtime.learner import Recent
from prefrl.runtime.rundir import RunDirectory
from prefrl.runtime.rundir.writing import as_npz, replace_file

__all__ = ["SegmentSamples", "load_recent", "sample", "save_recent"]

_SEGMENTS, _STEPS = 400, 9
_SEGMENTS_WITH_PICTURES, _STEPS_WITH_PICTURES = 100, 4
_SECONDS_BETWEEN, _SECONDS_BETWEEN_WITH_PICTURES = 1.0, 5.0


class SegmentSamples:
    """Samples of a pool's segments.

    Args:
        pool: The pool.
        run: Run directory for a learner in another process; None if there is none.
    """

    def __init__(self, pool: SegmentPool, run: RunDirectory | None) -> None:
        self.seconds_between = _SECONDS_BETWEEN
        """Seconds between two samples in the run directory; more for pictures, which are larger."""
        self._pool = pool
        self._run = run

    def take(self) -> list[Segment]:
        """Takes a sample of all segments in the pool."""
        return sample(self._pool.recent(len(self._pool)))

    def save(self, number: int, items: Sequence[Segment], *, run_steps: int) -> None:
        """Writes a sample to the run directory."""
        assert self._run is not None
        save_recent(self._run, number, items, env_steps=run_steps)
        if items[0].frames is not None:
            self.seconds_between = _SECONDS_BETWEEN_WITH_PICTURES


def sample(segments: Sequence[Segment]) -> list[Segment]:
    """Takes at most 400 evenly spaced segments, with about nine steps of each.

    Neighbouring steps are almost alike, and a mean and a standard deviation need many different
    moments. With pictures it takes 100 segments with four consecutive steps each, as the reward of
    a step also depends on the pictures before it.
    """
    if segments and segments[0].frames is not None:
        every = max(1, -(-len(segments) // _SEGMENTS_WITH_PICTURES))
        return [_piece(segment, number) for number, segment in enumerate(segments[::-1][::every])]
    every = max(1, -(-len(segments) // _SEGMENTS))
    stride = max(1, len(segments[0]) // _STEPS) if segments else 1
    return [_some_steps(segment, stride) for segment in segments[::-1][::every]]


def _some_steps(segment: Segment, stride: int) -> Segment:
    """Takes one step per ``stride``, evenly spaced over the real steps only."""
    steps = np.arange(0, len(segment), stride) * segment.n_real // len(segment)
    after = segment.next_observations
    return replace(
        segment,
        observations=segment.observations[steps],
        actions=segment.actions[steps],
        states=None,
        next_observations=None if after is None else after[steps],
        n_held=0,
    )


def _piece(segment: Segment, number: int) -> Segment:
    """Takes consecutive steps of a segment with pictures, at a place that varies by segment."""
    assert segment.frames is not None
    frames, length = segment.frames.unpack(), min(_STEPS_WITH_PICTURES, len(segment))
    start = number * length % max(1, segment.n_real - length + 1)
    n_before, after = len(frames) - len(segment), segment.next_observations
    return replace(
        segment,
        observations=segment.observations[start : start + length],
        actions=segment.actions[start : start + length],
        states=None,
        next_observations=None if after is None else after[start : start + length],
        n_held=0,
        frames=PackedFrames.pack(frames[start : start + length + n_before]),
        journals={},
    )


def save_recent(
    run: RunDirectory, number: int, segments: Sequence[Segment], *, env_steps: int
) -> None:
    """Writes a sample to the run directory, without fsync, as a newer one soon follows."""
    arrays: dict[str, Any] = {
        "env_steps": env_steps,
        "observations": np.stack([segment.observations for segment in segments]),
        "actions": np.stack([segment.actions for segment in segments]),
    }
    after = [
        part for part in (segment.next_observations for segment in segments) if part is not None
    ]
    if after and len(after) == len(segments):
        arrays["next_observations"] = np.stack(after)
    frames = [segment.frames.unpack() for segment in segments if segment.frames is not None]
    if frames:
        packed = PackedFrames.pack(np.stack(frames))
        arrays |= {
            "frames": np.frombuffer(packed.content, np.uint8),
            "frames_shape": np.array(packed.shape),
        }
    path = run.recent / f"{number:06d}.npz"
    replace_file(path, as_npz(arrays), point="recent", forced=False)


def load_recent(run: RunDirectory, number: int) -> Recent:
    """Reads a sample.

    Raises:
        RunDirectoryError: If it is missing or damaged.
    """
    path = run.recent / f"{number:06d}.npz"
    try:
        with np.load(path, allow_pickle=False) as arrays:
            env_steps = int(arrays["env_steps"])
            n = len(arrays["observations"])
            frames: list[PackedFrames | None] = [None] * n
            if "frames" in arrays:
                shape = tuple(arrays["frames_shape"].tolist())
                whole = PackedFrames(shape, arrays["frames"].tobytes()).unpack()
                frames = [PackedFrames.pack(one) for one in whole]
            after = arrays["next_observations"] if "next_observations" in arrays else [None] * n
            parts = zip(arrays["observations"], arrays["actions"], frames, after, strict=True)
            segments = [
                Segment(f"{i}", seen, done, frames=shown, next_observations=then)
                for i, (seen, done, shown, then) in enumerate(parts)
            ]
    except (OSError, ValueError, KeyError, EOFError) as error:
        raise RunDirectoryError(
            f"expected a sample of the agent's steps in {path}, but {error}; only runs whose "
            "recent/ folder is whole can be repeated."
        ) from error
    return Recent(number, env_steps, segments)
