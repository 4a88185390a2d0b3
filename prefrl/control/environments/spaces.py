"""Which observation and action spaces work, and how both enter the reward net."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from prefrl.errors import UnsupportedSpaceError

__all__ = ["Layout", "action_width", "check_spaces", "encode_actions", "layout_of"]

_LARGEST_NUMBER_OF_CHANNELS = 16


@dataclass(frozen=True)
class Layout:
    """How an observation is taken apart: numbers, and at most one picture."""

    width: int
    """Numbers that are no pixels, flattened (O)."""
    picture: tuple[int, int, int] | None
    """Channels, height and width (C, H, W) of the picture; None without one."""
    picture_key: str | None = None
    """Where in a dict observation the picture is; None where the observation is no dict."""
    channels_last: bool = False
    """Whether the environment gives it as (H, W, C)."""

    def split(self, observations: Any) -> tuple[NDArray[np.float32], NDArray[np.uint8] | None]:
        """Takes N observations apart.

        Args:
            observations: A batch as a vectorised environment gives it.

        Returns:
            The numbers, shape (N, O), and the pictures, shape (N, C, H, W), if there are any.
        """
        if not isinstance(observations, Mapping):
            if self.picture is None:
                return observations.reshape(len(observations), -1).astype(np.float32), None
            return np.empty((len(observations), 0), np.float32), self.as_pictures(observations)
        numbers = [
            np.asarray(value, np.float32).reshape(len(value), -1)
            for key, value in observations.items()
            if key != self.picture_key
        ]
        n = len(next(iter(observations.values())))
        vector = np.concatenate(numbers, axis=1) if numbers else np.empty((n, 0), np.float32)
        if self.picture_key is None:
            return vector, None
        return vector, self.as_pictures(observations[self.picture_key])

    def numbers(self, observations: Any) -> NDArray[np.float32]:
        """The numbers of N observations that are no pixels, shape (N, O); pictures may be stacked.

        Args:
            observations: A batch as a vectorised environment, or a stack of frames, gives it.
        """
        if isinstance(observations, Mapping):
            rest = {key: v for key, v in observations.items() if key != self.picture_key}
            if not rest:
                return np.empty((len(observations[self.picture_key]), 0), np.float32)
            return Layout(self.width, None).split(rest)[0]
        if self.picture is not None:
            return np.empty((len(observations), 0), np.float32)
        return self.split(observations)[0]

    def unstacked(self, observations: Any, n: int) -> NDArray[np.uint8] | None:
        """The newest pictures of N observations whose pictures are stacked along the channels.

        Args:
            observations: As a stack of frames gives them, channels first.
            n: How many pictures of each.

        Returns:
            Shape (n, N, C, H, W), the oldest first; None without pictures.

        Raises:
            UnsupportedSpaceError: If fewer are stacked.
        """
        if self.picture is None:
            return None
        shown = observations if self.picture_key is None else observations[self.picture_key]
        channels = self.picture[0]
        if shown.shape[1] < n * channels:
            raise UnsupportedSpaceError(
                f"expected at least {n} pictures in an observation, as the reward looks at, got "
                f"{shown.shape[1] // channels}; raise agent.frame_stack or lower net.frame_stack."
            )
        newest = shown[:, -n * channels :].reshape(len(shown), n, *self.picture)  # (N, n, C, H, W)
        return np.ascontiguousarray(newest.swapaxes(0, 1))

    def as_pictures(self, pictures: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Pictures as an environment gives them, to shape (N, C, H, W)."""
        assert self.picture is not None
        channels, height, width = self.picture
        if self.channels_last:
            whole = pictures.reshape(len(pictures), height, width, channels)
            return np.ascontiguousarray(whole.transpose(0, 3, 1, 2))
        return pictures.reshape(len(pictures), channels, height, width)


def layout_of(space: spaces.Space[Any]) -> Layout:
    """How observations of a space are taken apart.

    Raises:
        UnsupportedSpaceError: For all but vectors, pictures, and dicts of vectors with at most one
            picture.
    """
    if not isinstance(space, spaces.Dict):
        _check_box(space)
        picture, channels_last = _picture(space)
        width = 0 if picture else int(spaces.flatdim(space))
        return Layout(width, picture, None, channels_last)
    width, found = 0, Layout(0, None)
    for key, part in space.spaces.items():
        _check_box(part)
        picture, channels_last = _picture(part)
        if picture is None:
            width += int(spaces.flatdim(part))
        elif found.picture is None:
            found = Layout(0, picture, key, channels_last)
        else:
            raise UnsupportedSpaceError(
                f"expected at most one picture in an observation, got {found.picture_key!r} and "
                f"{key!r}; put them together into one, or leave one out."
            )
    return Layout(width, found.picture, found.picture_key, found.channels_last)


def _check_box(space: spaces.Space[Any]) -> None:
    if not isinstance(space, spaces.Box):
        raise UnsupportedSpaceError(
            f"expected Box observations, or a Dict of them, got {space}; wrap the environment so "
            "that it gives arrays of numbers."
        )
    if len(space.shape) >= 3 and space.dtype != np.uint8:
        raise UnsupportedSpaceError(
            f"expected pictures of uint8 in [0, 255], got {space.dtype} of shape {space.shape}; "
            "give pixels as they are, or flatten what are no pixels."
        )


def _picture(space: spaces.Space[Any]) -> tuple[tuple[int, int, int] | None, bool]:
    """Channels, height and width of a picture space, and whether channels come last."""
    shape = space.shape
    assert shape is not None
    if space.dtype != np.uint8 or len(shape) < 2:
        return None, False
    if len(shape) == 2:
        return (1, *shape), False
    if len(shape) == 3 and shape[0] <= min(shape[2], _LARGEST_NUMBER_OF_CHANNELS):
        return (shape[0], shape[1], shape[2]), False
    if len(shape) == 3 and shape[2] <= _LARGEST_NUMBER_OF_CHANNELS:
        return (shape[2], shape[0], shape[1]), True
    raise UnsupportedSpaceError(
        f"expected pictures of shape (height, width), (height, width, channels) or (channels, "
        f"height, width) with at most {_LARGEST_NUMBER_OF_CHANNELS} channels, got {shape}."
    )


def check_spaces(observation_space: spaces.Space[Any], action_space: spaces.Space[Any]) -> None:
    """Refuses what the reward nets cannot read.

    Raises:
        UnsupportedSpaceError: For observations that ``layout_of`` refuses, and for actions that are
            neither Box nor Discrete.
    """
    layout_of(observation_space)
    if not isinstance(action_space, spaces.Box | spaces.Discrete):
        raise UnsupportedSpaceError(
            f"expected Box or Discrete actions, got {action_space}; wrap the environment so that "
            "it takes one of the two."
        )


def action_width(space: spaces.Space[Any]) -> int:
    """How many numbers an encoded action has (A)."""
    return int(spaces.flatdim(space))


def encode_actions(actions: NDArray[Any], space: spaces.Space[Any]) -> NDArray[np.float32]:
    """Actions as the reward net reads them.

    Args:
        actions: As given to the environment, shape (B, ...) for Box, (B,) for Discrete.
        space: The action space.

    Returns:
        Shape (B, A): Box actions flattened, Discrete ones one-hot.
    """
    if isinstance(space, spaces.Discrete):
        one_hot = np.zeros((len(actions), int(space.n)), np.float32)
        one_hot[np.arange(len(actions)), actions.reshape(-1) - space.start] = 1.0
        return one_hot
    return actions.reshape(len(actions), -1).astype(np.float32)
