"""The correlation of predicted with true values."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["correlation"]


def correlation(predicted: NDArray[Any], true: NDArray[Any]) -> float:
    """Returns Pearson's correlation of two arrays of equal shape, ignoring NaN.

    It is NaN if fewer than two pairs are left, or one side does not vary.
    """
    both = np.isfinite(predicted) & np.isfinite(true)
    x, y = predicted[both], true[both]
    if len(x) < 2 or x.std() < 1e-9 or y.std() < 1e-9:
        return math.nan
    return float(np.corrcoef(x, y)[0, 1])
