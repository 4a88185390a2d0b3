"""The segments that labellers were asked about, kept for good, with true rewards kept separately.

A query names its two segments by id. Whoever answers it, fits to it or films it finds them here:
in memory and, if the run has a directory, also as files, which are complete before the query is
stored. The true rewards are in a folder of their own, which only oracles and evaluation open.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prefrl.control.environments.frames import PackedFrames
from prefrl.control.environments.journals import as_arrays, from_arrays
from prefrl.control.segments import Segment
from prefrl.core.comparisons import Item
from prefrl.core.oracle import OracleConfig, SyntheticOracle
from prefrl.errors import RunDirectoryError
from prefrl.runtime.rundir import RunDirectory
from prefrl.runtime.rundir.writing import as_npz, replace_file, sync_folder

__all__ = ["Items", "Truth", "synthetic_oracle"]


_MOST_IN_MEMORY = 40_000


@dataclass(frozen=True, eq=False)
class Truth:
    """Facts about a segment that only oracles and evaluation may know."""

    rewards: NDArray[np.float64]
    """True step rewards, shape (T,)."""
    typical_return: float = 0.0
    """B-Pref's margin when the segment was kept, see ``typical_return`` in ``agent.episodes``."""


class Items(Mapping[str, Segment]):
    """Segments by id.

    Args:
        run: Run directory with their files; None keeps them only in memory.
        states: Whether to read simulator states from files, which only films need.
        max_bytes: Bytes that segments may take in memory if they also have files.

    Raises:
        RunDirectoryError: On reading, if a file is missing or damaged.
    """

    def __init__(
        self, run: RunDirectory | None, *, states: bool = True, max_bytes: int = 2**29
    ) -> None:
        self.nbytes = 0
        """Size of the segments in memory, in bytes."""
        self._run = run
        self._max_bytes = max_bytes
        self._states = states
        self._segments: dict[str, Segment] = {}
        self._truths: dict[str, Truth] = {}

    def __getitem__(self, item_id: str) -> Segment:
        segment = self._segments.get(item_id)
        if segment is None:
            segment = self._read_segment(item_id)
            self._hold(segment)
        return segment

    def __contains__(self, item_id: object) -> bool:
        if item_id in self._segments:
            return True
        return self._run is not None and (self._run.items / f"{item_id}.npz").is_file()

    def __iter__(self) -> Iterator[str]:
        stored = () if self._run is None else (p.stem for p in self._run.items.glob("*.npz"))
        return iter(sorted({*self._segments, *stored}))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def keep(self, kept: Sequence[tuple[Segment, Truth]]) -> None:
        """Stores segments for good; when this returns, their files are on disk."""
        folders = set()
        for segment, truth in kept:
            if segment.id in self:
                continue
            if self._run is not None:
                contents = {self._run.truth: vars(truth), self._run.items: _arrays(segment)}
                for folder, content in contents.items():
                    replace_file(folder / f"{segment.id}.npz", as_npz(content), point="items")
                folders |= set(contents)
            self._truths[segment.id] = truth
            self._hold(segment)
        for folder in folders:
            sync_folder(folder)

    def _hold(self, segment: Segment) -> None:
        """Keeps a segment in memory, and drops the oldest ones from memory; their files stay."""
        self._segments[segment.id] = segment
        self.nbytes += segment.nbytes
        while self._run is not None and (
            len(self._segments) > _MOST_IN_MEMORY or self.nbytes > self._max_bytes
        ):
            oldest = self._segments.pop(next(iter(self._segments)))
            self.nbytes -= oldest.nbytes
            self._truths.pop(oldest.id, None)

    def truth(self, item: Item) -> Truth:
        """Returns what only oracles and evaluation may know about a segment."""
        if item.id not in self._truths:
            if self._run is None:
                raise KeyError(item.id)
            content = _read(self._run.truth / f"{item.id}.npz")
            self._truths[item.id] = Truth(content["rewards"], float(content["typical_return"]))
        return self._truths[item.id]

    def true_rewards(self, item: Item) -> NDArray[np.float64]:
        """Returns true step rewards, shape (T,), for oracles and evaluation only."""
        return self.truth(item).rewards

    def typical_return(self, item: Item) -> float:
        """Returns the margin of B-Pref's teachers when the item was kept, for oracles only."""
        return self.truth(item).typical_return

    def _read_segment(self, item_id: str) -> Segment:
        if self._run is None:
            raise KeyError(item_id)
        content = _read(self._run.items / f"{item_id}.npz")
        return _segment(item_id, content, states=self._states)


def synthetic_oracle(items: Items, config: OracleConfig, *, seed: int) -> SyntheticOracle:
    """Makes the oracle that compares the segments' true returns."""
    return SyntheticOracle(
        items.true_rewards, config=config, seed=seed, mean_segment_return=items.typical_return
    )


def _arrays(segment: Segment) -> dict[str, Any]:
    arrays: dict[str, Any] = {
        "env_steps": segment.env_steps,
        "observations": segment.observations,
        "actions": segment.actions,
    }
    if segment.next_observations is not None:
        arrays["next_observations"] = segment.next_observations
    if segment.n_held:
        arrays["n_held"] = segment.n_held
    if segment.episode_step is not None:
        arrays["episode_step"] = segment.episode_step
    if segment.states is not None:
        arrays["states"] = segment.states
    if segment.frames is not None:
        arrays["frames"] = np.frombuffer(segment.frames.content, np.uint8)
        arrays["frames_shape"] = segment.frames.shape
    return arrays | as_arrays(segment.journals)


def _segment(item_id: str, content: Mapping[str, NDArray[Any]], *, states: bool) -> Segment:
    """Restores a segment from the output of ``_arrays``."""
    frames = None
    if "frames" in content:
        shape = tuple(content["frames_shape"].tolist())
        frames = PackedFrames(shape, content["frames"].tobytes())
    return Segment(
        id=item_id,
        observations=content["observations"],
        actions=content["actions"],
        states=content.get("states") if states else None,
        env_steps=int(content["env_steps"]),
        frames=frames,
        journals=from_arrays(content) if states else {},
        # Missing in files of earlier releases.
        episode_step=int(content["episode_step"]) if "episode_step" in content else None,
        next_observations=content.get("next_observations"),
        n_held=int(content.get("n_held", 0)),
    )


def _read(path: Path) -> dict[str, NDArray[Any]]:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return dict(arrays)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise RunDirectoryError(
            f"expected a segment that was put to a labeller in {path}, but {error}; take the file "
            "from a backup of the run."
        ) from error
