"""The Bradley-Terry model: how good items are, judged by their comparisons with each other.

Bradley and Terry 1952: ``P(a is better than b) = sigmoid(score_a - score_b)``. A tie counts as half
a win for each. The scores have a prior, ``N(0, PRIOR_SD ** 2)``, so they stay finite for an item
that always wins and for one that was never compared. Intervals are Laplace approximations: normal,
with the curvature at the best scores. In simulations 92 to 97 % of them held the true score.

Only differences between scores mean anything, and only among items that are linked by comparisons:
the mean score of each such group is 0.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from prefrl.core.intervals import Z95

__all__ = ["PRIOR_SD", "Standing", "best_scores", "groups_of", "standings"]

PRIOR_SD = 2.0
"""Standard deviation of the prior on scores: two thirds of all items win at most 88 % against an
average one."""

_MOST_STEPS = 50
_SMALL = 1e-9


@dataclass(frozen=True)
class Standing:
    """The result of an item's comparisons."""

    item: str
    """Its id."""
    group: int
    """Number of its group, from 0: scores of different groups cannot be compared."""
    score: float
    """Log-odds of winning against an average item of its group."""
    low: float
    """Lower end of the 95 % interval of the score."""
    high: float
    """Upper end."""
    n_wins: int
    """Comparisons that it won."""
    n_losses: int
    """Comparisons that it lost."""
    n_ties: int
    """Comparisons that were ties."""

    @property
    def n_compared(self) -> int:
        """How often it was compared."""
        return self.n_wins + self.n_losses + self.n_ties


def groups_of(links: Iterable[tuple[str, str]]) -> list[list[str]]:
    """Groups items that are linked, directly or through others.

    Args:
        links: Pairs of items.

    Returns:
        The groups and their items, both in order of first appearance.
    """
    neighbours = defaultdict[str, list[str]](list)
    for left, right in links:
        neighbours[left].append(right)
        neighbours[right].append(left)
    groups, seen = list[list[str]](), set[str]()
    order = {item: number for number, item in enumerate(neighbours)}
    for first in neighbours:
        if first in seen:
            continue
        group, ahead = list[str](), [first]
        seen.add(first)
        while ahead:
            group.append(item := ahead.pop())
            new = [other for other in neighbours[item] if other not in seen]
            seen.update(new)
            ahead += dict.fromkeys(new)
        groups.append(sorted(group, key=order.__getitem__))
    return groups


def standings(
    asked: Iterable[tuple[str, str]], answers: Iterable[tuple[str, str, float]]
) -> list[Standing]:
    """Scores each item from its comparisons.

    Args:
        asked: Pairs that have been or will be compared; they link items into groups.
        answers: Left item, right item, and P(left is better) in [0, 1]; 0.5 is a tie. A pair that
            several people answered appears several times.

    Returns:
        Group by group, the best item first; equal items by id.
    """
    by_item = defaultdict[str, list[tuple[str, str, float]]](list)
    answers = list(answers)
    for answer in answers:
        by_item[answer[0]].append(answer)
    links = [*asked, *((left, right) for left, right, _ in answers)]
    found = list[Standing]()
    for number, group in enumerate(groups_of(links)):
        place = {item: i for i, item in enumerate(group)}
        own = [answer for item in group for answer in by_item[item]]
        left = np.array([place[one] for one, _, _ in own], np.int64)
        right = np.array([place[other] for _, other, _ in own], np.int64)
        preference = np.array([told for _, _, told in own], np.float64)
        precision = PRIOR_SD**-2
        scores, curvature = best_scores(len(group), left, right, preference, precision=precision)
        deviations = _deviations(curvature)
        n_won = _counts(len(group), left, preference > 0.5, right, preference < 0.5)
        n_lost = _counts(len(group), left, preference < 0.5, right, preference > 0.5)
        n_tied = _counts(len(group), left, preference == 0.5, right, preference == 0.5)
        rows = [
            Standing(
                item,
                number,
                float(scores[i]),
                float(scores[i] - Z95 * deviations[i]),
                float(scores[i] + Z95 * deviations[i]),
                *(int(n[i]) for n in (n_won, n_lost, n_tied)),
            )
            for item, i in place.items()
        ]
        found += sorted(rows, key=lambda row: (-row.score, row.item))
    return found


def _counts(
    n: int,
    left: NDArray[np.int64],
    of_left: NDArray[np.bool_],
    right: NDArray[np.int64],
    of_right: NDArray[np.bool_],
) -> NDArray[np.int64]:
    return np.bincount(left[of_left], minlength=n) + np.bincount(right[of_right], minlength=n)


def best_scores(
    n: int,
    left: NDArray[np.int64],
    right: NDArray[np.int64],
    preference: NDArray[np.float64],
    *,
    precision: float,
    times: float = 1.0,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Finds the most probable scores, given comparisons and prior, by Newton's method.

    Args:
        n: Number of items.
        left: Number of the left item of each comparison, from 0, shape (P,).
        right: Number of the right item of each comparison, shape (P,).
        preference: P(left is better) as answered, or the mean over answers, shape (P,).
        precision: Precision of the prior on scores: one over its variance, above 0.
        times: How many comparisons each entry stands for.

    Returns:
        The scores, with mean 0, shape (n,); and the curvature of the negative log posterior there,
        shape (n, n).
    """
    scores = np.zeros(n)

    def loss(at: NDArray[np.float64]) -> float:
        gap = at[left] - at[right]
        told = np.logaddexp(0.0, -gap) + (1.0 - preference) * gap  # cross-entropy of the sigmoid
        return float(times * told.sum() + 0.5 * precision * (at**2).sum())

    curvature = np.eye(n)
    for _ in range(_MOST_STEPS):
        chance = 1.0 / (1.0 + np.exp(scores[right] - scores[left]))
        slope = precision * scores
        np.add.at(slope, left, times * (chance - preference))
        np.add.at(slope, right, times * (preference - chance))
        weight = times * chance * (1.0 - chance)
        curvature = precision * np.eye(n)
        for one, other, sign in ((left, left, 1), (right, right, 1), (left, right, -1)):
            np.add.at(curvature, (one, other), sign * weight)
        np.add.at(curvature, (right, left), -weight)
        step, before = np.linalg.solve(curvature, slope), loss(scores)
        scale = 1.0
        while loss(scores - scale * step) > before + _SMALL and scale > _SMALL:
            scale /= 2  # far from the best scores a whole step may be too long
        scores = scores - scale * step
        if np.abs(step).max() < 1e-8:
            break
    return scores - scores.mean(), curvature


def _deviations(curvature: NDArray[np.float64]) -> NDArray[np.float64]:
    """Standard deviations of scores relative to their mean, which the answers do not determine."""
    covariance = np.linalg.inv(curvature)
    against = covariance.mean(axis=1)
    variance = np.diag(covariance) - 2 * against + covariance.mean()
    return np.asarray(np.sqrt(np.maximum(variance, 0.0)))
