"""Rankings of the items of a study from the answers, for its owner."""

from __future__ import annotations

import math
import threading
import time

from clip_viewer.config import ViewerConfig
from clip_viewer.messages import StandingOut, StandingsOut
from prefrl.core.bradley_terry import Standing, standings
from prefrl.core.store import LabelStore
from prefrl.core.store.media import Medium

__all__ = ["Standings"]

_SECONDS_BETWEEN_FITS = 3.0
_MOST_TOLD = 2000


class Standings:
    """The rankings, fitted again when there are new answers and some seconds have passed.

    Args:
        store: Label store with the answers.
        config: Says whether the items are ranked at all.
    """

    def __init__(self, store: LabelStore, config: ViewerConfig) -> None:
        self._store = store
        self._is_on = config.ranks
        self._lock = threading.Lock()
        self._at = -math.inf
        self._cursor = -1
        self._told = StandingsOut(groups=[], items=0, compared=0)

    def get(self) -> StandingsOut:
        """The current rankings; empty if items are not ranked."""
        if not self._is_on:
            return self._told
        with self._lock:
            if time.monotonic() - self._at >= _SECONDS_BETWEEN_FITS:
                self._update()
                self._at = time.monotonic()
            return self._told

    def _update(self) -> None:
        newest = self._store.events(since=max(0, self._cursor))
        if self._cursor >= 0 and not newest:
            return
        self._cursor = newest[-1].id if newest else 0
        asked = [(query.left, query.right) for query in self._store.queries()]
        answers = [
            (comparison.query.left, comparison.query.right, comparison.preference)
            for _, comparison in self._store.comparisons()
            if comparison.preference is not None
        ]
        rows = standings(asked, answers)
        media = self._store.media.of(row.item for row in rows[:_MOST_TOLD])
        groups = dict[int, list[StandingOut]]()
        for row in rows[:_MOST_TOLD]:
            groups.setdefault(row.group, []).append(_as_told(row, media.get(row.item)))
        n_compared = sum(row.n_compared > 0 for row in rows)
        self._told = StandingsOut(
            groups=list(groups.values()), items=len(rows), compared=n_compared
        )


def _as_told(row: Standing, medium: Medium | None) -> StandingOut:
    chance, low, high = (1 / (1 + math.exp(-score)) for score in (row.score, row.low, row.high))
    return StandingOut(
        item=row.item,
        media=None if medium is None else medium.media_id,
        media_type=None if medium is None else medium.media_type,
        chance=chance,
        low=low,
        high=high,
        wins=row.n_wins,
        losses=row.n_losses,
        ties=row.n_ties,
    )
