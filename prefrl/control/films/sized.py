"""A renderer that draws at the displayed size, and is reopened when this changes much."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from prefrl.control.environments.journals import Journals
from prefrl.control.environments.source import EnvConfig
from prefrl.control.films.closing import ClosedAtExit
from prefrl.control.films.games import Renderer, open_renderer

__all__ = ["LARGEST", "SizedRenderer"]

LARGEST = 512
"""Side of the largest films, in pixels."""
_SMALLEST = 192
_IN_A_HURRY = 256  # takes about half of the time of the largest
_STEP = 64  # so that a window that is resized a little does not reopen the renderer


class SizedRenderer(ClosedAtExit):
    """Draws at the size set by ``fit``; before that, small films, which are ready sooner.

    Args:
        env_id: A Gymnasium id.
        env: Arguments and wrappers of the environment.

    Raises:
        FilmError: If this machine or this environment cannot draw.
    """

    def __init__(self, env_id: str, env: EnvConfig | None = None) -> None:
        self._env_id, self._env = env_id, env
        self._shown = LARGEST
        self.size = _IN_A_HURRY  # somebody may already be waiting
        """Approximate side of the films, in pixels."""
        self._clips: Renderer = open_renderer(env_id, size=self.size, env=env)

    def close(self) -> None:
        """Closes the renderer."""
        self._clips.close()

    @property
    def fps(self) -> int:
        """Frames per second of the environment's own clock."""
        return self._clips.fps

    def fit(self, pixels: int, *, in_a_hurry: bool = False) -> None:
        """Sets the size of further films to the size at which they are shown.

        Args:
            pixels: Side of a shown film, in pixels of the screen; 0 if unknown.
            in_a_hurry: Whether somebody waits, so that films should be smaller and ready sooner.
        """
        if pixels > 0:
            self._shown = min(LARGEST, max(_SMALLEST, -(-pixels // _STEP) * _STEP))
        size = min(self._shown, _IN_A_HURRY) if in_a_hurry else self._shown
        if size != self.size:
            self._clips.close()
            self._clips = open_renderer(self._env_id, size=size, env=self._env)
            self.size = size

    def frames(self, states: NDArray[np.float64], journals: Journals) -> NDArray[np.uint8]:
        """Draws pictures, shape (T, H, W, 3), like any ``Renderer``."""
        return self._clips.frames(states, journals)
