"""How strongly data prefers what it prefers: kept beside the label store, which knows answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from prefrl.core.comparisons import Comparison, Judgement, SoftComparison
from prefrl.core.store import LabelStore
from prefrl.runtime.rundir import RunDirectory

__all__ = ["Strength", "Strengths", "judgements_of", "keep_strengths", "strengths_of", "told_by"]

_FILE = "strengths.json"


@dataclass(frozen=True)
class Strength:
    """Of one answer."""

    preference: float
    """P(left is better)."""
    margin: float = 0.0
    """By how much the better one is at least better, in units of scores."""


Strengths = Mapping[tuple[str, str], Strength]
"""By the query's id and who answered."""


def keep_strengths(run: RunDirectory, strengths: Strengths) -> None:
    """Keeps them in a run, whose folder of what it began with is there."""
    rows = [[*key, told.preference, told.margin] for key, told in strengths.items()]
    run.write_json(run.taken / _FILE, {"strengths": rows})


def strengths_of(run: RunDirectory | None) -> Strengths:
    """Those of a run; none, if its data told none."""
    if run is None or not (run.taken / _FILE).is_file():
        return {}
    rows = run.read_json(run.taken / _FILE)["strengths"]
    return {(query, who): Strength(preference, margin) for query, who, preference, margin in rows}


def told_by(comparison: Comparison, annotator_id: str, strengths: Strengths) -> Judgement:
    """An answer with its strength, if one was told."""
    told = strengths.get((comparison.query.id, annotator_id))
    if told is None:
        return comparison
    return SoftComparison(comparison.query, told.preference, told.margin)


def judgements_of(store: LabelStore, strengths: Strengths) -> list[Judgement]:
    """All current answers in the order of their events, with their strengths."""
    comparisons = store.comparisons()
    if not strengths:
        return [comparison for _, comparison in comparisons]
    whose = {event.id: event.annotator_id for event in store.events()}
    return [told_by(comparison, whose[number], strengths) for number, comparison in comparisons]
