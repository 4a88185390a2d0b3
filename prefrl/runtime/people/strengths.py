"""The strength of answers.

Data may tell a strength of any size: it is kept beside the label store, which knows answers. People
may say "slightly" or "clearly": those are marks in the store.
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


def judgement_of(
    comparison: Comparison,
    annotator_id: str,
    said: str | None,
    *,
    certainties: Mapping[str, float],
    strengths: Strengths,
) -> Judgement:
    """What an answer comes to in a fit.

    Args:
        comparison: The answer.
        annotator_id: Who gave it.
        said: How much better they said that the side is, as ``Marks.strengths`` has it, if they
            did.
        certainties: P(the chosen side is better) for each word that they may have said.
        strengths: What data told; it counts before anything that was said.
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
    """The current answers that events come to, in the order of the events.

    Args:
        events: All events of a store up to some id.
        queries: The queries by id.
        said: What was said of how much better a side is, by the id of the answer's event.
        certainties: As for ``judgement_of``.
        strengths: What data told.
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
    """All current answers in the order of their events, with their strengths.

    Args:
        store: Where the answers are.
        strengths: What data told.
        certainties: As for ``judgement_of``.
    """
    return judgements_from(
        store.events(),
        {query.id: query for query in store.queries()},
        store.marks.strengths(),
        certainties=certainties,
        strengths=strengths,
    )
