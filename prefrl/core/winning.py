"""Statistics for comparing models: win rates, their intervals, and control for length.

An outcome is 1 for a win, 0 for a defeat, 0.5 for a tie.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from prefrl.core.bradley_terry import best_scores
from prefrl.core.intervals import wilson_interval

__all__ = [
    "Calibration",
    "Interval",
    "bootstrap",
    "bradley_terry",
    "calibration",
    "length_controlled",
    "win_rate",
]

Outcomes = NDArray[np.float64]

_RESAMPLES = 1000
_RIDGE = 0.01  # keeps strengths finite where one side always wins
_NEWTON_STEPS = 50
_ELO = 400 / math.log(10)
_MEAN_ELO = 1000.0


@dataclass(frozen=True)
class Interval:
    """A value with its 95 % interval."""

    value: float
    """The value."""
    low: float
    """Lower end of the interval."""
    high: float
    """Upper end of the interval."""


def win_rate(outcomes: Outcomes) -> Interval:
    """Computes the share of wins, counting ties as half, with Wilson's interval (Wilson 1927).

    With ties the interval is wider than necessary.

    Args:
        outcomes: Outcomes of N independent comparisons, shape (N,).
    """
    low, high = wilson_interval(outcomes.sum(), len(outcomes))
    return Interval(float(outcomes.mean()), float(low), float(high))


def bootstrap(
    figure: Callable[[NDArray[np.intp]], float], n: int, *, seed: int = 0
) -> tuple[float, float]:
    """Computes a 95 % bootstrap interval, by resampling N of N comparisons (Efron 1979).

    Args:
        figure: Computes a figure from positions of comparisons.
        n: Number of comparisons.
        seed: Seed of the draws.
    """
    rng = np.random.default_rng(seed)
    drawn = [figure(rng.integers(n, size=n)) for _ in range(_RESAMPLES)]
    low, high = np.quantile(drawn, [0.025, 0.975])
    return float(low), float(high)


def length_controlled(outcomes: Outcomes, longer_by: NDArray[np.floating]) -> Interval:
    """Computes the win rate as if both sides were equally long, as in AlpacaEval 2.

    A logistic regression of the outcome on tanh of the difference in length, in units of its
    deviation: logit P(win) = theta + phi * tanh(d / std(d)); the figure is sigmoid(theta) (Dubois
    et al. 2024, arXiv 2404.04475, section 3, without its term for how hard each instruction is,
    which takes many models to know). A small ridge on both keeps them finite.

    Args:
        outcomes: Outcomes, shape (N,).
        longer_by: How much longer our response is, in characters, shape (N,).
    """
    deviation = float(longer_by.std())
    feature = np.tanh(longer_by / deviation) if deviation > 0 else np.zeros(len(outcomes))

    def figure(places: NDArray[np.intp]) -> float:
        design = np.stack([np.ones(len(places)), feature[places]], axis=1)
        return _sigmoid(float(_logistic(design, outcomes[places])[0]))

    low, high = bootstrap(figure, len(outcomes))
    return Interval(figure(np.arange(len(outcomes))), low, high)


def _logistic(design: NDArray[np.float64], outcomes: Outcomes) -> NDArray[np.float64]:
    """Weights of a logistic regression with a ridge, by Newton's method; outcomes may be 0.5."""
    weights = np.zeros(design.shape[1])
    for _ in range(_NEWTON_STEPS):
        p = 1 / (1 + np.exp(-np.clip(design @ weights, -30, 30)))
        gradient = design.T @ (outcomes - p) - _RIDGE * weights
        curvature = (design * (p * (1 - p))[:, None]).T @ design + _RIDGE * np.eye(len(weights))
        step = np.linalg.solve(curvature, gradient)
        weights = weights + step / max(1.0, float(np.abs(step).max()))
        if float(np.abs(step).max()) < 1e-8:
            break
    return weights


def bradley_terry(
    names: Sequence[str], outcomes: Mapping[tuple[str, str], Outcomes]
) -> dict[str, Interval]:
    """Computes strengths on Elo's scale, with mean 1000 (Bradley and Terry 1952).

    400 points more mean ten wins to one defeat. Intervals are from a bootstrap over comparisons.

    Args:
        names: Names of the models.
        outcomes: Outcomes of the first against the second, shape (N,), for each pair of names; all
            on the same prompts in the same order.
    """
    pairs = list(outcomes)
    n = min(len(told) for told in outcomes.values())
    first = np.array([names.index(one) for one, _ in pairs], np.int64)
    second = np.array([names.index(other) for _, other in pairs], np.int64)
    table = np.stack([outcomes[pair][:n] for pair in pairs])  # (P, N)

    def strengths(places: NDArray[np.intp]) -> NDArray[np.float64]:
        won = table[:, places].mean(axis=1)
        found, _ = best_scores(len(names), first, second, won, precision=_RIDGE, times=n)
        return np.asarray(_MEAN_ELO + _ELO * found)

    rng = np.random.default_rng(0)
    drawn = np.stack([strengths(rng.integers(n, size=n)) for _ in range(_RESAMPLES // 5)])
    low, high = np.quantile(drawn, [0.025, 0.975], axis=0)
    values = strengths(np.arange(n))
    return {
        name: Interval(float(values[i]), float(low[i]), float(high[i]))
        for i, name in enumerate(names)
    }


@dataclass(frozen=True)
class Calibration:
    """How well a reward model's confidence matches its accuracy."""

    n: int
    """Number of decided comparisons."""
    accuracy: Interval
    """Share of them that it predicts correctly."""
    ece: float
    """Expected calibration error, over bins of its confidence (Guo et al. 2017, equation 3)."""
    bins: tuple[tuple[float, float, int], ...]
    """For each non-empty bin: mean confidence, share of correct predictions, and count."""


def calibration(
    probability: NDArray[np.floating], outcomes: Outcomes, *, n_bins: int = 10
) -> Calibration | None:
    """Measures accuracy and calibration of predicted preferences; None if nothing was decided.

    Args:
        probability: P(the first is better), shape (N,).
        outcomes: Outcomes, shape (N,); ties are left out.
        n_bins: Bins of equal width between confidences 0.5 and 1.
    """
    decided = outcomes != 0.5
    p, won = np.asarray(probability, np.float64)[decided], outcomes[decided] > 0.5
    if len(p) == 0:
        return None
    confidence, right = np.maximum(p, 1 - p), np.where(p == 0.5, 0.5, (p > 0.5) == won)
    places = np.clip(((confidence - 0.5) * 2 * n_bins).astype(int), 0, n_bins - 1)
    bins = [
        (float(confidence[at].mean()), float(right[at].mean()), int(at.sum()))
        for at in (places == i for i in range(n_bins))
        if at.any()
    ]
    ece = sum(n * abs(said - true) for said, true, n in bins) / len(p)
    return Calibration(len(p), win_rate(right.astype(np.float64)), ece, tuple(bins))


def _sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-max(-30.0, min(30.0, x))))
