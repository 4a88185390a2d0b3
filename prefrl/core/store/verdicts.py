"""Verdicts: one answer per query from all annotators' answers, and the ranks of groups.

If several annotators answered a query, the verdict is the answer that most of them gave. Skips are
not votes, and if two answers have equally many votes there is no verdict.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from prefrl.core.comparisons import Answer, Comparison, Judgement
from prefrl.core.store.reader import LabelReader
from prefrl.errors import ConfigError, NotEnoughDataError

__all__ = ["Ranking", "Verdicts", "decided", "rankings_of", "verdicts_of", "wins_of"]


@dataclass(frozen=True)
class Verdicts:
    """The verdicts of a store."""

    comparisons: tuple[Comparison, ...]
    """One comparison for each query with a verdict, never a skip, in the order of the answers."""
    n_skipped: int
    """Number of queries that all who answered skipped."""
    n_drawn: int
    """Number of queries without a verdict because two answers share the most votes."""
    n_unanswered: int
    """Number of queries without a current answer."""


@dataclass(frozen=True)
class Ranking:
    """Items from the best to the worst; a pair is a ranking of two."""

    name: str
    """The id of the group, or of a pair's query."""
    items: tuple[str, ...]
    """Ids of the K items, in an order that has no meaning."""
    ranks: tuple[int, ...]
    """Rank of each item: one more than the number of better items, so that 1 is the best. Ties have
    equal ranks."""


def verdicts_of(store: LabelReader, *, annotator: str | None = None) -> Verdicts:
    """Returns the verdict on each query, of most annotators or of a single one.

    Args:
        store: Label store with the answers.
        annotator: The only annotator whose answers count; None counts all.

    Raises:
        ConfigError: If an annotator is named who has given no answer.
        NotEnoughDataError: If there are no answers.
    """
    names = store.annotators()
    if not names:
        raise NotEnoughDataError(
            "expected answers in the label store, found none; label some pairs first."
        )
    if annotator is not None and annotator not in names:
        raise ConfigError(f"expected annotator to be one of {', '.join(names)}, got {annotator!r}.")
    answers: dict[str, list[Comparison]] = {}
    for _, comparison in store.comparisons(annotator=annotator):
        answers.setdefault(comparison.query.id, []).append(comparison)
    found, n_skipped, n_drawn = list[Comparison](), 0, 0
    for given in answers.values():
        votes = Counter(c.answer for c in given if c.answer is not Answer.SKIP).most_common(2)
        if not votes:
            n_skipped += 1
        elif len(votes) == 2 and votes[0][1] == votes[1][1]:
            n_drawn += 1
        else:
            found.append(Comparison(given[0].query, votes[0][0]))
    n_unanswered = store.counts().queries - len(answers)
    return Verdicts(tuple(found), n_skipped, n_drawn, n_unanswered)


def rankings_of(comparisons: Iterable[Comparison]) -> tuple[list[Ranking], int]:
    """Converts pairs and groups to rankings.

    If the verdicts on a group give no order, because one is missing or they contradict each other,
    each of its pairs becomes a ranking, so that nothing is added or lost.

    Args:
        comparisons: One for each query, never a skip.

    Returns:
        The rankings, and the number of groups that were split into pairs.
    """
    groups: dict[tuple[bool, str], list[Comparison]] = {}
    for comparison in comparisons:
        query = comparison.query
        key = (query.group is not None, query.group or query.id)
        groups.setdefault(key, []).append(comparison)
    rankings, n_broken = list[Ranking](), 0
    for (_, name), group in groups.items():
        whole = _ranking(name, group)
        if whole is not None:
            rankings.append(whole)
            continue
        n_broken += 1
        rankings += filter(None, (_ranking(c.query.id, [c]) for c in group))
    return rankings, n_broken


def _ranking(name: str, group: Sequence[Comparison]) -> Ranking | None:
    """Returns the ranking by the verdicts on all pairs of K items; None if they give no order."""
    items = sorted({item for c in group for item in (c.query.left, c.query.right)})
    if len({frozenset((c.query.left, c.query.right)) for c in group}) < math.comb(len(items), 2):
        return None
    n_better = Counter(worse for _, _, worse in decided(group))
    ranks = {item: 1 + n_better[item] for item in items}
    for c in group:
        left, right = ranks[c.query.left], ranks[c.query.right]
        if c.preference != (0.5 if left == right else float(left < right)):
            return None
    return Ranking(name, tuple(items), tuple(ranks.values()))


def decided(comparisons: Iterable[Judgement]) -> Iterator[tuple[str, str, str]]:
    """Yields query id, better item and worse item for each comparison that prefers an item."""
    for c in comparisons:
        if c.preference is None or c.preference == 0.5:
            continue
        if c.preference > 0.5:
            yield c.query.id, c.query.left, c.query.right
        else:
            yield c.query.id, c.query.right, c.query.left


def wins_of(comparisons: Iterable[Judgement]) -> dict[str, int]:
    """Counts how many more comparisons each item has won than lost; ties count as neither."""
    comparisons = list(comparisons)
    wins = {item: 0 for c in comparisons for item in (c.query.left, c.query.right)}
    for _, better, worse in decided(comparisons):
        wins[better] += 1
        wins[worse] -= 1
    return wins
