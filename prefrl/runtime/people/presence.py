"""Whether people are at the labelling pages, according to their processes and the label store."""

from __future__ import annotations

import time
from collections.abc import Callable

from prefrl.core.store import LabelStore
from prefrl.core.store.labels import is_person
from prefrl.runtime.roles.role import read_status
from prefrl.runtime.rundir import RunDirectory

__all__ = ["PAGES_ELSEWHERE", "Attendance", "film_pixels", "n_people_present"]

PAGES_ELSEWHERE = "pages"
"""Name of the status of all pages on other machines, as the courier notes it."""

_SECONDS_OF_SILENCE = 10.0  # after which a page no longer counts as served
_SECONDS_OF_THOUGHT = 30.0  # in which somebody who has answered counts as present


def n_people_present(run: RunDirectory, *, clock: Callable[[], float] = time.time) -> int:
    """Returns the number of people at a run's labelling pages; 0 if none is served.

    Args:
        run: The run.
        clock: Returns the seconds since 1970.
    """
    return sum(_told_by_pages(run, "people", clock))


def film_pixels(run: RunDirectory, *, clock: Callable[[], float] = time.time) -> int:
    """Returns the longer side of the largest film on any screen, in pixels; 0 if unknown.

    Args:
        run: The run.
        clock: Returns the seconds since 1970.
    """
    return max(_told_by_pages(run, "pixels", clock))


def _told_by_pages(run: RunDirectory, what: str, clock: Callable[[], float]) -> list[int]:
    """Returns a number from the page here, and one from all pages elsewhere; 0 if silent."""
    found = []
    for name in ("viewer", PAGES_ELSEWHERE):
        status = read_status(run, name)
        is_silent = status is None or clock() - status.beat_at > _SECONDS_OF_SILENCE
        told = 0 if status is None or is_silent else status.about.get(what, 0)
        found.append(told if isinstance(told, int) else 0)
    return found


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
