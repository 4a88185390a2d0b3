"""Statistics over many trainings: normalised returns, interquartile means, and intervals.

After Agarwal et al. 2021, "Deep reinforcement learning at the edge of the statistical precipice"
(arXiv 2108.13264), section 4. Their package rliable was last released in 2024 and must be
built from source. SciPy has all that is needed here; it is imported late, since only benchmarks
need it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "Interval",
    "Scores",
    "improvement",
    "interquartile_mean",
    "mean_over_seeds",
    "normalised",
    "profile",
]

Scores = Mapping[str, NDArray[np.float64]]
"""Normalised returns by task, shape (N,) each: one for each seed."""

_RESAMPLES = 5_000
_CONFIDENCE = 0.95


@dataclass(frozen=True)
class Interval:
    """A value with its 95 % interval."""

    value: float
    """The value."""
    low: float
    """Lower end of the interval; NaN without one."""
    high: float
    """Upper end; NaN without one."""


def normalised(returns: NDArray[np.float64], *, random: float, true: float) -> NDArray[np.float64]:
    """Scales returns so that random play has 0 and the agent on the true reward has 1.

    Args:
        returns: Returns, shape (N,).
        random: Mean return of random play.
        true: Mean return of the same agent, trained on the true reward.
    """
    return np.asarray((returns - random) / (true - random))


def interquartile_mean(scores: Scores) -> Interval:
    """Mean of the middle half of all runs, with a stratified bootstrap interval.

    Args:
        scores: Scores by task. Seeds are resampled within each task; tasks are not.
    """
    return _bootstrapped(list(scores.values()), _trimmed)


def improvement(scores: Scores, others: Scores) -> Interval:
    """Probability that a run beats one of the others on the same task, mean over tasks.

    A tie counts as half.

    Args:
        scores: Scores by task.
        others: Other scores by task; only tasks that are in both count.
    """
    tasks = [task for task in scores if task in others]
    ours, theirs = [scores[task] for task in tasks], [others[task] for task in tasks]

    def mean_probability(*samples: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
        assert axis == -1
        each = [_probability(samples[n], samples[n + len(tasks)]) for n in range(len(tasks))]
        return np.asarray(np.mean(each, axis=0))

    return _bootstrapped([*ours, *theirs], mean_probability)


def profile(scores: Scores, thresholds: NDArray[np.float64]) -> NDArray[np.float64]:
    """Share of all runs above each threshold: the performance profile.

    Args:
        scores: Scores by task.
        thresholds: Thresholds, shape (K,).

    Returns:
        Shape (K,), the mean over tasks.
    """
    above = [(values[:, None] > thresholds).mean(axis=0) for values in scores.values()]
    return np.asarray(np.mean(above, axis=0))


def mean_over_seeds(values: Sequence[float] | NDArray[np.float64]) -> Interval:
    """Mean with the interval of Student's t, which is wide for few seeds."""
    from scipy import stats

    n, mean = len(values), float(np.mean(values))
    if n < 2:
        return Interval(mean, math.nan, math.nan)
    half = stats.t.ppf((1 + _CONFIDENCE) / 2, n - 1) * np.std(values, ddof=1) / math.sqrt(n)
    return Interval(mean, mean - float(half), mean + float(half))


def _trimmed(*samples: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
    from scipy import stats

    return np.asarray(stats.trim_mean(np.concatenate(samples, axis=axis), 0.25, axis=axis))


def _probability(ours: NDArray[np.float64], theirs: NDArray[np.float64]) -> NDArray[np.float64]:
    """Share of pairs won by ours, from shapes (..., N) and (..., N') to (...)."""
    differences = np.sign(ours[..., :, None] - theirs[..., None, :])
    return np.asarray((differences / 2 + 0.5).mean(axis=(-2, -1)))


def _bootstrapped(samples: list[NDArray[np.float64]], statistic: object) -> Interval:
    """Computes a statistic with a bootstrap interval; each sample is resampled by itself."""
    from scipy import stats

    assert callable(statistic)
    value = float(statistic(*samples, axis=-1))
    if min(map(len, samples)) < 2:
        return Interval(value, math.nan, math.nan)
    found = stats.bootstrap(
        samples,
        statistic,
        n_resamples=_RESAMPLES,
        vectorized=True,
        axis=-1,
        confidence_level=_CONFIDENCE,
        method="percentile",
        rng=np.random.default_rng(0),
    )
    low, high = found.confidence_interval
    return Interval(value, float(low), float(high))
