"""Shows people how an episode ended: the last picture is held, darkened and marked."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["mark_ended"]

_WORD = "ended"
_DIMMED = 0.55
_WIDTH = 0.4  # of the word, as a share of the picture's width
_WHITE, _BLACK = (255, 255, 255), (0, 0, 0)


def mark_ended(frames: NDArray[np.uint8], n_held: int) -> NDArray[np.uint8]:
    """Marks the pictures of steps after an episode's end.

    Args:
        frames: Pictures, shape (T, H, W, 3).
        n_held: Number of pictures to mark at the end; 0 changes nothing.

    Returns:
        The pictures; a copy if any are marked.
    """
    if not n_held:
        return frames
    marked = frames.copy()
    for frame in marked[len(marked) - n_held :]:
        dark = (frame * _DIMMED).astype(np.uint8)
        frame[:] = _written(dark)
    return marked


def _written(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    font, (height, width) = cv2.FONT_HERSHEY_SIMPLEX, picture.shape[:2]
    (wide, high), _ = cv2.getTextSize(_WORD, font, 1.0, 1)
    scale = _WIDTH * width / wide
    at = (round((width - wide * scale) / 2), round(height / 2 + high * scale / 2))
    drawn = np.ascontiguousarray(picture)
    weight = max(1, round(scale))
    # A thicker word would be wider, so the rim is made of shifted copies.
    around = [(x, y) for x in (-weight, 0, weight) for y in (-weight, 0, weight)]
    for colour, moves in ((_BLACK, around), (_WHITE, [(0, 0)])):
        for x, y in moves:
            place = (at[0] + x, at[1] + y)
            cv2.putText(drawn, _WORD, place, font, scale, colour, weight, cv2.LINE_AA)
    return drawn
