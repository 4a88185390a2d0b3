"""The picture of two clips for an AI judge, with frames of each from top to bottom."""

from __future__ import annotations

import base64
from typing import Any, Generic, Protocol, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from prefrl.control.environments.journals import Journals
from prefrl.control.films.ending import mark_ended
from prefrl.control.segments import Segment
from prefrl.core.comparisons import Item
from prefrl.errors import FilmError
from prefrl.runtime.own.films import frames_of
from prefrl.runtime.own.items import OwnFilm

__all__ = ["JUDGED_SIZE", "ClipExhibit", "FilmExhibit", "pair_picture", "picture_part"]

JUDGED_SIZE = 224
"""Approximate side of the frames that are sent, in pixels."""

_GAP, _HEAD = 12, 36
_BLACK = (0, 0, 0)
_MOST_KEPT = 64
_CLIPS = (
    "The picture shows clip A in its left column and clip B in its right one. Each column has "
    "{n} frames of its clip, evenly spaced, from the first one at the top to the last one at the "
    "bottom."
)
_Shown = TypeVar("_Shown", bound=Item)


class _Draws(Protocol):
    def frames(self, states: NDArray[np.float64], journals: Journals) -> NDArray[np.uint8]: ...


class _Exhibit(Generic[_Shown]):
    """Shows frames of two items side by side; draws each item only once for both orders.

    Args:
        n_frames: Number of frames of each item.
    """

    _caption: str

    def __init__(self, *, n_frames: int) -> None:
        self._n_frames = n_frames
        self._kept: dict[str, NDArray[np.uint8]] = {}

    def __call__(self, first: _Shown, second: _Shown) -> list[dict[str, Any]]:
        """Makes the parts of a message that shows the first item as A and the second as B.

        Returns:
            A caption, and a PNG with a column of frames for each item.

        Raises:
            FilmError: If one of them cannot be drawn.
        """
        picture = pair_picture(self._column(first), self._column(second))
        caption = self._caption.format(n=self._n_frames)
        return [{"type": "text", "text": caption}, picture_part(picture)]

    def _column(self, item: _Shown) -> NDArray[np.uint8]:
        if item.id not in self._kept:
            while len(self._kept) >= _MOST_KEPT:
                self._kept.pop(next(iter(self._kept)))
            self._kept[item.id] = self._frames(item)
        return self._kept[item.id]

    def _frames(self, item: _Shown) -> NDArray[np.uint8]:
        """Returns frames of an item, shape (N, H, W, 3)."""
        raise NotImplementedError


class ClipExhibit(_Exhibit[Segment]):
    """Shows segments.

    Args:
        renderer: Draws the frames.
        n_frames: Number of frames of each clip.
    """

    _caption = _CLIPS + " A frame that says so is of an episode that has ended."

    def __init__(self, renderer: _Draws, *, n_frames: int) -> None:
        super().__init__(n_frames=n_frames)
        self._renderer = renderer

    def _frames(self, item: Segment) -> NDArray[np.uint8]:
        if item.states is None:
            raise FilmError(f"expected segment {item.id} to be recorded for films, but it was not.")
        frames = self._renderer.frames(item.states, item.journals)
        frames = mark_ended(frames, item.n_held)
        places = np.linspace(0, len(frames) - 1, self._n_frames).round().astype(int)
        chosen: NDArray[np.uint8] = frames[places]
        return chosen


class FilmExhibit(_Exhibit[OwnFilm]):
    """Shows the user's own films, of any size.

    Args:
        n_frames: Number of frames of each film.
    """

    _caption = _CLIPS.replace("clip", "film")

    def _frames(self, item: OwnFilm) -> NDArray[np.uint8]:
        return np.stack([_squared(frame) for frame in frames_of(item.path, self._n_frames)])


def _squared(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Scales a picture, shape (H, W, 3), into the middle of a black square."""
    scale = JUDGED_SIZE / max(picture.shape[:2])
    height, width = (max(1, round(side * scale)) for side in picture.shape[:2])
    square = np.zeros((JUDGED_SIZE, JUDGED_SIZE, 3), np.uint8)
    top, left = (JUDGED_SIZE - height) // 2, (JUDGED_SIZE - width) // 2
    square[top : top + height, left : left + width] = cv2.resize(
        picture, (width, height), interpolation=cv2.INTER_AREA
    )
    return square


def pair_picture(left: NDArray[np.uint8], right: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Draws two clips as columns under the letters A and B, shape (H', W', 3).

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
    """Makes a part of a message from a picture, shape (H, W, 3): a PNG in a data URI."""
    done, content = cv2.imencode(".png", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    if not done:
        raise FilmError(f"could not make a PNG of a picture of shape {picture.shape}.")
    uri = "data:image/png;base64," + base64.b64encode(content.tobytes()).decode()
    return {"type": "image_url", "image_url": {"url": uri}}
