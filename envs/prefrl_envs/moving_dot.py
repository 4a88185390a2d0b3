"""A dot that should move to its target: a task learned in seconds, and visible in a clip."""

from __future__ import annotations

from typing import Any

import cv2
import gymnasium as gym
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

__all__ = ["MovingDot"]

_STEP = 0.1
_SIZE, _SMALL = 256, 36
_BACKGROUND, _TARGET, _DOT = (246, 248, 250), (0, 114, 178), (213, 94, 0)
_GOAL = np.array([1.0, 1.0], np.float32)
_MOVES = np.array([[0, 0], [-1, 0], [1, 0], [0, -1], [0, 1]], np.float32)


class MovingDot(gym.Env[NDArray[Any], Any]):
    """Move a dot in the square [-1, 1]^2 to its target in the upper right corner.

    Observations are the position of the dot, shape (2,). An action moves the dot by at most 0.1
    along each axis: five discrete ones (stay, left, right, down, up), or two numbers in [-1, 1].
    The reward is minus the distance to the target after the move. The dot starts at a random
    place. An episode never terminates; its registered length is 50.

    Version history: v0, first release.

    Args:
        continuous: Whether actions are two numbers instead of five choices.
        pixels: Whether observations are small grey pictures, shape (36, 36, 1), instead.
        render_mode: ``rgb_array`` for pictures of 256 x 256, or None.
    """

    metadata: dict[str, Any] = {  # noqa: RUF012 as in Gymnasium
        "render_modes": ["rgb_array"],
        "render_fps": 20,
    }

    def __init__(
        self, *, continuous: bool = False, pixels: bool = False, render_mode: str | None = None
    ) -> None:
        self.render_mode = render_mode
        self._pixels = pixels
        self.observation_space = (
            spaces.Box(0, 255, (_SMALL, _SMALL, 1), np.uint8)
            if pixels
            else spaces.Box(-1.0, 1.0, (2,), np.float32)
        )
        self.action_space = (
            spaces.Box(-1.0, 1.0, (2,), np.float32) if continuous else spaces.Discrete(5)
        )
        self._place = np.zeros(2, np.float32)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[Any], dict[str, Any]]:
        """Draws a new start."""
        super().reset(seed=seed)
        self._place = self.np_random.uniform(-1, 1, 2).astype(np.float32)
        return self._see(), {}

    def step(self, action: Any) -> tuple[NDArray[Any], float, bool, bool, dict[str, Any]]:
        """Moves the dot within the square."""
        discrete = isinstance(self.action_space, spaces.Discrete)
        move = _MOVES[int(action)] if discrete else np.clip(action, -1, 1)
        self._place = np.clip(self._place + _STEP * move, -1, 1).astype(np.float32)
        distance = float(np.linalg.norm(self._place - _GOAL))
        return self._see(), -distance, False, False, {}

    def _see(self) -> NDArray[Any]:
        if not self._pixels:
            return self._place.copy()
        small = cv2.resize(self._draw(), (_SMALL, _SMALL), interpolation=cv2.INTER_AREA)
        return cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)[..., None]

    def render(self) -> NDArray[np.uint8] | None:
        """Draws a picture, shape (256, 256, 3): the target is a ring, the dot is filled."""
        return None if self.render_mode is None else self._draw()

    def _draw(self) -> NDArray[np.uint8]:
        picture = np.full((_SIZE, _SIZE, 3), _BACKGROUND, np.uint8)
        (x, y), (goal_x, goal_y) = _pixels(self._place), _pixels(_GOAL)
        cv2.circle(picture, (goal_x, goal_y), 16, _TARGET, 4, cv2.LINE_AA)
        cv2.circle(picture, (x, y), 10, _DOT, -1, cv2.LINE_AA)
        return picture

    def get_state(self) -> NDArray[np.float64]:
        """Returns the whole state: the position of the dot, shape (2,)."""
        return self._place.astype(np.float64)

    def set_state(self, state: NDArray[np.float64]) -> None:
        """Restores the position of the dot from ``get_state``."""
        self._place = np.asarray(state, np.float32).copy()


def _pixels(place: NDArray[np.float32]) -> tuple[int, int]:
    """Column and row of a position; y points up."""
    column, row = (place * [1, -1] + 1.2) / 2.4 * _SIZE
    return int(column), int(row)
