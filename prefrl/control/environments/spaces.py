"""Supported observation and action spaces, and how both enter the reward net."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from prefrl.errors import UnsupportedSpaceError

__all__ = [
    "LARGEST_FLAT",
    "Layout",
    "action_width",
    "check_bounds",
    "check_spaces",
    "encode",
    "encode_actions",
    "layout_of",
    "picture_of",
]

LARGEST_FLAT = 10_000
"""Most numbers that a choice, or pixels read as numbers, may become."""
_LARGEST_NUMBER_OF_CHANNELS = 16
_LARGEST_SPAN = 1e30  # float32 ends at 3.4e38, and scaled values must stay well below
_CHOICES = (spaces.Discrete, spaces.MultiDiscrete, spaces.MultiBinary)
_MEND = (
    "wrap each environment with prefrl.adapt_spaces, as in make_vec_env(..., "
    "wrapper_class=prefrl.adapt_spaces)."
)


@dataclass(frozen=True)
class Layout:
    """How an observation is split into numbers and at most one picture."""

    width: int
    """Count of numbers other than pixels, flattened, with choices one-hot (O)."""
    picture: tuple[int, int, int] | None
    """Channels, height and width (C, H, W) of the picture; None without one."""
    picture_key: str | None = None
    """Key of the picture in a dict observation; None without a dict or a picture."""
    channels_last: bool = False
    """Whether the environment's pictures have the shape (H, W, C)."""
    space: spaces.Space[Any] | None = field(default=None, compare=False, repr=False)
    """The observation space if some of its parts are choices; else None."""

    def split(self, observations: Any) -> tuple[NDArray[np.float32], NDArray[np.uint8] | None]:
        """Splits N observations.

        Args:
            observations: A batch from a vectorised environment.

        Returns:
            The numbers, shape (N, O), and the pictures, shape (N, C, H, W), if there are any.
        """
        if not isinstance(observations, Mapping):
            if self.picture is None:
                return self._encoded(observations, None), None
            return np.empty((len(observations), 0), np.float32), self.as_pictures(observations)
        numbers = [
            self._encoded(np.asarray(value), key)
            for key, value in observations.items()
            if key != self.picture_key
        ]
        n = len(next(iter(observations.values())))
        vector = np.concatenate(numbers, axis=1) if numbers else np.empty((n, 0), np.float32)
        if self.picture_key is None:
            return vector, None
        return vector, self.as_pictures(observations[self.picture_key])

    def numbers(self, observations: Any) -> NDArray[np.float32]:
        """Returns the numbers without pixels, shape (N, O); pictures may be stacked.

        Args:
            observations: A batch from a vectorised environment, or from ``StackFrames``.
        """
        if isinstance(observations, Mapping):
            rest = {key: v for key, v in observations.items() if key != self.picture_key}
            if not rest:
                return np.empty((len(observations[self.picture_key]), 0), np.float32)
            return replace(self, picture=None, picture_key=None).split(rest)[0]
        if self.picture is not None:
            return np.empty((len(observations), 0), np.float32)
        return self.split(observations)[0]

    def unstacked(self, observations: Any, n: int) -> NDArray[np.uint8] | None:
        """Returns the newest pictures of N observations with pictures stacked along the channels.

        Args:
            observations: A batch from ``StackFrames``, channels first.
            n: Number of pictures of each observation.

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
        """Converts pictures of an environment to shape (N, C, H, W)."""
        assert self.picture is not None
        channels, height, width = self.picture
        if self.channels_last:
            whole = pictures.reshape(len(pictures), height, width, channels)
            return np.ascontiguousarray(whole.transpose(0, 3, 1, 2))
        return pictures.reshape(len(pictures), channels, height, width)

    def _encoded(self, values: NDArray[Any], key: str | None) -> NDArray[np.float32]:
        """Encodes one part of N observations as numbers, shape (N, ...) to (N, O)."""
        if self.space is None:
            return values.reshape(len(values), -1).astype(np.float32)
        if key is None:
            return encode(values, self.space)
        assert isinstance(self.space, spaces.Dict)
        return encode(values, self.space.spaces[key])


def layout_of(space: spaces.Space[Any]) -> Layout:
    """Returns how observations of a space are split.

    Raises:
        UnsupportedSpaceError: For spaces other than numbers, choices, pictures, and dicts of them
            with at most one picture.
    """
    if not isinstance(space, spaces.Dict):
        _check_readable(space)
        picture, channels_last = picture_of(space)
        width = 0 if picture else int(spaces.flatdim(space))
        return Layout(width, picture, None, channels_last, _if_chosen(space, [space]))
    width, found = 0, Layout(0, None)
    for key, part in space.spaces.items():
        _check_readable(part)
        picture, channels_last = picture_of(part)
        if picture is None:
            width += int(spaces.flatdim(part))
        elif found.picture is None:
            found = Layout(0, picture, key, channels_last)
        else:
            raise UnsupportedSpaceError(
                f"expected at most one picture in an observation, got {found.picture_key!r} and "
                f"{key!r}; {_MEND}"
            )
    return replace(found, width=width, space=_if_chosen(space, space.spaces.values()))


def _if_chosen(space: spaces.Space[Any], parts: Any) -> spaces.Space[Any] | None:
    return space if any(isinstance(part, _CHOICES) for part in parts) else None


def _check_readable(space: spaces.Space[Any]) -> None:
    if not isinstance(space, (spaces.Box, *_CHOICES)):
        raise UnsupportedSpaceError(
            f"expected observations that are a Box, Discrete, MultiDiscrete, MultiBinary, or a "
            f"Dict of those, got {space}; {_MEND}"
        )
    width = int(spaces.flatdim(space))
    if not isinstance(space, spaces.Box) and width > LARGEST_FLAT:
        raise UnsupportedSpaceError(
            f"expected choices that come to at most {LARGEST_FLAT:,} one-hot numbers, got {space}; "
            "let the environment show numbers or a picture instead."
        )
    if isinstance(space, spaces.Box) and len(space.shape) >= 3 and space.dtype != np.uint8:
        raise UnsupportedSpaceError(
            f"expected pictures of uint8 in [0, 255], got {space.dtype} of shape {space.shape}; "
            f"give pixels as they are, or {_MEND}"
        )


def picture_of(space: spaces.Space[Any]) -> tuple[tuple[int, int, int] | None, bool]:
    """Returns channels, height and width of a picture space, or None; and if channels come last.

    Raises:
        UnsupportedSpaceError: If it has too many channels, or more axes than a picture.
    """
    shape = space.shape
    if not isinstance(space, spaces.Box) or space.dtype != np.uint8 or not shape or len(shape) < 2:
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
    """Refuses spaces that the reward nets cannot read or Stable-Baselines3 cannot act in.

    Raises:
        UnsupportedSpaceError: For observations that ``layout_of`` refuses; for actions that are
            none of Box, Discrete, MultiDiscrete and MultiBinary, that have no bounds, or that are
            not counted from zero, as Stable-Baselines3 counts them.
    """
    layout_of(observation_space)
    if not isinstance(action_space, (spaces.Box, *_CHOICES)):
        raise UnsupportedSpaceError(
            f"expected actions that are a Box, Discrete, MultiDiscrete or MultiBinary, got "
            f"{action_space}; {_MEND}"
        )
    check_bounds(action_space)
    if isinstance(action_space, spaces.Discrete | spaces.MultiDiscrete) and np.any(
        np.asarray(action_space.start)
    ):
        raise UnsupportedSpaceError(
            f"expected actions that are counted from 0, as Stable-Baselines3 gives them, got "
            f"{action_space}; {_MEND}"
        )
    if isinstance(action_space, spaces.MultiDiscrete | spaces.MultiBinary):
        if len(action_space.shape) != 1:
            raise UnsupportedSpaceError(
                f"expected choices in one row, got actions of shape {action_space.shape}; {_MEND}"
            )


def check_bounds(space: spaces.Space[Any]) -> None:
    """Refuses Box actions that have no finite bounds.

    Raises:
        UnsupportedSpaceError: If a range between bounds is infinite, or almost (1e30).
    """
    if not isinstance(space, spaces.Box):
        return
    with np.errstate(over="ignore"):
        spans = space.high.astype(np.float64) - space.low.astype(np.float64)
    if not np.all(spans < _LARGEST_SPAN):
        raise UnsupportedSpaceError(
            f"expected Box actions with a lower and an upper bound, got {space}; give action_space "
            "finite bounds in the environment, or in a wrapper that --env.wrapper names."
        )


def action_width(space: spaces.Space[Any]) -> int:
    """Returns the count of numbers in an encoded action (A)."""
    return int(spaces.flatdim(space))


def encode(values: NDArray[Any], space: spaces.Space[Any]) -> NDArray[np.float32]:
    """Encodes N values of a space as numbers.

    Args:
        values: Values of a Box, Discrete, MultiDiscrete or MultiBinary space, shape (N, ...).
        space: Their space.

    Returns:
        Shape (N, W): numbers flattened, each choice one-hot, bits as 0 and 1.

    Raises:
        ValueError: If a choice is not in the space.
    """
    if not isinstance(space, spaces.Discrete | spaces.MultiDiscrete):
        return values.reshape(len(values), -1).astype(np.float32)
    counts = np.asarray(space.n if isinstance(space, spaces.Discrete) else space.nvec).reshape(-1)
    chosen = values.reshape(len(values), -1) - np.asarray(space.start).reshape(-1)
    if np.any((chosen < 0) | (chosen >= counts)):
        raise ValueError(f"expected choices of {space}, got {values.tolist()}.")
    ends = np.cumsum(counts)
    one_hot = np.zeros((len(values), int(ends[-1])), np.float32)
    one_hot[np.arange(len(values))[:, None], (ends - counts) + chosen.astype(np.int64)] = 1.0
    return one_hot


def encode_actions(actions: NDArray[Any], space: spaces.Space[Any]) -> NDArray[np.float32]:
    """Encodes actions for the reward net.

    Args:
        actions: As given to the environment, shape (B, ...), or (B,) for Discrete.
        space: The action space.

    Returns:
        Shape (B, A), as ``encode`` returns them.
    """
    return encode(actions, space)
