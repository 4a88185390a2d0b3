"""What is in a label store: answers as events, what they come to, leases, counts."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol, TypeVar

from prefrl.core.comparisons import Answer, Query

__all__ = ["UNDO", "Counts", "LabelChange", "LabelEvent", "Lease", "Submission", "resolve"]

UNDO = "undo"
"""What the store keeps in the place of an answer when one is withdrawn."""


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
    """Who answered. A newer answer of theirs to the same query counts instead."""
    supersedes: int | None = None
    """Id of an earlier event of theirs on the same query that this one replaces."""
    shown_at: float | None = None
    """When the query was shown, in seconds since 1970."""
    client_ms: float | None = None
    """How long the labeller looked, in milliseconds."""
    order_shown: str | None = None
    """How the pair lay on the screen, in the client's words."""
    rubric_ver: str | None = None
    """Version of the instructions that the labeller had."""


@dataclass(frozen=True)
class LabelEvent:
    """One acknowledged answer, or its withdrawal. Times are in seconds since 1970."""

    id: int
    """Grows with every event, in the order of commits: a cursor."""
    query_id: str
    """Which query was answered."""
    annotator_id: str
    """Who answered."""
    submission_key: str
    """The client's own name for this submission."""
    answer: Answer | None
    """What was answered, about left and right as the query has them; None withdraws."""
    supersedes: int | None
    """Id of the event that this one replaces, if any."""
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
    """What a reader with a cursor learns from one event."""

    event_id: int
    """The event: the reader's next cursor."""
    query: Query
    """Whose answer may have changed."""
    annotator_id: str
    """Whose answer it is."""
    answer: Answer | None
    """What it is now, later events included; None when it is withdrawn."""


@dataclass(frozen=True)
class Lease:
    """A query that is held for one labeller, so that others are shown another."""

    query: Query
    """What is held."""
    annotator_id: str
    """For whom."""
    expires_at: float
    """Until when, in seconds since 1970, by the store's clock."""


@dataclass(frozen=True)
class Counts:
    """How much of what is in the store: ``queries = answered + skipped + open``."""

    queries: int
    """Queries in all."""
    answered: int
    """Queries with a current answer other than SKIP."""
    skipped: int
    """Queries whose only current answers are SKIP."""
    open: int
    """Queries without a current answer."""


class _Event(Protocol):
    @property
    def id(self) -> int: ...
    @property
    def query_id(self) -> str: ...
    @property
    def annotator_id(self) -> str: ...
    @property
    def answer(self) -> Answer | None: ...
    @property
    def supersedes(self) -> int | None: ...


_AnyEvent = TypeVar("_AnyEvent", bound=_Event)


def resolve(events: Iterable[_AnyEvent]) -> dict[tuple[str, str], _AnyEvent]:
    """What a sequence of events comes to.

    An event falls when one that has not fallen supersedes it. An answer that replaces another one
    also stands for what that one had replaced; an undo instead takes back all that its event did,
    so the undo of an undo brings the answer back. Of the answers that stand, the newest counts.

    Args:
        events: Of one or many queries, from the first on.

    Returns:
        The event that counts for each query and annotator that has one.
    """
    replaced: set[int] = set()
    undone: set[int] = set()
    current: dict[tuple[str, str], _AnyEvent] = {}
    for event in sorted(events, key=lambda event: -event.id):
        if event.id in undone:
            continue
        if event.supersedes is not None:
            (undone if event.answer is None else replaced).add(event.supersedes)
        if event.answer is not None and event.id not in replaced:
            current.setdefault((event.query_id, event.annotator_id), event)
    return current
