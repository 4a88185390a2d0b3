"""Decides when films are drawn small, so that people never run out of pairs to look at."""

from __future__ import annotations

import statistics
import time
from collections import deque
from collections.abc import Callable

from prefrl.core.store import LabelStore
from prefrl.runtime.people.pace import Pace

__all__ = ["Hurry"]

_FEW_AHEAD = 2  # ready pairs before anybody is at the page
_PER_SECOND = 0.5  # assumed for somebody who has not answered yet
_SECONDS_A_PAIR = 3.0  # assumed time to film a pair at full size, until one was filmed
_LARGER = 2.0  # time for a large pair relative to a small one: HalfCheetah, 512 and 256 pixels
_NEWEST = 3  # pairs over which the median is taken
_SPARE = 2.5  # safety factor, as films take longer while other roles use the cores


class Hurry:
    """Decides whether people would run out of pairs while the next one is filmed at full size.

    If so, films stay small until the ready pairs last twice as long as necessary or, once all
    queries are filmed, just long enough.

    Args:
        store: Label store with the queries and people's answers.
        clock: Returns seconds since 1970.
    """

    def __init__(self, store: LabelStore, *, clock: Callable[[], float] = time.time) -> None:
        self._store = store
        self._pace = Pace(store, clock=clock)
        self._is_on = False
        self._seconds: deque[float] = deque([_SECONDS_A_PAIR], maxlen=_NEWEST)

    def took(self, seconds: float) -> None:
        """Records how long the films of a pair took, at the size that ``is_on`` last decided.

        Args:
            seconds: Wall-clock seconds for both films.
        """
        self._seconds.append(seconds * (_LARGER if self._is_on else 1))

    def is_on(self, n_people: int, n_missing: int) -> bool:
        """Whether the next films should be small.

        Args:
            n_people: Number of people who are labelling.
            n_missing: Number of the next queries that have no films yet.
        """
        ready = self._store.media.n_ready()
        if n_people == 0:
            self._is_on = ready < _FEW_AHEAD
            return self._is_on
        per_second = self._pace.per_second(n_people, unknown=_PER_SECOND)
        lasts = (ready - n_people) / per_second  # everybody is already looking at one pair
        least = _SPARE * statistics.median(self._seconds)
        goes_on = self._is_on and n_missing > 0
        self._is_on = lasts < (2 * least if goes_on else least)
        return self._is_on
