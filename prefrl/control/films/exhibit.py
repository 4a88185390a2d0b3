"""What a judge is shown of two clips: one picture, with frames of each from top to bottom."""

from __future__ import annotations

import base64
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from prefrl.control.environments.journals import Journals
from prefrl.control.films.ending import mark_ended
from prefrl.control.segments import Segment
from prefrl.errors import FilmError
from prefrl.runtime.own.films import frames_of
from prefrl.runtime.own.items import OwnFilm

__all__ = ["JUDGED_SIZE", "ClipExhibit", "FilmExhibit", "pair_picture", "picture_part"]

JUDGED_SIZE = 224
"""Side of the frames that are sent, in pixels, about."""

_GAP, _HEAD = 12, 36
_BLACK = (0, 0, 0)
_MOST_KEPT = 64
_CAPTION = (
    "The picture shows clip A in its left column and clip B in its right one. Each column has "
    "{n} frames of its clip, evenly spaced, from the first one at the top to the last one at the "
    "bottom. A frame that says so is of an episode that has ended."
)

_FILM_CAPTION = (
    "The picture shows film A in its left column and film B in its right one. Each column has "
    "{n} frames of its film, evenly spaced, from the first one at the top to the last one at the "
    "bottom."
)


class _Draws(Protocol):
    def frames(self, states: NDArray[np.float64], journals: Journals) -> NDArray[np.uint8]: ...


class ClipExhibit:
    """Draws segments, and puts two of them side by side as people see them.

    Args:
        renderer: Draws.
        n_frames: Frames of each clip.
    """

    def __init__(self, renderer: _Draws, *, n_frames: int) -> None:
        self._renderer = renderer
        self._n_frames = n_frames
        self._kept: dict[str, NDArray[np.uint8]] = {}

    def __call__(self, first: Segment, second: Segment) -> list[dict[str, Any]]:
        """The parts of a message that shows the first as A and the second as B.

        Raises:
            FilmError: If one of them cannot be drawn.
        """
        left, right = self._column(first), self._column(second)
        text = _CAPTION.format(n=self._n_frames)
        return [{"type": "text", "text": text}, picture_part(pair_picture(left, right))]

    def _column(self, segment: Segment) -> NDArray[np.uint8]:
        """Frames of a segment, shape (N, H, W, 3); drawn once for both orders."""
        if segment.id not in self._kept:
            if segment.states is None:
                raise FilmError(
                    f"expected segment {segment.id} to be recorded for films, but it was not."
                )
            frames = self._renderer.frames(segment.states, segment.journals)
            frames = mark_ended(frames, segment.n_held)
            places = np.linspace(0, len(frames) - 1, self._n_frames).round().astype(int)
            while len(self._kept) >= _MOST_KEPT:
                self._kept.pop(next(iter(self._kept)))
            self._kept[segment.id] = frames[places]
        return self._kept[segment.id]


class FilmExhibit:
    """Puts two films of whatever size side by side.

    Args:
        n_frames: Frames of each film.
    """

    def __init__(self, *, n_frames: int) -> None:
        self._n_frames = n_frames
        self._kept: dict[str, NDArray[np.uint8]] = {}

    def __call__(self, first: OwnFilm, second: OwnFilm) -> list[dict[str, Any]]:
        """The parts of a message that shows the first as A and the second as B.

        Raises:
            FilmError: If one of them cannot be decoded.
        """
        picture = pair_picture(self._column(first), self._column(second))
        text = _FILM_CAPTION.format(n=self._n_frames)
        return [{"type": "text", "text": text}, picture_part(picture)]

    def _column(self, film: OwnFilm) -> NDArray[np.uint8]:
        """Frames of a film, shape (N, H, H, 3); decoded once for both orders."""
        if film.id not in self._kept:
            while len(self._kept) >= _MOST_KEPT:
                self._kept.pop(next(iter(self._kept)))
            frames = frames_of(film.path, self._n_frames)
            self._kept[film.id] = np.stack([_squared(frame) for frame in frames])
        return self._kept[film.id]


def _squared(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A picture, shape (H, W, 3), scaled into the middle of a black square."""
    scale = JUDGED_SIZE / max(picture.shape[:2])
    height, width = (max(1, round(side * scale)) for side in picture.shape[:2])
    square = np.zeros((JUDGED_SIZE, JUDGED_SIZE, 3), np.uint8)
    top, left = (JUDGED_SIZE - height) // 2, (JUDGED_SIZE - width) // 2
    square[top : top + height, left : left + width] = cv2.resize(
        picture, (width, height), interpolation=cv2.INTER_AREA
    )
    return square


def pair_picture(left: NDArray[np.uint8], right: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Two clips as columns under the letters A and B, shape (H', W', 3).

    Args:
        left: Frames of A, shape (N, H, W, 3).
        right: Frames of B, of the same shape.
    """
    columns = []
    for letter, frames in (("A", left), ("B", right)):
        width = frames.shape[2]
        head = np.full((_HEAD, width, 3), 255, np.uint8)
        place = (width // 2 - 10, _HEAD - 8)
        cv2.putText(head, letter, place, cv2.FONT_HERSHEY_SIMPLEX, 1.0, _BLACK, 2, cv2.LINE_AA)
        parts = [head]
        for frame in frames:
            parts += [frame, np.full((_GAP // 3, width, 3), 255, np.uint8)]
        columns.append(np.concatenate(parts))
    between = np.full((len(columns[0]), _GAP, 3), 255, np.uint8)
    return np.concatenate([columns[0], between, columns[1]], axis=1)


def picture_part(picture: NDArray[np.uint8]) -> dict[str, Any]:
    """A picture, shape (H, W, 3), as a part of a message: a PNG in a data URI."""
    done, content = cv2.imencode(".png", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    if not done:
        raise FilmError(f"could not make a PNG of a picture of shape {picture.shape}.")
    uri = "data:image/png;base64," + base64.b64encode(content.tobytes()).decode()
    return {"type": "image_url", "image_url": {"url": uri}}
