"""Combines several people's answers to a pair into one: what most of them said."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from prefrl.core.comparisons import Answer, Comparison, Judgement

__all__ = ["majority"]


def majority(judgements: Iterable[Judgement]) -> list[Judgement]:
    """Returns one comparison for each query, with the answer that most people gave.

    If no single answer has the most votes, it is a tie; "can't tell" counts only if nobody could
    tell. The certainty is the mean over those who gave the answer. Soft comparisons, which come
    from data, are not votes and stay as they are.

    Args:
        judgements: One for each query and person.

    Returns:
        The soft comparisons, then the others in the order of the newest answer to each query.
    """
    by_query: dict[str, list[Comparison]] = {}
    others: list[Judgement] = []
    for judgement in judgements:
        if not isinstance(judgement, Comparison):
            others.append(judgement)
            continue
        votes = by_query.pop(judgement.query.id, [])  # the newest is put last
        by_query[judgement.query.id] = [*votes, judgement]
    return [*others, *(_one(votes) for votes in by_query.values())]


def _one(votes: list[Comparison]) -> Comparison:
    told = [vote for vote in votes if vote.answer != Answer.SKIP]
    if not told:
        return votes[-1]
    (first, most), *others = Counter(vote.answer for vote in told).most_common(2)
    answer = Answer.TIE if others and others[0][1] == most else first
    sure = [vote.certainty for vote in told if vote.answer == answer] or [1.0]
    return Comparison(votes[-1].query, answer, sum(sure) / len(sure))
