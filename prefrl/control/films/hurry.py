"""Whether films should be small and soon: what people are about to look at must be there first."""

from __future__ import annotations

import time
from collections.abc import Callable

from prefrl.core.store import LabelStore
from prefrl.runtime.people.pace import Pace

__all__ = ["Hurry"]

_FEW_AHEAD = 2  # before anybody has come
_SECONDS_A_LOOK = 2.0  # of somebody who has not answered yet
_SECONDS_A_PAIR = 3.0  # to film one as large as it is shown, until any was filmed
_LARGER = 2.0  # times as long as a small pair: HalfCheetah at 512 and at 256 pixels
_SPARE = 2.5  # one may take longer while everything else works too


class Hurry:
    """Says whether people would run out of pairs while one is filmed as large as it is shown.

    Once they would, it says so until what is ready lasts twice as long, or everything is filmed.

    Args:
        store: Where queries, and people's answers, are.
        clock: Gives seconds since 1970.
    """

    def __init__(self, store: LabelStore, *, clock: Callable[[], float] = time.time) -> None:
        self._store = store
        self._pace = Pace(store, clock=clock)
        self._is_on = False
        self._seconds = _SECONDS_A_PAIR

    def took(self, seconds: float) -> None:
        """A pair was filmed as was last told, and that took so long."""
        self._seconds = seconds * (_LARGER if self._is_on else 1)

    def is_on(self, n_people: int, n_missing: int) -> bool:
        """Whether the next films should be small.

        Args:
            n_people: How many are labelling.
            n_missing: How many of the next queries have no films yet.
        """
        ready = self._store.media.n_ready()
        if n_people == 0:
            self._is_on = ready < _FEW_AHEAD
            return self._is_on
        per_second = self._pace.per_second() or n_people / _SECONDS_A_LOOK
        lasts = (ready - n_people) / per_second  # everybody looks at one already
        least = _SPARE * self._seconds
        goes_on = self._is_on and n_missing > 0
        self._is_on = lasts < (2 * least if goes_on else least)
        return self._is_on
