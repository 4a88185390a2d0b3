"""The data types of a label store: answers as events, the labels they result in, leases, counts."""

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
"""Annotators that are no people: the synthetic oracle, and the renderer, which skips what it cannot
film."""
AI = "ai:"
"""Prefix of the names of judge models. They count as annotators like people, except in statistics
about people only."""
DATASET = "dataset"
"""Annotator of the answers of a file. Further ratings of the same pair or group are stored as
``dataset-2`` and so on, so that each rating counts like another person's."""


def is_person(annotator_id: str) -> bool:
    """Whether an annotator is a person, not an oracle, a judge model or a file."""
    is_machine = annotator_id in MACHINES or annotator_id.startswith(AI)
    return not is_machine and not is_data(annotator_id)


def is_data(annotator_id: str) -> bool:
    """Whether the answers are those of a file."""
    return annotator_id == DATASET or annotator_id.startswith(f"{DATASET}-")


@dataclass(frozen=True)
class Submission:
    """An answer on its way to the store."""

    query_id: str
    """What was answered."""
    answer: Answer
    """The answer, about left and right as the query has them."""
    submission_key: str
    """The client's own name for this submission, made when the query is shown. The same key with
    the same content gives back what was stored the first time."""
    annotator_id: str
    """Who answered. Their newer answer to the same query replaces this one."""
    supersedes: int | None = None
    """Id of an earlier event on the same query that this one replaces. Someone else's answer is
    withdrawn by it."""
    shown_at: float | None = None
    """When the query was shown, in seconds since 1970."""
    client_ms: float | None = None
    """How long the labeller looked, in milliseconds."""
    order_shown: str | None = None
    """How the pair lay on the screen, in the client's words."""
    rubric_ver: str | None = None
    """Version of the instructions that the labeller had."""

    def __post_init__(self) -> None:
        for name in ("shown_at", "client_ms"):
            number = getattr(self, name)
            if number is not None and not math.isfinite(number):
                raise ValueError(f"expected {name} to be a finite number, got {number}.")
        check_text(self.submission_key, self.annotator_id, self.order_shown, self.rubric_ver)


@dataclass(frozen=True)
class LabelEvent:
    """One acknowledged answer, or the withdrawal of one. Times are in seconds since 1970."""

    id: int
    """1 for the first event of a store, and so on without gaps, in the order of the commits: a
    cursor."""
    query_id: str
    """Which query was answered."""
    annotator_id: str
    """Who answered."""
    submission_key: str
    """The client's own name for this submission."""
    answer: Answer | None
    """What was answered, about left and right as the query has them; None if this is an undo."""
    supersedes: int | None
    """Id of the event that this one replaces or undoes, if any."""
    shown_at: float | None
    """When the query was shown."""
    answered_at: float
    """When the answer was stored."""
    client_ms: float | None
    """How long the labeller looked, in milliseconds."""
    order_shown: str | None
    """How the pair lay on the screen, in the client's words."""
    rubric_ver: str | None
    """Version of the instructions that the labeller had."""
    server_ver: str
    """Version of prefrl that stored the answer."""


@dataclass(frozen=True)
class LabelChange:
    """How one event changes the label of one annotator on one query."""

    event_id: int
    """The event. An event that replaces someone else's answer makes two changes."""
    query: Query
    """What the label is about."""
    annotator_id: str
    """Whose label it is."""
    answer: Answer | None
    """The new label; None if it is withdrawn."""


@dataclass(frozen=True)
class Lease:
    """An open query that is reserved for one labeller for a while."""

    query: Query
    """What to answer."""
    annotator_id: str
    """For whom it is reserved."""
    fence: int
    """Grows each time the query goes to another labeller, so that old leases are recognised."""
    expires_at: float
    """Until when, in seconds since 1970 by the clock of the store that gave it."""


@dataclass(frozen=True)
class Counts:
    """Counts of a store: ``queries = answered + skipped + open``."""

    queries: int
    """Queries in all."""
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
    """An event that has no id yet.

    Args:
        query_id: What it is about.
        answer: None for an undo.
        submission_key: The client's own name for it.
        annotator_id: Whose it is.
        supersedes: The event that it replaces or undoes.
        about: The other fields of ``LabelEvent``; those of the showing may be left out.
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
    """The current labels that result from events: the rule of the store, in Python.

    The label of an annotator on a query is what the newest event about it says: an answer, or
    nothing. An event is about the label of its own annotator. One that supersedes an event of
    someone else is also about theirs, and withdraws it.

    Args:
        events: All events of a store up to some id, in the order of the ids.

    Returns:
        By query id and annotator, in the order of the ids: the answer that is the label. Where an
        answer was withdrawn there is no entry.
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
    """The labels that an event changes on its query.

    Args:
        event: The event.
        superseded: The annotator of the event that it supersedes, if any.

    Yields:
        An annotator, and the label; None if it is withdrawn. The event's own annotator comes last.
    """
    if superseded is not None and superseded != event.annotator_id:
        yield superseded, None
    yield event.annotator_id, event.answer


def check_text(*texts: str | None) -> None:
    """Refuses text that some databases cannot store.

    Raises:
        ValueError: If a text has a NUL character or is no valid Unicode.
    """
    for text in filter(None, texts):
        if "\0" in text or text.encode(errors="ignore").decode() != text:
            raise ValueError(f"expected text without NUL and lone surrogates, got {text!r}.")
