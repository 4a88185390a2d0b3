"""Confidence intervals of shares."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["Z95", "wilson_interval"]

Z95 = NormalDist().inv_cdf(0.975)
"""The 97.5 % quantile of the standard normal distribution: 95 % lie within this distance of 0."""


def wilson_interval(
    successes: ArrayLike, trials: ArrayLike, *, confidence: float = 0.95
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Computes Wilson's score interval for a share.

    With p = k/n, it is (p + z²/2n ± z √(p(1-p)/n + z²/4n²)) / (1 + z²/n). Wilson (1927), "Probable
    inference, the law of succession, and statistical inference", JASA 22; Brown, Cai and DasGupta
    (2001), "Interval estimation for a binomial proportion", equation 4. It stays within [0, 1] and
    holds its level for few trials and shares near 0 and 1. A tie may count as half a success. Ties
    vary less than wins and losses, so the interval is then too wide rather than too narrow.

    Args:
        successes: Number of successes, of any shape; need not be whole.
        trials: Number of trials, of the same shape or one that broadcasts.
        confidence: How often such an interval should contain the true share.

    Returns:
        Lower and upper end, in the common shape; 0 and 1 where there were no trials.

    Raises:
        ValueError: If the successes are not from 0 to the trials, or the confidence not in (0, 1).
    """
    k, n = np.broadcast_arrays(np.asarray(successes, np.float64), np.asarray(trials, np.float64))
    wrong = ~((0 <= k) & (k <= n))
    if wrong.any():
        raise ValueError(f"expected from 0 to {n[wrong][0]:g} successes, got {k[wrong][0]:g}.")
    if not 0 < confidence < 1:
        raise ValueError(f"expected a confidence between 0 and 1, got {confidence}.")
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    known = np.where(n > 0, n, 1.0)
    p, spread = k / known, z**2 / known
    middle = (p + spread / 2) / (1 + spread)
    half = z * np.sqrt(p * (1 - p) / known + spread / (4 * known)) / (1 + spread)
    # At 0 and at 1 the ends are exact; rounding must not move them past the share.
    low = np.where(k == 0, 0.0, np.maximum(middle - half, 0.0))
    high = np.where(k == n, 1.0, np.minimum(middle + half, 1.0))
    return low, high
