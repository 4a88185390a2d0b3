"""Measures how well a learned reward ranks its own agent's behaviour, which matters most."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from prefrl.control.reward.correlation import correlation

__all__ = ["probes", "segment_sums"]

_PAIRS = 5_000


def segment_sums(rewards: NDArray[np.float64], length: int) -> NDArray[np.float64]:
    """Returns sums over consecutive segments, beginning at each episode's start.

    Args:
        rewards: Rewards, shape (E, T), padded with NaN after an episode's end, which counts as 0.
        length: Steps of a segment, L.

    Returns:
        Sums, shape (E · ceil(T / L),); NaN if a segment begins after the end.
    """
    n = -(-rewards.shape[1] // length)
    padding = ((0, 0), (0, n * length - rewards.shape[1]))
    steps = np.pad(rewards, padding, constant_values=np.nan).reshape(-1, length)  # (E · n, L)
    return np.where(np.isnan(steps).all(axis=1), np.nan, np.nansum(steps, axis=1))


def probes(
    true: NDArray[np.float64], predicted: NDArray[np.float64], *, length: int, seed: int
) -> dict[str, float]:
    """Measures how predicted and true returns agree over segments of evaluation episodes.

    Args:
        true: The environment's rewards, shape (E, T), padded with NaN.
        predicted: The learned rewards, likewise.
        length: Steps of a segment.
        seed: Seed of the drawn pairs.

    Returns:
        ``accuracy``, the share of equally ordered pairs among random pairs of segments whose true
        returns differ; and the correlations ``pearson`` and ``spearman``. NaN if there is nothing
        to tell apart.
    """
    sums, told = segment_sums(true, length), segment_sums(predicted, length)  # (S,) each
    whole = np.isfinite(sums) & np.isfinite(told)
    sums, told = sums[whole], told[whole]
    if len(sums) < 2:
        return dict.fromkeys(("accuracy", "pearson", "spearman"), math.nan)
    left, right = np.random.default_rng(seed).integers(len(sums), size=(2, _PAIRS))
    order = np.sign(sums[left] - sums[right])  # (P,)
    same = (np.sign(told[left] - told[right]) == order)[order != 0]
    return {
        "accuracy": float(same.mean()) if same.size else math.nan,
        "pearson": correlation(told, sums),
        "spearman": correlation(_ranks(told), _ranks(sums)),
    }


def _ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns ranks from 0; equal values get the mean of their ranks."""
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts) - 1
    return np.asarray((last - (counts - 1) / 2)[places])
