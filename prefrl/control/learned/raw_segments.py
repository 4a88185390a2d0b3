"""Makes segments from arrays of other origins, in the format of an environment."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from prefrl.control.environments.frames import PackedFrames
from prefrl.control.environments.spaces import Layout, encode_actions
from prefrl.control.segments import Segment, held
from prefrl.errors import ConfigError

__all__ = ["ORDER", "leading_shape", "segment_of"]

ORDER = ("observations", "actions", "next_observations", "ended")
"""Order of a segment's arrays if they have no names."""

_PARTS = {*ORDER, "held", "before"}
_BESIDE = {"film", "env_steps"}  # parts of an export that no reward reads


def leading_shape(values: Any, space: spaces.Space[Any], name: str) -> tuple[int, ...]:
    """Returns the batch axes of values, which precede the axes of the space.

    Raises:
        ConfigError: If they are not values of the space.
    """
    if isinstance(space, spaces.Dict):
        if not isinstance(values, Mapping) or not set(space.spaces) <= set(values):
            got = f"with {sorted(values)}" if isinstance(values, Mapping) else type(values).__name__
            raise ConfigError(
                f"expected {name} as a dict with {sorted(space.spaces)}, got {got}; give them as "
                "the environment does."
            )
        shapes = {key: leading_shape(values[key], p, name) for key, p in space.spaces.items()}
        if len(set(shapes.values())) > 1:
            raise ConfigError(f"expected the parts of {name} to be as many each, got {shapes}.")
        return next(iter(shapes.values()))
    shape, own = np.shape(values), space.shape or ()
    n = len(shape) - len(own)
    if n < 0 or shape[n:] != own:
        raise ConfigError(
            f"expected {name} of shape {own}, or (..., {', '.join(map(str, own))}) for many, got "
            f"{shape}; give them as the environment does, whose space is {space}."
        )
    return tuple(shape[:n])


def segment_of(
    told: Mapping[str, Any],
    layout: Layout,
    spaces_of: tuple[Any, Any],
    *,
    n_before: int = 0,
    length: int = 0,
) -> Segment:
    """Makes a segment of T steps from arrays by name.

    Args:
        told: ``observations`` (T, ...) and ``actions`` (T, ...), and if known:
            ``next_observations`` (T, ...); ``ended`` (T,), whether the environment ended the
            episode with the step, or ``held``, the number of steps at the end that were not taken;
            and ``before``, earlier observations, of which only the pictures are used. Numbers may
            be encoded, as in the files of ``prefrl export``: (T, O) and (T, A).
        layout: Layout of the observations.
        spaces_of: Observation and action space.
        n_before: Number of pictures before a step on which its reward depends; missing ones are
            black.
        length: Number of steps to extend the segment to if its last step ended the episode.

    Raises:
        ConfigError: If something is missing, or does not fit the spaces.
    """
    if not {"observations", "actions"} <= set(told) or not set(told) <= _PARTS | _BESIDE:
        raise ConfigError(
            "expected a segment with observations and actions, and if known with "
            f"next_observations and ended, got {sorted(told)}."
        )
    numbers, pictures = _observations(told["observations"], layout, spaces_of[0])
    actions = _actions(told["actions"], spaces_of[1])
    after = None
    if told.get("next_observations") is not None:
        after, _ = _observations(told["next_observations"], layout, spaces_of[0])
    n_held = _n_held(told, len(numbers))
    ended = told.get("ended")
    lengths = {len(part) for part in (numbers, actions, after, ended) if part is not None}
    if len(lengths) > 1 or not len(numbers):
        raise ConfigError(
            f"expected as many actions as observations in a segment, and at least one, got "
            f"{sorted(lengths)} of them."
        )
    for name, part in (("observations", numbers), ("actions", actions), ("next ones", after)):
        if part is not None and not np.isfinite(part).all():
            raise ConfigError(f"expected finite numbers in a segment, but its {name} have others.")
    if ended is not None and np.any(ended):
        n_held = len(numbers) - 1 - int(np.argmax(ended))
        if not n_held:  # at least one held step must show the ending
            n_held = max(1, length - len(numbers))
            final = numbers[-1] if after is None else after[-1]
            numbers = held(numbers, final, n_held)
            actions = held(actions, np.zeros_like(actions[-1]), n_held)
            after = None if after is None else held(after, final, n_held)
            pictures = None if pictures is None else held(pictures, pictures[-1], n_held)
    if pictures is not None:
        past = told.get("before")
        seen = None if past is None else _observations(past, layout, spaces_of[0])[1]
        pictures = _with_past(pictures, seen, n_before)
    return _named(numbers, actions, after, n_held, pictures)


def _n_held(told: Mapping[str, Any], n_steps: int) -> int:
    n_held = int(told.get("held", 0))
    if not 0 <= n_held <= n_steps:
        raise ConfigError(
            f"expected held as a number of the {n_steps} steps of a segment, got {n_held}."
        )
    return n_held


def _with_past(
    pictures: NDArray[np.uint8], seen: NDArray[np.uint8] | None, n_before: int
) -> NDArray[np.uint8]:
    """Prepends the earlier pictures that the net needs; missing ones are black."""
    black = np.zeros((n_before, *pictures.shape[1:]), np.uint8)
    past = black if seen is None else np.concatenate([black, seen])
    return np.concatenate([past[len(past) - n_before :], pictures])


def _named(
    numbers: NDArray[np.float32],
    actions: NDArray[np.float32],
    after: NDArray[np.float32] | None,
    n_held: int,
    frames: NDArray[np.uint8] | None,
) -> Segment:
    """Returns the segment with a name that is a hash of its content."""
    digest = hashlib.blake2b(f"{n_held}".encode(), digest_size=8)
    for part in (numbers, actions, after, frames):
        if part is not None:
            digest.update(np.ascontiguousarray(part).tobytes())
    packed = None if frames is None else PackedFrames.pack(frames)
    return Segment(
        id=f"d{digest.hexdigest()}",
        observations=numbers,
        actions=actions,
        frames=packed,
        next_observations=after,
        n_held=n_held,
    )


def _observations(
    values: Any, layout: Layout, space: spaces.Space[Any]
) -> tuple[NDArray[np.float32], NDArray[np.uint8] | None]:
    if not isinstance(values, Mapping):
        values = np.asarray(values)
        encoded = (layout.width,)
        if layout.picture is None and values.shape[1:] == encoded != space.shape:
            return values.astype(np.float32), None
    lead = leading_shape(values, space, "observations")
    if len(lead) != 1:
        raise ConfigError(
            f"expected the observations of a segment one after the other, (T, ...), got "
            f"{len(lead)} axes before those of {space}."
        )
    if isinstance(values, Mapping):
        values = {key: np.asarray(values[key]) for key in getattr(space, "spaces", values)}
    try:
        return layout.split(values)
    except ValueError as error:
        raise ConfigError(str(error)) from error


def _actions(values: Any, space: spaces.Space[Any]) -> NDArray[np.float32]:
    given: NDArray[Any] = np.asarray(values)
    if given.shape[1:] == (spaces.flatdim(space),) != space.shape:
        return given.astype(np.float32)
    leading_shape(given, space, "actions")
    try:
        return encode_actions(given, space)
    except ValueError as error:
        raise ConfigError(str(error)) from error
