"""Pairs of segments drawn from the recorded episodes of Minari's datasets."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prefrl.control.learned.pairs import PairData, Reader
from prefrl.core.oracle import OracleConfig, SyntheticOracle
from prefrl.errors import ConfigError, MissingExtraError, NotEnoughDataError

__all__ = [
    "MINARI",
    "Drawing",
    "DrawnPairs",
    "arrays_of",
    "draw_pairs",
    "load_minari",
    "pairs_of_minari",
    "some_of",
]

MINARI = "minari:"
"""Prefix of the name of a dataset of Minari."""


@dataclass(frozen=True)
class Drawing:
    """Settings for drawing pairs from episodes without comparisons."""

    pairs: int = 700
    """Pairs to draw."""
    segment_length: int = 50
    """Steps per segment."""

    def __post_init__(self) -> None:
        if self.pairs < 1 or self.segment_length < 2:
            raise ConfigError(
                "expected at least 1 pair of segments of 2 steps, got "
                f"{self.pairs} of {self.segment_length}."
            )


def load_minari(name: str) -> Any:
    """Loads a dataset of Minari that is on this machine.

    Raises:
        MissingExtraError: If Minari is not installed.
        ConfigError: If there is no such dataset.
    """
    try:
        minari = importlib.import_module("minari")
    except ImportError as error:
        raise MissingExtraError(
            "expected Minari, which reads its datasets, but it is not installed; "
            "pip install 'prefrl[minari]'."
        ) from error
    try:
        return minari.load_dataset(name)
    except (OSError, ValueError, KeyError, ImportError) as error:
        there = ", ".join(sorted(minari.list_local_datasets())) or "none"
        raise ConfigError(
            f"expected a dataset of Minari on this machine, got {name!r}: {error}; there are "
            f"{there}, and minari download fetches others."
        ) from error


def pairs_of_minari(
    name: str, reader: Reader, *, drawing: Drawing, teacher: OracleConfig, seed: int
) -> PairData:
    """Draws pairs of segments from a dataset, and lets the oracle answer by the dataset's rewards.

    Args:
        name: Name of the dataset.
        reader: Makes segments for the dataset's spaces.
        drawing: Number of pairs, and length of segments.
        teacher: Errors of the oracle.
        seed: Seed of the drawn pairs, and of the oracle.

    Raises:
        ConfigError: As ``load_minari``.
        MissingExtraError: As ``load_minari``.
        NotEnoughDataError: If the dataset has fewer than two segments.
    """
    dataset, truths = load_minari(name), dict[str, NDArray[np.float64]]()
    drawn = draw_pairs(dataset, drawing, seed=seed)
    ids = np.empty(drawn.episodes.shape, object)
    for episode, places in drawn.of(dataset):
        for place, steps in places:
            arrays = arrays_of(episode, steps, n_before=reader.n_before)
            ids[place] = reader.add(arrays, length=drawing.segment_length)
            truths[ids[place]] = np.asarray(episode.rewards[steps], np.float64)
    oracle = SyntheticOracle(lambda item: truths[item.id], config=teacher, seed=seed)
    for left, right in ids.tolist():
        answer = oracle.compare(reader.segment(left), reader.segment(right))
        if answer.preference is not None and left != right:  # equal segments have the same id
            reader.compare(left, right, answer.preference)
    return reader.data()


@dataclass(frozen=True)
class DrawnPairs:
    """The places of the segments of N pairs in a dataset."""

    episodes: NDArray[np.intp]
    """Ids of the episodes of left and right, shape (N, 2)."""
    starts: NDArray[np.intp]
    """Their first steps, shape (N, 2)."""
    segment_length: int
    """Steps per segment, some of which may be beyond the end of the episode."""

    def of(self, dataset: Any) -> Iterator[tuple[Any, list[tuple[tuple[int, int], slice]]]]:
        """Yields each episode with pair, side and steps of each of its segments."""
        for episode in dataset.iterate_episodes(np.unique(self.episodes).tolist()):
            places, n = list[tuple[tuple[int, int], slice]](), len(episode.rewards)
            for pair, side in np.argwhere(self.episodes == episode.id).tolist():
                first = int(self.starts[pair, side])
                if first + self.segment_length == n and episode.terminations[-1]:
                    first += 1  # so that the segment has a step after the end
                places.append(((pair, side), slice(first, min(first + self.segment_length, n))))
            yield episode, places


def draw_pairs(dataset: Any, drawing: Drawing, *, seed: int) -> DrawnPairs:
    """Draws pairs of segments from a dataset.

    A segment is equally likely to begin at any step of any episode, as long as it is completely in
    the episode. If the environment ended the episode, the segment may also extend beyond the end by
    half of its length: these steps are held, and worth nothing.

    Raises:
        NotEnoughDataError: If the dataset has fewer than two segments.
    """
    n, length, rng = drawing.pairs, drawing.segment_length, np.random.default_rng(seed)
    lengths, beyond, known = np.array(
        [
            (len(e.rewards), length // 2 if e.terminations[-1] else 0, e.id)
            for e in dataset.iterate_episodes()
        ],
        dtype=np.intp,
    ).T
    n_starts = np.maximum(0, lengths + beyond - length + 1)
    if n_starts.sum() < 2:
        raise NotEnoughDataError(
            f"expected at least two segments of {length} steps in {dataset.spec.dataset_id}, whose "
            f"longest episode has {lengths.max(initial=0)}; choose shorter ones."
        )
    drawn = rng.integers(n_starts.sum(), size=(n, 2))
    for row in np.flatnonzero(drawn[:, 0] == drawn[:, 1]):
        drawn[row, 1] = (drawn[row, 0] + 1) % n_starts.sum()
    ends = np.cumsum(n_starts)
    episodes = np.searchsorted(ends, drawn, side="right")
    return DrawnPairs(known[episodes], drawn - (ends - n_starts)[episodes], length)


def arrays_of(episode: Any, steps: slice, *, n_before: int = 0) -> dict[str, Any]:
    """Returns the arrays of a segment by name, as ``Reader.add`` takes them.

    Args:
        episode: An episode of Minari.
        steps: The steps of the segment.
        n_before: Number of steps before it whose pictures are included.
    """
    after = slice(steps.start + 1, steps.stop + 1)
    arrays = {
        "observations": some_of(episode.observations, steps),
        "actions": some_of(episode.actions, steps),
        "next_observations": some_of(episode.observations, after),
        "ended": np.asarray(episode.terminations[steps], np.bool_),
    }
    if n_before and steps.start:
        before = slice(max(0, steps.start - n_before), steps.start)
        arrays["before"] = some_of(episode.observations, before)
    return arrays


def some_of(values: Any, steps: Any) -> Any:
    """Returns some steps, or one, of observations or actions, which may be dicts."""
    if isinstance(values, Mapping):
        return {key: some_of(part, steps) for key, part in values.items()}
    return values[steps]
