"""Estimates how fast people answer, and how many open queries keep them busy meanwhile."""

from __future__ import annotations

import math
import statistics
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from prefrl.core.store import LabelStore
from prefrl.core.store.labels import is_person

__all__ = ["Pace", "Patience"]

_LOOKS = 8  # newest answers of a person over which the median is taken
_SECONDS_OF_ABSENCE = 20.0
_ROUNDS = 5  # newest intervals between two chances to ask, of which the longest counts
_AT_HAND = 4  # pairs that a person's page has prefetched
_SPARE = 1.25


@dataclass(frozen=True)
class Patience:
    """How long the agent continues without waiting for the learner or for people."""

    max_staleness: int
    """Environment steps that the agent may take while a fit is due before it waits."""
    max_unanswered: int | None = None
    """Number of open queries above which the agent waits for people; None: it never does."""


class Pace:
    """Estimates how many open queries keep people busy until the agent can ask again.

    A person's pace is the median viewing time of their newest eight answers, as measured by their
    page; time without anything to look at is not included. Somebody who has not answered for
    20 seconds counts as gone. The time until the agent can ask again is taken as the longest of its
    last five intervals between two opportunities, without the time that it waited for people.

    Args:
        store: Label store with people's answers.
        clock: Returns seconds since 1970.
    """

    def __init__(self, store: LabelStore, *, clock: Callable[[], float] = time.time) -> None:
        self._store = store
        self._clock = clock
        self._cursor = 0
        self._looks: dict[str, deque[float]] = {}
        self._seen: dict[str, float] = {}
        self._rounds: deque[float] = deque(maxlen=_ROUNDS)
        self._went_on: float | None = None
        self._wanted = 0

    def go_on(self) -> None:
        """Records that the agent continues, after any waiting for people."""
        self._went_on = self._clock()

    def wanted(self) -> int:
        """Returns how many queries should be open; call it when the agent can ask."""
        if self._went_on is not None:
            self._rounds.append(max(0.0, self._clock() - self._went_on))
            self._went_on = None
        self._wanted = 0
        if (here := self._here()) and self._rounds:
            meanwhile = _SPARE * _per_second(here) * max(self._rounds)
            self._wanted = math.ceil(meanwhile) + _AT_HAND * len(here)
        return self._wanted

    def per_second(self, n_people: int, *, unknown: float) -> float:
        """Returns the answers per second of all people while they have something to look at.

        Args:
            n_people: How many are at the page; assumed to be those who answered last.
            unknown: Answers per second assumed of somebody who has not answered yet.
        """
        self._read()
        latest = sorted(self._seen, key=self._seen.__getitem__)[-n_people:] if n_people else []
        known = _per_second([self._looks[name] for name in latest])
        return known + unknown * (n_people - len(latest))

    def bound(self, max_unanswered: int) -> int:
        """Returns the number of open queries above which the agent waits.

        Args:
            max_unanswered: That number for people who answer slowly.
        """
        return max(max_unanswered, self._wanted)

    def _here(self) -> list[deque[float]]:
        """Viewing times, in seconds, of each person who is at the page."""
        self._read()
        now = self._clock()
        here = [name for name, seen in self._seen.items() if now - seen < _SECONDS_OF_ABSENCE]
        return [self._looks[name] for name in here]

    def _read(self) -> None:
        for event in self._store.events(since=self._cursor):
            self._cursor = event.id
            name = event.annotator_id
            if is_person(name) and event.answer is not None and event.client_ms:
                looks = self._looks.setdefault(name, deque(maxlen=_LOOKS))
                looks.append(max(0.1, event.client_ms / 1000))
                self._seen[name] = event.answered_at


def _per_second(here: list[deque[float]]) -> float:
    return sum(1 / statistics.median(looks) for looks in here)
