"""The strength of answers.

Data may come with preferences of any strength: these are kept in a file beside the label store,
which holds plain answers. People may say "slightly" or "clearly": those are marks in the store.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from prefrl.core.comparisons import Comparison, Judgement, Query, SoftComparison
from prefrl.core.store import LabelStore
from prefrl.core.store.labels import LabelEvent, resolve
from prefrl.runtime.rundir import RunDirectory

__all__ = [
    "Strength",
    "Strengths",
    "judgement_of",
    "judgements_from",
    "judgements_of",
    "keep_strengths",
    "strengths_of",
]

_FILE = "strengths.json"


@dataclass(frozen=True)
class Strength:
    """The strength of one answer."""

    preference: float
    """P(left is better)."""
    margin: float = 0.0
    """Least difference of scores that the fit wants in favour of the better side."""


Strengths = Mapping[tuple[str, str], Strength]
"""Strengths by query id and annotator id."""


def keep_strengths(run: RunDirectory, strengths: Strengths) -> None:
    """Saves the strengths of a run's data in its folder ``taken``, which must exist."""
    rows = [[*key, told.preference, told.margin] for key, told in strengths.items()]
    run.write_json(run.taken / _FILE, {"strengths": rows})


def strengths_of(run: RunDirectory | None) -> Strengths:
    """Loads the strengths of a run's data; empty if there are none."""
    if run is None or not (run.taken / _FILE).is_file():
        return {}
    rows = run.read_json(run.taken / _FILE)["strengths"]
    return {(query, who): Strength(preference, margin) for query, who, preference, margin in rows}


def judgement_of(
    comparison: Comparison,
    annotator_id: str,
    said: str | None,
    *,
    certainties: Mapping[str, float],
    strengths: Strengths,
) -> Judgement:
    """Combines an answer and its strength into a judgement for a fit.

    Args:
        comparison: The answer.
        annotator_id: Who gave it.
        said: The strength that they named, as in ``Marks.strengths``; None if they named none.
        certainties: P(the chosen side is better) for each strength that they may name.
        strengths: Strengths from data, which take precedence over ``said``.
    """
    told = strengths.get((comparison.query.id, annotator_id))
    if told is not None:
        return SoftComparison(comparison.query, told.preference, told.margin)
    if said is None:
        return comparison
    return replace(comparison, certainty=certainties[said])


def judgements_from(
    events: Iterable[LabelEvent],
    queries: Mapping[str, Query],
    said: Mapping[int, str],
    *,
    certainties: Mapping[str, float],
    strengths: Strengths,
) -> list[Judgement]:
    """Derives the current answers, with their strengths, from events, in the events' order.

    Args:
        events: All events of a store up to some id.
        queries: The queries by id.
        said: The strengths that people named, by the id of the answer's event.
        certainties: As for ``judgement_of``.
        strengths: Strengths from data.
    """
    return [
        judgement_of(
            Comparison(queries[event.query_id], event.answer),
            event.annotator_id,
            said.get(event.id),
            certainties=certainties,
            strengths=strengths,
        )
        for event in sorted(resolve(events).values(), key=lambda event: event.id)
        if event.answer is not None
    ]


def judgements_of(
    store: LabelStore, strengths: Strengths, *, certainties: Mapping[str, float]
) -> list[Judgement]:
    """Returns all current answers in the order of their events, with their strengths.

    Args:
        store: Label store with the answers.
        strengths: Strengths from data.
        certainties: As for ``judgement_of``.
    """
    return judgements_from(
        store.events(),
        {query.id: query for query in store.queries()},
        store.marks.strengths(),
        certainties=certainties,
        strengths=strengths,
    )
