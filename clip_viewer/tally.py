"""Counts of what each person has done, updated from events so that reads are cheap."""

from __future__ import annotations

import itertools
import math
import threading
import time
from collections.abc import Callable, Iterable
from datetime import datetime

from clip_viewer.messages import MineOut, QueueOut
from clip_viewer.tasks import is_later_pair, key_of_answer
from prefrl.core.store import LabelStore
from prefrl.core.store.labels import LabelEvent

__all__ = ["Presence", "Tally"]

_SECONDS_BETWEEN_READS = 1.0
_LONGEST_PAUSE = 120.0  # longer ones are breaks
_HOUR = 3600.0
_LEAST_GAPS = 10  # between answers, for an estimate of the rate per hour
_SECONDS_OF_PRESENCE = 60.0
_SECONDS_OF_A_PAGE = 15.0  # in which an open page asks for the progress, also in a hidden tab


class Tally:
    """Counts for each person and for the queue; safe to use from several threads.

    Args:
        store: Label store with the events.
        clock: Returns the seconds since 1970.
    """

    def __init__(self, store: LabelStore, *, clock: Callable[[], float] = time.time) -> None:
        self._store = store
        self._clock = clock
        self._lock = threading.Lock()
        self._cursor = 0
        self._whose: dict[int, str] = {}
        self._standing: dict[str, dict[int, LabelEvent]] = {}
        self._newest: dict[tuple[str, str], int] = {}  # by person and query, undone or not
        self._read_at = -_SECONDS_BETWEEN_READS
        self._queue = QueueOut(waiting=0, ready=0, answered=0)

    def queue(self) -> QueueOut:
        """Returns the numbers of pairs that wait, that can be shown, and that are answered."""
        with self._lock:
            self._update()
            return self._queue

    def mine(self, annotator_id: str) -> MineOut:
        """Returns how much a person has done, without undone answers."""
        with self._lock:
            self._update()
            standing = list(self._standing.get(annotator_id, {}).values())
        # A ranking is one answer, whatever the number of its pairs.
        times = sorted(e.answered_at for e in standing if not is_later_pair(e.submission_key))
        now = self._clock()
        midnight = datetime.fromtimestamp(now).replace(hour=0, minute=0, second=0, microsecond=0)
        today = sum(t >= midnight.timestamp() for t in times)
        return MineOut(today=today, total=len(times), per_hour=_per_hour(times, now))

    def standing(self, annotator_id: str, *, before: int | None = None) -> list[LabelEvent]:
        """A person's answers that were not undone, newest first; one pair stands for a ranking.

        If they answered something more than once, only the last answer is included.

        Args:
            annotator_id: The person.
            before: Only answers whose event has a smaller id.
        """
        with self._lock:
            self._update()
            events = [
                event
                for event in self._standing.get(annotator_id, {}).values()
                if self._newest[annotator_id, event.query_id] == event.id
            ]
        newest: dict[str, LabelEvent] = {}
        for event in sorted(events, key=lambda event: -event.id):
            newest.setdefault(key_of_answer(event.submission_key), event)
        return [event for event in newest.values() if before is None or event.id < before]

    def note(self, events: Iterable[LabelEvent]) -> None:
        """Counts new events at once; reading them later from the store changes nothing."""
        with self._lock:
            self._count(events)

    def _count(self, events: Iterable[LabelEvent]) -> None:
        for event in events:
            if event.supersedes is not None:
                whose = self._whose.pop(event.supersedes, None)
                self._standing.get(whose or "", {}).pop(event.supersedes, None)
                self._note_newest(whose, event)
            self._note_newest(event.annotator_id, event)
            if event.answer is not None:
                self._whose[event.id] = event.annotator_id
                self._standing.setdefault(event.annotator_id, {})[event.id] = event

    def _note_newest(self, name: str | None, event: LabelEvent) -> None:
        if name is not None:
            about = name, event.query_id
            self._newest[about] = max(event.id, self._newest.get(about, 0))

    def _update(self) -> None:
        now = time.monotonic()
        if now - self._read_at < _SECONDS_BETWEEN_READS:
            return
        events = self._store.events(since=self._cursor)
        self._count(events)
        self._cursor = events[-1].id if events else self._cursor
        counts = self._store.counts()
        self._queue = QueueOut(
            waiting=counts.open,
            ready=self._store.media.n_ready(),
            answered=counts.answered + counts.skipped,
        )
        self._read_at = time.monotonic()


class Presence:
    """Who is at the page.

    Args:
        clock: Returns seconds.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._seen: dict[str, float] = {}
        self._told: dict[str, tuple[float, bool]] = {}
        self._pixels: dict[str, int] = {}
        self._held: set[str] = set()

    def note(self, name: str, *, pixels: int | None = None, counts: bool | None = None) -> None:
        """Notes that a person's page has just sent a request.

        Args:
            name: The person.
            pixels: Longer side of films on that page in pixels, if it says so.
            counts: Whether their answers count; None keeps what was known. The run waits only
                for people whose answers count.
        """
        self._seen[name] = self._clock()
        if counts is not None:
            (self._held.discard if counts else self._held.add)(name)
        if pixels is not None:
            self._pixels[name] = pixels

    def leave(self, name: str) -> None:
        """Notes that a person has closed the page."""
        self._seen.pop(name, None)
        self._told.pop(name, None)

    def note_told(self, name: str, *, is_over: bool) -> None:
        """Notes that a person's page, visible or not, was told whether the training is over."""
        self._told[name] = self._clock(), is_over

    def seconds_ago(self, name: str) -> float | None:
        """Seconds since a person was last seen; None if not since the server started."""
        seen = self._seen.get(name)
        return None if seen is None else self._clock() - seen

    def n_present(self) -> int:
        """Returns how many people are here whose answers count."""
        now, held = self._clock(), set(self._held)
        here = [
            now - seen < _SECONDS_OF_PRESENCE for n, seen in self._seen.items() if n not in held
        ]
        return sum(here)

    def pixels(self) -> int:
        """The longer side of the largest film on any screen, in pixels; 0 if unknown."""
        now, pixels = self._clock(), list(self._pixels.items())
        here = [
            n for name, n in pixels if now - self._seen.get(name, -math.inf) < _SECONDS_OF_PRESENCE
        ]
        return max(here, default=0)

    def n_untold(self) -> int:
        """Returns how many people have an open page that was not told that training is over."""
        now, told = self._clock(), list(self._told.values())  # others add to it meanwhile
        return sum(now - at < _SECONDS_OF_A_PAGE and not is_over for at, is_over in told)


def _per_hour(times: list[float], now: float) -> float | None:
    """Answers per hour of work, over the last hour; None if there are too few."""
    recent = [t for t in times if t > now - _HOUR]
    gaps = [b - a for a, b in itertools.pairwise(recent) if b - a <= _LONGEST_PAUSE]
    return len(gaps) / sum(gaps) * _HOUR if len(gaps) >= _LEAST_GAPS and sum(gaps) > 0 else None
