"""How fast people answer, and so how many queries keep them busy until the agent asks again."""

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

_LOOKS = 8  # newest answers of a person, of which the median counts
_SECONDS_OF_ABSENCE = 20.0
_ROUNDS = 5  # newest times between two chances to ask, of which the longest counts
_AT_HAND = 4  # pairs that a person's page has fetched, so that the next is there at once
_SPARE = 1.25


@dataclass(frozen=True)
class Patience:
    """For how long the agent goes on without its partners."""

    max_staleness: int
    """Environment steps that it may go on while a fit is due; then it waits for the learner."""
    max_unanswered: int | None = None
    """Queries without an answer beyond which it waits for people; None if it never does."""


class Pace:
    """Says how many open questions keep people busy until the agent can ask again.

    A person's pace is the median of how long they looked at their newest eight answers, as their
    page measured it: the time in which there was nothing to look at is not in there. Somebody who
    has not answered for 20 seconds is taken to be gone. Between two chances to ask lies the longest
    of the last five times that the agent took from one to the next, without its waiting for people.

    Args:
        store: Where people's answers go.
        clock: Gives seconds since 1970.
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
        """The agent goes on: it has waited for people as long as it had to."""
        self._went_on = self._clock()

    def wanted(self) -> int:
        """How many questions without an answer there should be: call it when the agent can ask."""
        if self._went_on is not None:
            self._rounds.append(max(0.0, self._clock() - self._went_on))
            self._went_on = None
        self._wanted = 0
        if (here := self._here()) and self._rounds:
            meanwhile = _SPARE * _per_second(here) * max(self._rounds)
            self._wanted = math.ceil(meanwhile) + _AT_HAND * len(here)
        return self._wanted

    def per_second(self, n_people: int, *, unknown: float) -> float:
        """Answers a second of so many people while they have something to look at.

        Args:
            n_people: How many are at the page. They are taken to be those who answered last.
            unknown: Answers a second of somebody who has not answered yet.
        """
        self._read()
        latest = sorted(self._seen, key=self._seen.__getitem__)[-n_people:] if n_people else []
        known = _per_second([self._looks[name] for name in latest])
        return known + unknown * (n_people - len(latest))

    def bound(self, max_unanswered: int) -> int:
        """Beyond how many questions without an answer the agent waits.

        Args:
            max_unanswered: That number where people take their time.
        """
        return max(max_unanswered, self._wanted)

    def _here(self) -> list[deque[float]]:
        """The looks of everybody who is here."""
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
