"""Best of n: take the response that the reward ensemble scores highest."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

__all__ = ["best_of_n_curve", "best_of_n_gold"]


def best_of_n_gold(
    scores: NDArray[np.float64], golds: NDArray[np.float64], n: int
) -> NDArray[np.float64]:
    """Expected gold score of the best of n, from N >= n responses to each prompt, without bias.

    ``sum_{i=n..N} C(i - 1, n - 1) / C(N, n) gold_(i)``, with responses in the order of their scores
    (Nakano et al. 2021, arXiv 2112.09332, appendix I).

    Args:
        scores: Scores of the responses, shape (P, N).
        golds: Their gold scores, shape (P, N).
        n: Number of responses of which the best is taken.

    Returns:
        Shape (P,).
    """
    total = scores.shape[1]
    ordered = np.take_along_axis(golds, scores.argsort(1, kind="stable"), 1)
    weights = [math.comb(i - 1, n - 1) / math.comb(total, n) for i in range(1, total + 1)]
    return np.asarray(ordered @ np.array(weights))


def best_of_n_curve(
    scores: NDArray[np.float64], golds: NDArray[np.float64], most: int
) -> list[dict[str, float]]:
    """Gold score and KL for n = 1, 2, 4, … up to ``most``.

    Args:
        scores: Scores of ``most`` responses to each of P prompts, shape (P * most,).
        golds: Their gold scores, shape (P * most,).
        most: Responses to each prompt.
    """
    by_prompt = scores.reshape(-1, most), golds.reshape(-1, most)
    powers = [2**k for k in range(most.bit_length()) if 2**k < most] + [most]
    return [
        {
            "n": n,
            "kl": math.log(n) - (n - 1) / n,
            "gold": float(best_of_n_gold(*by_prompt, n).mean()),
        }
        for n in powers
    ]
