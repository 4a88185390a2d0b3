"""Films of episodes that are replayed from their initial state and actions."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from prefrl.control.environments.journals import Journal, Journals
from prefrl.control.environments.rewind import Rewind, begin, checksum
from prefrl.control.environments.source import EnvConfig, make_env
from prefrl.control.environments.states import STATE_KEY
from prefrl.control.films.clips import as_picture, choose_gl, make_drawable, need_gl
from prefrl.control.films.closing import ClosedAtExit
from prefrl.errors import FilmError

__all__ = ["EpisodeRenderer", "moments_of"]

_MUJOCO = "gymnasium.envs.mujoco.mujoco_env"
_STEPS_TO_TRY = 30
_KEPT = (
    "; they are kept up to step 20,000, unless the environment is reset with options that JSON "
    "cannot hold"
)
_STEPS_TO_FADE = 10  # LunarLander's sparks fade only while they are drawn


class EpisodeRenderer(ClosedAtExit):
    """Draws moments of episodes by replaying the episodes up to them.

    Args:
        env_id: A Gymnasium id.
        size: Approximate longer side of the pictures, in pixels.
        env: Arguments and wrappers of the environment.

    Raises:
        FilmError: If this machine or this environment cannot draw.
    """

    def __init__(self, env_id: str, *, size: int = 256, env: EnvConfig | None = None) -> None:
        self._env_id, self._config = env_id, env
        self._size = size
        self._env = make_drawable(env_id, env)
        if hasattr(self._env.unwrapped, "mujoco_renderer"):
            need_gl()
        elif _MUJOCO in sys.modules:  # the environment may contain a MuJoCo one
            choose_gl()
        self.fps = max(1, int(self._env.metadata.get("render_fps", 30)))
        """Steps per second of the environment's own clock."""

    def close(self) -> None:
        """Closes the environment."""
        self._env.close()

    def frames(self, states: NDArray[np.float64], journals: Journals) -> NDArray[np.uint8]:
        """Draws moments of episodes.

        Args:
            states: Number of the episode and step of each moment, shape (T, 2), in order.
            journals: The episodes by number, with the actions up to these moments.

        Returns:
            Pictures, shape (T, H, W, 3).

        Raises:
            FilmError: If there are no states, or an episode is missing, too short, or not
                reproducible.
        """
        pictures: list[NDArray[np.uint8]] = []
        for _, moments, journal in moments_of(states, journals, of="an episode", hint=_KEPT):
            try:
                pictures += self._played(journal, moments)
            except FilmError:
                raise
            except Exception as error:
                # An environment may raise anything.
                raise FilmError(
                    f"expected {self._env_id} to play an episode again and to draw it, but it "
                    f"broke with {type(error).__name__}: {error}"
                ) from error
        return np.stack(pictures)

    def first_frame(self) -> NDArray[np.uint8]:
        """Plays some steps, replays them, and draws the start, shape (H, W, 3).

        Raises:
            FilmError: If the environment is not reproducible, or draws nothing.
        """
        env = Rewind(make_env(self._env_id, self._config))
        env.action_space.seed(0)
        states: list[NDArray[np.float64]] = []
        journals: dict[int, Journal] = {}
        try:
            for seed in (0, None):  # the second episode continues with the first one's generator
                env.reset(seed=seed)
                states, is_over = [], False
                while len(states) < _STEPS_TO_TRY and not is_over:
                    *_, terminated, truncated, told = env.step(env.action_space.sample())
                    if STATE_KEY not in told:
                        raise FilmError(
                            f"expected {self._env_id} to name rgb_array among the render_modes "
                            "of its metadata, but it does not; name it there."
                        )
                    states.append(told[STATE_KEY])
                    is_over = terminated or truncated
            journals = env.journals()
        finally:
            env.close()
        return np.asarray(self.frames(np.stack(states), journals)[0])

    def _played(self, journal: Journal, moments: NDArray[np.int64]) -> list[NDArray[np.uint8]]:
        """Draws some moments of an episode."""
        last, drawn = int(moments[-1]), dict[int, NDArray[np.uint8]]()
        observation = begin(self._env, json.loads(journal.beginning))
        seen = checksum(observation)
        self._compare(journal, 0, seen)
        rendered = {step - k for step in moments.tolist() for k in range(_STEPS_TO_FADE)}
        for step in range(last + 1):
            if step:
                action = _as_taken(journal.actions[step - 1])
                observation, _, terminated, truncated, _ = self._env.step(action)
                seen = checksum(observation, seen)
                self._compare(journal, step, seen)
                if (terminated or truncated) and step < last:
                    raise self._otherwise(f"they ended the episode after {step} steps")
            picture = self._env.render() if step in rendered else None
            if step in moments:
                drawn[step] = self._sized(as_picture(picture))
        return [drawn[step] for step in moments.tolist()]

    def _compare(self, journal: Journal, step: int, seen: int) -> None:
        if step < len(journal.seen) and journal.seen[step] != seen:
            raise self._otherwise(f"what it observed after {step} steps was different")

    def _otherwise(self, what: str) -> FilmError:
        return FilmError(
            f"expected {self._env_id} to repeat an episode when it is given the same seed and "
            f"actions, but {what}: it is not reproducible; draw all its random numbers from "
            "self.np_random and carry nothing else from one episode into the next, or give it "
            "get_state and set_state."
        )

    def _sized(self, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Resizes a picture: shrinks it by any factor, or enlarges it by a whole number."""
        factor = self._size / max(picture.shape[:2])
        if factor < 1:
            smaller = cv2.resize(picture, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
            return np.asarray(smaller, np.uint8)
        times = round(factor)
        return picture.repeat(times, axis=0).repeat(times, axis=1)


def moments_of(
    states: NDArray[np.float64], journals: Journals, *, of: str, hint: str = ""
) -> Iterator[tuple[int, NDArray[np.int64], Journal]]:
    """Yields the moments to draw, episode by episode or game by game, in their order.

    Args:
        states: Number and step of each moment, shape (T, 2), in order.
        journals: Episodes or games by number.
        of: Name of what a journal records, for the message if one is missing.
        hint: Why it may be missing.

    Yields:
        The number, the steps to draw, and the journal, which covers all of these steps.

    Raises:
        FilmError: If there are no states, a step was not recorded, or a journal is missing or too
            short.
    """
    if states.ndim != 2 or len(states) == 0 or states.shape[1] != 2:
        raise FilmError(
            f"expected states of shape (T, 2) with T > 0, got {states.shape}; film the environment "
            "that they were recorded in."
        )
    if np.isnan(states).any():
        raise FilmError("expected all steps to be recorded, but a process died meanwhile.")
    numbers, steps = states.astype(np.int64).T
    for number in dict.fromkeys(numbers.tolist()):
        moments = steps[numbers == number]
        journal = journals.get(number)
        if journal is None or len(journal) < moments[-1]:
            raise FilmError(
                f"expected the {moments[-1]} actions of {of} up to here, got "
                f"{'none' if journal is None else len(journal)}{hint}."
            )
        yield number, moments, journal


def _as_taken(action: Any) -> Any:
    """Converts an action to Stable-Baselines3's type, as integers were stored in fewer bytes."""
    return action.astype(np.int64) if action.dtype.kind in "iu" else action
