"""The data types of a label store: answers as events, the resulting labels, leases, counts."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from prefrl.core.comparisons import Answer, Query

__all__ = [
    "AI",
    "DATASET",
    "MACHINES",
    "ORACLE",
    "RENDERER",
    "Counts",
    "LabelChange",
    "LabelEvent",
    "Lease",
    "Submission",
    "check_text",
    "draft_event",
    "is_data",
    "is_person",
    "labels_of",
    "resolve",
]

ORACLE, RENDERER = "oracle", "renderer"
MACHINES = frozenset({ORACLE, RENDERER})
"""Annotators that are neither people nor models: the synthetic oracle, and the renderer, which
skips queries that it cannot film."""
AI = "ai:"
"""Prefix of the names of judge models. They count as annotators like people do, except in
statistics about people only."""
DATASET = "dataset"
"""Annotator of answers from a file. Further ratings of the same pair or group are stored as
``dataset-2`` and so on, so that each counts like that of another person."""


def is_person(annotator_id: str) -> bool:
    """Whether an annotator is a person, and not an oracle, a judge model or a file."""
    is_machine = annotator_id in MACHINES or annotator_id.startswith(AI)
    return not is_machine and not is_data(annotator_id)


def is_data(annotator_id: str) -> bool:
    """Whether an annotator stands for a file of answers."""
    return annotator_id == DATASET or annotator_id.startswith(f"{DATASET}-")


@dataclass(frozen=True)
class Submission:
    """An answer to be stored."""

    query_id: str
    """Id of the answered query."""
    answer: Answer
    """The answer, in terms of the query's left and right."""
    submission_key: str
    """The client's own name for this submission, made when the query is shown. Submitting the same
    content under the same key again returns what was stored the first time."""
    annotator_id: str
    """The annotator who answered. Their newer answer to the same query replaces this one."""
    supersedes: int | None = None
    """Id of an earlier event on the same query that this one replaces. If that is someone else's
    answer, it is withdrawn."""
    shown_at: float | None = None
    """Time at which the query was shown, in seconds since 1970."""
    client_ms: float | None = None
    """How long the labeller looked, in milliseconds."""
    order_shown: str | None = None
    """Order of the items on the screen, in the client's words."""
    rubric_ver: str | None = None
    """Version of the labeller's instructions."""

    def __post_init__(self) -> None:
        for name in ("shown_at", "client_ms"):
            number = getattr(self, name)
            if number is not None and not math.isfinite(number):
                raise ValueError(f"expected {name} to be a finite number, got {number}.")
        check_text(self.submission_key, self.annotator_id, self.order_shown, self.rubric_ver)


@dataclass(frozen=True)
class LabelEvent:
    """An acknowledged answer, or the withdrawal of one. Times are in seconds since 1970."""

    id: int
    """Number of the event, from 1 without gaps, in the order of commits; serves as a cursor."""
    query_id: str
    """Id of the answered query."""
    annotator_id: str
    """The annotator who answered."""
    submission_key: str
    """The client's own name for this submission."""
    answer: Answer | None
    """The answer, in terms of the query's left and right; None for an undo."""
    supersedes: int | None
    """Id of the event that this one replaces or undoes, if any."""
    shown_at: float | None
    """Time at which the query was shown."""
    answered_at: float
    """Time at which the answer was stored."""
    client_ms: float | None
    """How long the labeller looked, in milliseconds."""
    order_shown: str | None
    """Order of the items on the screen, in the client's words."""
    rubric_ver: str | None
    """Version of the labeller's instructions."""
    server_ver: str
    """Version of prefrl that stored the answer."""


@dataclass(frozen=True)
class LabelChange:
    """How one event changes the label of one annotator on one query."""

    event_id: int
    """Id of the event. One that replaces someone else's answer makes two changes."""
    query: Query
    """The query that the label is about."""
    annotator_id: str
    """The annotator whose label it is."""
    answer: Answer | None
    """The new label; None if it is withdrawn."""


@dataclass(frozen=True)
class Lease:
    """An open query that is reserved for one labeller for a while."""

    query: Query
    """The reserved query."""
    annotator_id: str
    """The labeller for whom it is reserved."""
    fence: int
    """Grows each time the query goes to another labeller, so that old leases are recognised."""
    expires_at: float
    """Time at which it expires, in seconds since 1970 by the clock of the store that gave it."""


@dataclass(frozen=True)
class Counts:
    """Counts of a store: ``queries = answered + skipped + open``."""

    queries: int
    """Number of all queries."""
    answered: int
    """Queries with a current answer other than SKIP."""
    skipped: int
    """Queries whose only current answers are SKIP."""
    open: int
    """Queries without a current answer."""


def draft_event(
    query_id: str,
    answer: Answer | None,
    submission_key: str,
    annotator_id: str,
    supersedes: int | None = None,
    **about: Any,
) -> LabelEvent:
    """Makes an event that has no id yet.

    Args:
        query_id: Id of the query.
        answer: The answer; None for an undo.
        submission_key: The client's own name for it.
        annotator_id: The annotator.
        supersedes: Id of the event that it replaces or undoes, if any.
        about: The other fields of ``LabelEvent``; those that describe how the query was shown may
            be left out.
    """
    nothing: dict[str, Any] = dict.fromkeys(("shown_at", "client_ms", "order_shown", "rubric_ver"))
    return LabelEvent(
        id=0,
        query_id=query_id,
        answer=answer,
        submission_key=submission_key,
        annotator_id=annotator_id,
        supersedes=supersedes,
        **(nothing | about),
    )


def resolve(events: Iterable[LabelEvent]) -> dict[tuple[str, str], LabelEvent]:
    """Derives the current labels from events: the store's rule, in Python.

    An annotator's label on a query is given by the newest event about it: an answer, or nothing.
    An event is about the label of its own annotator. One that supersedes someone else's event is
    also about their label, and withdraws it.

    Args:
        events: All events of a store up to some id, in the order of the ids.

    Returns:
        The events with the current answers, by query id and annotator, in the order of the ids.
        Withdrawn answers have no entry.
    """
    whose, current = dict[int, str](), dict[tuple[str, str], LabelEvent]()
    for event in events:
        whose[event.id] = event.annotator_id
        for annotator_id, answer in labels_of(event, whose.get(event.supersedes or 0)):
            current.pop((event.query_id, annotator_id), None)
            if answer is not None:
                current[event.query_id, annotator_id] = event
    return current


def labels_of(event: LabelEvent, superseded: str | None) -> Iterator[tuple[str, Answer | None]]:
    """Lists the labels that an event changes on its query.

    Args:
        event: The event.
        superseded: The annotator of the event that it supersedes, if any.

    Yields:
        An annotator and the label, or None if it is withdrawn. The event's own annotator is last.
    """
    if superseded is not None and superseded != event.annotator_id:
        yield superseded, None
    yield event.annotator_id, event.answer


def check_text(*texts: str | None) -> None:
    """Refuses text that some databases cannot store.

    Raises:
        ValueError: If a text has a NUL character or is not valid Unicode.
    """
    for text in filter(None, texts):
        if "\0" in text or text.encode(errors="ignore").decode() != text:
            raise ValueError(f"expected text without NUL and lone surrogates, got {text!r}.")
