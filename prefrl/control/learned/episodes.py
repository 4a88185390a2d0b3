"""Pairs of segments drawn from recorded episodes, those of Minari's datasets."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prefrl.control.learned.pairs import PairData, Reader
from prefrl.core.oracle import OracleConfig, SyntheticOracle
from prefrl.errors import ConfigError, MissingExtraError, NotEnoughDataError

__all__ = ["load_minari", "pairs_of_minari"]


def load_minari(name: str) -> Any:
    """A dataset of Minari that is on this machine.

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
    name: str,
    reader: Reader,
    *,
    n: int,
    segment_length: int,
    teacher: OracleConfig,
    seed: int,
) -> PairData:
    """Draws pairs of segments from a dataset, and has the oracle answer by its rewards.

    A segment begins at any step of any episode as likely as at any other, as long as all of it is
    in the episode. Where the environment ended the episode, it may also reach half of its length
    beyond: then it is shorter, and what is missing is worth nothing.

    Args:
        name: Of the dataset.
        reader: For its spaces.
        n: Pairs at most.
        segment_length: Steps per segment.
        teacher: How the oracle errs.
        seed: Of what is drawn, and of the oracle.

    Raises:
        ConfigError: As ``load_minari``, or if there are fewer than one pair or two steps.
        MissingExtraError: As ``load_minari``.
        NotEnoughDataError: If the dataset has fewer than two segments.
    """
    if n < 1 or segment_length < 2:
        raise ConfigError(
            f"expected at least 1 pair of segments of 2 steps, got {n} of {segment_length}."
        )
    dataset, rng = load_minari(name), np.random.default_rng(seed)
    lengths, beyond = np.array(
        [
            (len(e.actions), segment_length // 2 if e.terminations[-1] else 0)
            for e in dataset.iterate_episodes()
        ],
        dtype=np.intp,
    ).T
    n_starts = np.maximum(0, lengths + beyond - segment_length + 1)
    if n_starts.sum() < 2:
        raise NotEnoughDataError(
            f"expected at least two segments of {segment_length} steps in {name}, whose longest "
            f"episode has {lengths.max(initial=0)}; choose shorter ones."
        )
    episodes, starts = _places(n, n_starts, rng)
    ids, truths = np.empty(starts.shape, object), dict[str, NDArray[np.float64]]()
    for episode in dataset.iterate_episodes(np.unique(episodes).tolist()):
        for place in zip(*np.nonzero(episodes == episode.id), strict=True):
            first = int(starts[place])
            steps = slice(first, min(first + segment_length, len(episode.actions)))
            ids[place] = reader.add(_segment(episode, steps))
            truths[ids[place]] = np.asarray(episode.rewards[steps], np.float64)
    oracle = SyntheticOracle(lambda item: truths[item.id], config=teacher, seed=seed)
    for left, right in ids.tolist():
        answer = oracle.compare(reader.segment(left), reader.segment(right))
        if answer.preference is not None and left != right:  # of few states some may be the same
            reader.compare(left, right, answer.preference)
    return reader.data()


def _places(
    n: int, n_starts: NDArray[np.intp], rng: np.random.Generator
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Which episode and which first step n pairs have, both (n, 2), never the same place twice."""
    drawn = rng.integers(n_starts.sum(), size=(n, 2))
    for row in np.flatnonzero(drawn[:, 0] == drawn[:, 1]):
        drawn[row, 1] = (drawn[row, 0] + 1) % n_starts.sum()
    ends = np.cumsum(n_starts)
    episodes = np.searchsorted(ends, drawn, side="right")
    return episodes, drawn - (ends - n_starts)[episodes]


def _segment(episode: Any, steps: slice) -> dict[str, Any]:
    after = slice(steps.start + 1, steps.stop + 1)
    return {
        "observations": _some(episode.observations, steps),
        "actions": _some(episode.actions, steps),
        "next_observations": _some(episode.observations, after),
        "ended": np.asarray(episode.terminations[steps], np.bool_),
    }


def _some(values: Any, steps: slice) -> Any:
    if isinstance(values, Mapping):
        return {key: _some(part, steps) for key, part in values.items()}
    return values[steps]
