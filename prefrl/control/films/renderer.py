"""Films of the segments that people will be shown next, made off the agent's path."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

from prefrl.control.films.clips import encode_film
from prefrl.control.films.ending import mark_ended
from prefrl.control.films.games import Renderer
from prefrl.control.segments import Segment
from prefrl.core.comparisons import Answer, Query
from prefrl.core.labels import RENDERER
from prefrl.core.store import LabelStore
from prefrl.errors import FilmError, RunDirectoryError
from prefrl.runtime.media import add_medium

__all__ = ["FILM_SIZE", "FilmMaker"]

FILM_SIZE = 320
"""Side of the films, in pixels."""

_log = logging.getLogger(__name__)
_AHEAD = 12
_AHEAD_PER_PERSON = 8  # what one's page has fetched, and what it will fetch next
_MOST_FRAMES_PER_SECOND = 30  # Hopper has 125: half a second for a segment, which nobody can judge


class FilmMaker:
    """Films what the most urgent queries compare, and nothing that nobody will look at.

    Args:
        store: Where queries are; it is told which film shows which segment.
        segments: The segments by id, with simulator states.
        media: Where films go.
        clips: Draws them.
    """

    def __init__(
        self,
        store: LabelStore,
        segments: Mapping[str, Segment],
        media: Path,
        clips: Renderer,
    ) -> None:
        self.n_films = 0
        """Films that this object has made."""
        self.n_missing = 0
        """Of the queries that will be shown next, those that could not be, when it last looked."""
        self._store = store
        self._segments = segments
        self._media = media
        self._clips = clips
        self._hopeless: set[str] = set()

    def step(self, n_people: int = 0) -> bool:
        """Makes the films of one query.

        Args:
            n_people: How many are labelling: the more, the further ahead it works.

        Returns:
            Whether there was one to do.
        """
        missing = self._store.media.missing(_AHEAD + _AHEAD_PER_PERSON * n_people)
        self.n_missing = len(missing)
        if not missing:
            return False
        query = missing[0]
        items = (query.left, query.right)
        shown = self._store.media.of(items)
        for item_id in items:
            if item_id not in shown and item_id not in self._hopeless:
                self._film(item_id)
        if self._hopeless.intersection(items):
            self._skip(query)
        return True

    def _skip(self, query: Query) -> None:
        """Answers what nobody can be shown: left open, it would count as unanswered for ever."""
        key = f"{RENDERER}/{query.id}"
        self._store.submit(query.id, Answer.SKIP, submission_key=key, annotator_id=RENDERER)

    def _film(self, item_id: str) -> None:
        try:
            segment = self._segments[item_id]
            if segment.states is None:
                raise FilmError(
                    f"expected segment {item_id} to be recorded for films, but it was not."
                )
            frames = self._clips.frames(segment.states, segment.journals)
            frames = mark_ended(frames, segment.n_held)
        except (FilmError, RunDirectoryError) as error:
            # The others can be shown: this one is left out, and said to be so once.
            self._hopeless.add(item_id)
            _log.warning("no film of segment %s: %s", item_id, error)
            return
        film = encode_film(frames, fps=min(self._clips.fps, _MOST_FRAMES_PER_SECOND))
        self._store.media.add(item_id, add_medium(self._media, film, "video/webm"), "video/webm")
        self.n_films += 1
