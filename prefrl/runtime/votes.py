"""Several people's answers to one pair as one: what most of them said."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from prefrl.core.comparisons import Answer, Comparison, Judgement

__all__ = ["majority"]


def majority(comparisons: Iterable[Judgement]) -> list[Judgement]:
    """One comparison for each query, with the answer that most people gave.

    Where no answer has the most votes, it is a tie; "can't tell" has no vote where anybody could
    tell. How sure it is, is the mean of those who gave the answer.

    Args:
        comparisons: One for each query and person. Those of data that says how strongly it prefers
            stay as they are.

    Returns:
        In the order of the newest answer to each query.
    """
    by_query: dict[str, list[Comparison]] = {}
    others = list[Judgement]()
    for comparison in comparisons:
        if not isinstance(comparison, Comparison):
            others.append(comparison)
            continue
        votes = by_query.pop(comparison.query.id, [])  # what is newest is put last
        by_query[comparison.query.id] = [*votes, comparison]
    return [*others, *map(_one, by_query.values())]


def _one(votes: list[Comparison]) -> Comparison:
    told = [vote for vote in votes if vote.answer != Answer.SKIP]
    if not told:
        return votes[-1]
    (first, most), *others = Counter(vote.answer for vote in told).most_common(2)
    answer = Answer.TIE if others and others[0][1] == most else first
    sure = [vote.certainty for vote in told if vote.answer == answer] or [1.0]
    return Comparison(votes[-1].query, answer, sum(sure) / len(sure))
