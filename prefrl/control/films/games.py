"""Films of games that are replayed from their number and actions, in colour."""

from __future__ import annotations

from typing import Any

import cv2
import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from prefrl.control.environments.journals import Journal, Journals
from prefrl.control.environments.source import EnvConfig, make_env, spec_of
from prefrl.control.environments.states import tells_state
from prefrl.control.films.clips import ClipRenderer, make_drawable
from prefrl.control.films.closing import ClosedAtExit
from prefrl.control.films.episodes import EpisodeRenderer, moments_of

__all__ = ["GameRenderer", "Renderer", "open_renderer"]


class GameRenderer(ClosedAtExit):
    """Draws moments of games by replaying the games up to them.

    An Atari game takes about a millisecond per step, so a clip from the middle of a game of Pong
    takes a second.

    Args:
        env: An environment with ``draw(game, actions, first=...)``.
        size: Approximate width of the pictures, in pixels: each pixel of the screen becomes a
            square.
    """

    def __init__(self, env: gym.Env[Any, Any], *, size: int) -> None:
        self._env = env
        self._size = size
        self.fps = int(env.metadata.get("render_fps", 30))
        """Steps per second of the game's own clock."""

    def close(self) -> None:
        """Closes the environment."""
        self._env.close()

    def frames(self, states: NDArray[np.float64], journals: Journals) -> NDArray[np.uint8]:
        """Draws moments of games.

        Args:
            states: Number of the game and step of each moment, shape (T, 2), in order.
            journals: The games by number, with the actions up to these moments.

        Returns:
            Pictures, shape (T, H, W, 3).

        Raises:
            FilmError: If there are no states, or a game is missing or too short.
        """
        pictures: list[NDArray[np.uint8]] = []
        env: Any = self._env.unwrapped
        for game, moments, journal in moments_of(states, journals, of="a game"):
            drawn = env.draw(game, journal.actions[: moments[-1]], first=int(moments[0]))
            pictures += [self._enlarged(drawn[step - moments[0]]) for step in moments]
        return np.stack(pictures)

    def first_frame(self) -> NDArray[np.uint8]:
        """Draws the start of a game, shape (H, W, 3)."""
        return np.asarray(self.frames(np.zeros((1, 2)), {0: Journal(np.empty(0, np.uint8))})[0])

    def _enlarged(self, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
        times = max(1, round(self._size / picture.shape[1]))
        larger = cv2.resize(picture, None, fx=times, fy=times, interpolation=cv2.INTER_NEAREST)
        return np.asarray(larger, np.uint8)


Renderer = ClipRenderer | EpisodeRenderer | GameRenderer
"""Any of the classes that draw an environment."""


def open_renderer(env_id: str, *, size: int = 256, env: EnvConfig | None = None) -> Renderer:
    """Opens the renderer of an environment, which draws recorded states or else replays.

    Args:
        env_id: A Gymnasium id.
        size: Approximate side of the pictures, in pixels.
        env: Arguments and wrappers of the environment.

    Raises:
        FilmError: If this machine or this environment cannot draw.
    """
    if spec_of(env_id).vector_entry_point is not None:
        made = make_env(env_id, env)
        if hasattr(made.unwrapped, "draw"):
            return GameRenderer(made, size=size)
        made.close()
    drawable = make_drawable(env_id, env)
    has_states = tells_state(drawable)
    drawable.close()
    kind = ClipRenderer if has_states else EpisodeRenderer
    return kind(env_id, size=size, env=env)
