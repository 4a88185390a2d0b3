"""The few statistics of the report: correlation, running mean, reliability bins."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from prefrl.core.intervals import wilson_interval
from prefrl.report.tables import Array

__all__ = ["ReliabilityBins", "pearson", "reliability_bins", "running_mean"]


def pearson(first: Array, second: Array) -> float:
    """Pearson's correlation over the entries where both are finite.

    Args:
        first: Any shape.
        second: The same shape.

    Returns:
        A number in [-1, 1]; NaN with fewer than two entries or where one does not vary.
    """
    finite = np.isfinite(first) & np.isfinite(second)
    x, y = first[finite], second[finite]
    if x.size < 2:
        return math.nan
    x, y = x - x.mean(), y - y.mean()
    scale = math.sqrt(float(x @ x)) * math.sqrt(float(y @ y))
    if scale < 1e-12:
        return math.nan
    return float(np.clip(x @ y / scale, -1.0, 1.0))


def running_mean(values: Array, window: int) -> Array:
    """The mean over each window that lies wholly within the values.

    Args:
        values: (T,) finite.
        window: The window's length, between 1 and T.

    Returns:
        (T - window + 1,) the means.
    """
    return np.convolve(values, np.full(window, 1.0 / window), mode="valid")


@dataclass(frozen=True)
class ReliabilityBins:
    """Predicted probability against observed preference, in bins that are not empty (K of them).

    All arrays are (K,).
    """

    predicted: Array
    """Mean predicted P(left is better) in the bin."""
    observed: Array
    """Mean preference of the labeller in the bin."""
    low: Array
    """Lower end of the 95 % Wilson interval of `observed`."""
    high: Array
    """Upper end of that interval."""
    counts: Array
    """Number of comparisons in the bin."""
    centres: Array
    """The middle of the bin."""
    width: float
    """The width of every bin."""


def reliability_bins(probability: Array, preference: Array, *, n_bins: int) -> ReliabilityBins:
    """Sorts comparisons into equal bins of predicted probability.

    Args:
        probability: (N,) predicted P(left is better), in [0, 1]; NaN is left out.
        preference: (N,) observed preference, in [0, 1]; NaN is left out.
        n_bins: Number of bins that divide [0, 1].

    Returns:
        The bins that hold at least one comparison.
    """
    finite = np.isfinite(probability) & np.isfinite(preference)
    p, y = probability[finite], preference[finite]
    index = np.clip((p * n_bins).astype(np.int64), 0, n_bins - 1)
    counts = np.bincount(index, minlength=n_bins).astype(np.float64)
    filled = counts > 0
    n = counts[filled]
    wins: Array = np.bincount(index, weights=y, minlength=n_bins)[filled].astype(np.float64)
    low, high = wilson_interval(wins, n)
    return ReliabilityBins(
        predicted=np.bincount(index, weights=p, minlength=n_bins)[filled] / n,
        observed=wins / n,
        low=low,
        high=high,
        counts=n,
        centres=((np.arange(n_bins) + 0.5) / n_bins)[filled],
        width=1.0 / n_bins,
    )
