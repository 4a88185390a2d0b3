"""Films of the segments that people will be shown next, made outside of the agent's process."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from pathlib import Path

from prefrl.control.films.clips import encode_film
from prefrl.control.films.ending import mark_ended
from prefrl.control.films.games import Renderer
from prefrl.control.films.hurry import Hurry
from prefrl.control.films.sized import SizedRenderer
from prefrl.control.segments import Segment
from prefrl.core.comparisons import Answer, Query
from prefrl.core.store import LabelStore
from prefrl.core.store.labels import RENDERER
from prefrl.errors import FilmError
from prefrl.runtime.remote.media import RunMedia

__all__ = ["FILM_SIZE", "FilmMaker"]

FILM_SIZE = 320
"""Side of the pictures when an environment is checked, in pixels."""

_log = logging.getLogger(__name__)
_AHEAD = 12
_AHEAD_PER_PERSON = 8  # pairs that a person's page has fetched, and will fetch next
_MOST_DEATHS = 2  # of a process while it draws the same film, as a GL may abort
_MOST_FRAMES_PER_SECOND = 30  # with Hopper's 125, a segment would take only half a second


class FilmMaker:
    """Films the items of the most urgent queries, and no others.

    Args:
        store: Label store with the queries, which records the film of each segment.
        segments: The segments by id, with simulator states.
        media: Stores the films.
        clips: Draws them.
    """

    def __init__(
        self,
        store: LabelStore,
        segments: Mapping[str, Segment],
        media: RunMedia,
        clips: Renderer | SizedRenderer,
    ) -> None:
        self.n_films = 0
        """Number of films that this object has made."""
        self.n_missing = 0
        """Number of the next queries without films, at the last step."""
        self._store = store
        self._segments = segments
        self._media = media
        self._clips = clips
        self._hurry = Hurry(store)
        self._hopeless: set[str] = set()
        self._drawing = media.folder / ".drawing"
        self._died_of, self._deaths = _read_drawing(self._drawing)

    def step(self, n_people: int = 0) -> bool:
        """Makes the films of one query.

        Args:
            n_people: Number of people who are labelling; with more, it works further ahead.

        Returns:
            Whether there was such a query.
        """
        missing = self._store.media.missing(_AHEAD + _AHEAD_PER_PERSON * n_people)
        self.n_missing = len(missing)
        if not missing:
            return False
        query = missing[0]
        items = (query.left, query.right)
        shown = self._store.media.of(items)
        todo = [one for one in items if one not in shown and one not in self._hopeless]
        began, made = time.monotonic(), self.n_films
        for item_id in todo:
            self._film(item_id)
        if self.n_films == made + 2:
            self._hurry.took(time.monotonic() - began)
        if self._hopeless.intersection(items):
            self._skip(query)
        return True

    def is_late(self, n_people: int) -> bool:
        """Whether somebody waits for films, or soon will, so that they should be small.

        Args:
            n_people: Number of people who are labelling.
        """
        return self._hurry.is_on(n_people, self.n_missing)

    def _skip(self, query: Query) -> None:
        """Skips a query that cannot be shown: left open, it would count as unanswered for ever."""
        key = f"{RENDERER}/{query.id}"
        self._store.submit(query.id, Answer.SKIP, submission_key=key, annotator_id=RENDERER)

    def _film(self, item_id: str) -> None:
        deaths = self._deaths if item_id == self._died_of else 0
        try:
            if deaths >= _MOST_DEATHS:
                raise FilmError(f"to draw it has ended the process {deaths} times.")
            self._drawing.write_text(f"{item_id} {deaths + 1}", encoding="utf-8")
            film = self._film_of(item_id)
        except Exception as error:  # drawing and encoding may raise anything
            # Only this segment is left out, with one warning; others can still be shown.
            self._hopeless.add(item_id)
            _log.warning("no film of segment %s: %s", item_id, error or type(error).__name__)
            return
        finally:
            self._drawing.unlink(missing_ok=True)
        self._store.media.add(item_id, self._media.add(film, "video/webm"), "video/webm")
        self.n_films += 1

    def _film_of(self, item_id: str) -> bytes:
        segment = self._segments[item_id]
        if segment.states is None:
            raise FilmError(f"expected segment {item_id} to be recorded for films, but it was not.")
        frames = self._clips.frames(segment.states, segment.journals)
        frames = mark_ended(frames, segment.n_held)
        return encode_film(frames, fps=min(self._clips.fps, _MOST_FRAMES_PER_SECOND))


def _read_drawing(path: Path) -> tuple[str, int]:
    """Reads which item was being drawn when a process died, and how often; "" and 0 if none."""
    try:
        item_id, deaths = path.read_text(encoding="utf-8").rsplit(" ", 1)
        return item_id, int(deaths)
    except (OSError, ValueError):
        return "", 0
