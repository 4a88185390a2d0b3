"""Whether people are at the labelling page, according to its process and the label store."""

from __future__ import annotations

import time
from collections.abc import Callable

from prefrl.core.store import LabelStore
from prefrl.core.store.labels import is_person
from prefrl.runtime.roles.role import read_status
from prefrl.runtime.rundir import RunDirectory

__all__ = ["Attendance", "film_pixels", "n_people_present"]

_SECONDS_OF_SILENCE = 10.0  # after which a page counts as not served any more
_SECONDS_OF_THOUGHT = 30.0  # in which somebody who has answered counts as present


def n_people_present(run: RunDirectory, *, clock: Callable[[], float] = time.time) -> int:
    """Returns the number of people at a run's labelling page; 0 if it is not served.

    Args:
        run: The run.
        clock: Returns the seconds since 1970.
    """
    return _told_by_page(run, "people", clock)


def film_pixels(run: RunDirectory, *, clock: Callable[[], float] = time.time) -> int:
    """Returns the longer side of the largest film on any screen, in pixels; 0 if unknown.

    Args:
        run: The run.
        clock: Returns the seconds since 1970.
    """
    return _told_by_page(run, "pixels", clock)


def _told_by_page(run: RunDirectory, what: str, clock: Callable[[], float]) -> int:
    status = read_status(run, "viewer")
    if status is None or clock() - status.beat_at > _SECONDS_OF_SILENCE:
        return 0
    told = status.about.get(what, 0)
    return told if isinstance(told, int) else 0


class Attendance:
    """Tells an oracle that fills in for people whether any of them are labelling.

    Args:
        run: The run.
        store: Label store with people's answers.
        clock: Returns the seconds since 1970.
    """

    def __init__(
        self,
        run: RunDirectory,
        store: LabelStore,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._run = run
        self._store = store
        self._clock = clock
        self._cursor = 0
        self._answered_at = float("-inf")

    def is_somebody_there(self) -> bool:
        """Returns whether somebody is at the page, or has answered a moment ago."""
        for event in self._store.events(since=self._cursor):
            self._cursor = event.id
            if is_person(event.annotator_id):
                self._answered_at = max(self._answered_at, event.answered_at)
        return (
            n_people_present(self._run, clock=self._clock) > 0
            or self._clock() - self._answered_at < _SECONDS_OF_THOUGHT
        )
