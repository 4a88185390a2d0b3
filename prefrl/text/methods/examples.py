"""Fine-tuning examples from answers: pairs, rankings or single responses."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from prefrl.core.comparisons import Judgement
from prefrl.core.store.verdicts import wins_of

__all__ = [
    "BAD",
    "GOOD",
    "Example",
    "Takes",
    "examples_of",
    "pairs_of",
    "rankings_of",
    "single_responses_of",
]

Takes = Literal["pairs", "rankings", "single responses"]
"""The kind of examples that a method learns from."""

GOOD, BAD = 1.0, 2.0
"""Ranks of a single response."""


@dataclass(frozen=True)
class Example:
    """Judged responses to one prompt: the subject of one term of a loss."""

    ids: tuple[str, ...]
    """Ids of the responses, the best first; or of one single response."""
    ranks: tuple[float, ...]
    """Their ranks; the lowest is the best, equal ones are ties. Of a single one GOOD or BAD."""
    strength: tuple[float, float] = (1.0, 0.0)
    """For a pair: P(the first one is better), and the least margin by which it is better."""


def pairs_of(comparisons: Iterable[Judgement]) -> list[Example]:
    """Chosen and rejected responses, in the order of the answers; no ties, no skips."""
    found = []
    for comparison in comparisons:
        query, share = comparison.query, comparison.preference
        if share is None or share == 0.5:
            continue
        ids = (query.left, query.right) if share > 0.5 else (query.right, query.left)
        strength = (max(share, 1 - share), comparison.margin)
        found.append(Example(ids, (1.0, 2.0), strength))
    return found


def rankings_of(comparisons: Iterable[Judgement]) -> list[Example]:
    """Rankings, in the order of the answers; a pair on its own is a ranking of two.

    A group with answers to all its pairs is one ranking, by points: one for each worse response and
    half a point for a tie. If several people answered a pair, their mean counts. In a group with a
    skip, each answered pair is a ranking of two. Rankings that order nothing are left out.
    """
    by_group: dict[str, list[Judgement]] = {}
    for number, comparison in enumerate(comparisons):
        by_group.setdefault(comparison.query.group or f" {number}", []).append(comparison)
    found = []
    for group in by_group.values():
        ranking = _ranking(group)
        found += pairs_of(group) if ranking is None else [ranking]
    return [example for example in found if len(set(example.ranks)) > 1]


def _ranking(group: Sequence[Judgement]) -> Example | None:
    """The ranking of three or more responses by answers to all pairs; None without these."""
    preferences: dict[tuple[str, str], list[float]] = {}
    for comparison in group:
        if comparison.preference is not None:
            pair = (comparison.query.left, comparison.query.right)
            preferences.setdefault(pair, []).append(comparison.preference)
    points = {item: 0.0 for pair in preferences for item in pair}
    if len(points) < 3 or len(preferences) != len(points) * (len(points) - 1) // 2:
        return None
    for (left, right), said in preferences.items():
        mean = sum(said) / len(said)
        points[left] += mean
        points[right] += 1 - mean
    rounded = {item: round(value, 6) for item, value in points.items()}  # thirds are inexact
    order = sorted(rounded, key=lambda item: -rounded[item])
    better = [sum(other > rounded[item] for other in rounded.values()) for item in order]
    return Example(tuple(order), tuple(float(1 + n) for n in better))


def single_responses_of(
    comparisons: Iterable[Judgement], labels: Iterable[tuple[str, bool]]
) -> list[Example]:
    """Responses that are good or bad, each once: good if they won more often than they lost.

    Args:
        comparisons: In each, the preferred response wins and the other one loses.
        labels: Ids of single responses, and whether they are good: one more win, or loss.

    Returns:
        All responses except those that won as often as they lost.
    """
    wins = wins_of(comparisons)
    for response_id, is_good in labels:
        wins[response_id] = wins.get(response_id, 0) + (1 if is_good else -1)
    return [Example((one,), (GOOD if n > 0 else BAD,)) for one, n in wins.items() if n]


def examples_of(
    takes: Takes, comparisons: Sequence[Judgement], labels: Iterable[tuple[str, bool]]
) -> list[Example]:
    """Makes the examples that a method learns from.

    Args:
        takes: Kind of its examples.
        comparisons: All answers.
        labels: Ids of single responses, and whether they are good.
    """
    if takes == "pairs":
        return pairs_of(comparisons)
    if takes == "rankings":
        return rankings_of(comparisons)
    return single_responses_of(comparisons, labels)
