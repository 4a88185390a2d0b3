"""How well a learned reward ranks its own agent's behaviour, the data that matter most."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from prefrl.control.reward.correlation import correlation

__all__ = ["probes", "segment_sums"]

_PAIRS = 5_000


def segment_sums(rewards: NDArray[np.float64], length: int) -> NDArray[np.float64]:
    """Sums over segments that lie one after another, from each episode's start.

    Args:
        rewards: Shape (E, T), padded with NaN after an episode's end: nothing is added there.
        length: Steps of a segment, L.

    Returns:
        Shape (E · ceil(T / L),); NaN where a segment begins after the end.
    """
    n = -(-rewards.shape[1] // length)
    padding = ((0, 0), (0, n * length - rewards.shape[1]))
    steps = np.pad(rewards, padding, constant_values=np.nan).reshape(-1, length)  # (E · n, L)
    return np.where(np.isnan(steps).all(axis=1), np.nan, np.nansum(steps, axis=1))


def probes(
    true: NDArray[np.float64], predicted: NDArray[np.float64], *, length: int, seed: int
) -> dict[str, float]:
    """Agreement of predicted with true return over segments of evaluation episodes.

    Args:
        true: The environment's rewards, shape (E, T), padded with NaN.
        predicted: The learned reward, likewise.
        length: Steps of a segment.
        seed: Seed of the pairs that are drawn.

    Returns:
        ``accuracy``: share of pairs of segments, drawn at random, that both put into the same
        order, of those whose true returns differ; ``pearson`` and ``spearman``: their correlations.
        NaN where there is nothing to tell apart.
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
    """Ranks from 0; those of equal values are their mean."""
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts) - 1
    return np.asarray((last - (counts - 1) / 2)[places])
