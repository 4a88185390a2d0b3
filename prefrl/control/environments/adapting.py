"""Converts spaces that Stable-Baselines3 or the reward nets cannot read.

Spaces that both can read stay unchanged: an environment with vectors or one picture, and with
actions in [-1, 1] or counted from zero, is not wrapped.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Iterator, Mapping
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from prefrl.control.environments.spaces import (
    LARGEST_FLAT,
    Layout,
    check_bounds,
    encode,
    picture_of,
)
from prefrl.errors import UnsupportedSpaceError

__all__ = ["AdaptActions", "AdaptObservations", "adapt_spaces"]

_log = logging.getLogger(__name__)
_CHOICES = (spaces.Discrete, spaces.MultiDiscrete, spaces.MultiBinary)
_NEAREST_BOUND, _FARTHEST_BOUND = 0.25, 4.0
_MOST_CHANNELS = 16

_Path = tuple[Any, ...]
"""Keys and positions that lead to a part of a nested space."""
_Parts = list[tuple[_Path, spaces.Space[Any]]]


def adapt_spaces(env: gym.Env[Any, Any]) -> gym.Env[Any, Any]:
    """Wraps an environment so that Stable-Baselines3 and the reward nets can read its spaces.

    Observations become a vector, a picture, or a dict of both; actions become a Box in [-1, 1],
    Discrete from zero, MultiDiscrete or MultiBinary. An environment that already has such spaces is
    returned unchanged.

    Args:
        env: Any environment.

    Raises:
        UnsupportedSpaceError: If a space is too large or holds something that no net reads, such as
            graphs; if Box actions have no bounds; or if actions are partly numbers and partly
            choices.
    """
    if not _is_readable(env.observation_space):
        env = AdaptObservations(env)
    check_bounds(env.action_space)
    if not _is_taken(env.action_space):
        env = AdaptActions(env)
    return env


class AdaptObservations(gym.ObservationWrapper[Any, Any, Any]):
    """Joins the parts of an observation into one vector, and its pictures into one picture.

    Choices become one-hot. Text is left out. Pictures of one size are joined along their channels;
    of different sizes the largest stays a picture, and the pixels of the others become numbers.
    """

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        super().__init__(env)
        pictures, self._numbers = _sorted_out(env.observation_space)
        self._pictures = [(path, _layout(space)) for path, space in pictures]
        self._key, self._rest = _names(pictures)
        parts: dict[str, spaces.Space[Any]] = {}
        if self._pictures:
            shapes = [layout.picture for _, layout in self._pictures if layout.picture]
            n_channels = sum(channels for channels, _, _ in shapes)
            parts[self._key] = spaces.Box(0, 255, (n_channels, *shapes[0][1:]), np.uint8)
        if self._numbers:
            parts[self._rest] = _vector([space for _, space in self._numbers])
        self.observation_space = (
            spaces.Dict(parts) if len(parts) > 1 else next(iter(parts.values()))
        )

    def observation(self, observation: Any) -> Any:
        """Converts an observation of the environment."""
        parts: dict[str, NDArray[Any]] = {}
        if self._pictures:
            shown = [
                layout.as_pictures(np.asarray(_at(observation, path))[None])[0]
                for path, layout in self._pictures
            ]
            parts[self._key] = np.concatenate(shown)
        if self._numbers:
            rows = [
                encode(np.asarray(_at(observation, path))[None], space)[0]
                for path, space in self._numbers
            ]
            parts[self._rest] = np.concatenate(rows)
        return parts if len(parts) > 1 else next(iter(parts.values()))


class AdaptActions(gym.ActionWrapper[Any, Any, Any]):
    """Converts Stable-Baselines3's actions to the environment's action space.

    Numbers in [-1, 1] are scaled to the bounds; choices are counted from zero.
    """

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        super().__init__(env)
        self._parts = _action_parts(env.action_space)
        self.action_space = _flat_actions(env.action_space, self._parts)

    def action(self, action: Any) -> Any:
        """Converts an action to the environment's space."""
        flat, taken = np.asarray(action).reshape(-1), 0
        values = {}
        for path, space in self._parts:
            n = 1 if isinstance(space, spaces.Discrete) else int(np.prod(space.shape or ()))
            values[path] = _inverse(flat[taken : taken + n], space)
            taken += n
        return _built(self.env.action_space, (), values)


def _is_readable(space: spaces.Space[Any]) -> bool:
    """Whether observations of a space need no conversion."""
    parts = list(space.spaces.values()) if isinstance(space, spaces.Dict) else [space]
    if not parts:
        return False
    n_pictures = 0
    for part in parts:
        if not isinstance(part, spaces.Box) or not part.shape or part.dtype == np.bool_:
            return False
        if _is_picture(part):
            n_pictures += 1
        elif len(part.shape) > 2 or (part.dtype == np.uint8 and len(part.shape) == 2):
            return False
    return n_pictures <= 1


def _is_picture(space: spaces.Space[Any]) -> bool:
    """Whether a space holds pictures; a small one of codes, such as a board, does not."""
    if not isinstance(space, spaces.Box):
        return False
    if np.any(space.high < 255) and spaces.flatdim(space) <= LARGEST_FLAT:
        return False
    try:
        return picture_of(space)[0] is not None
    except UnsupportedSpaceError:
        return False


def _sorted_out(space: spaces.Space[Any]) -> tuple[_Parts, _Parts]:
    """Splits an observation space into parts that form one picture, and parts that are numbers."""
    pictures, numbers = [], []
    for path, part in _leaves(space):
        if _is_picture(part):
            pictures.append((path, part))
        elif _holds_text(part):
            _say_once(f"{_name(path)} is text, which no net here reads: it is left out.")
        else:
            _check_flat(path, part)
            numbers.append((path, part))
    kept, others = _of_one_size(pictures)
    for path, part in others:
        _check_flat(path, part, f"beside the larger picture {_name(kept[0][0])}")
    numbers += others
    if not kept and not numbers:
        raise UnsupportedSpaceError(
            f"expected observations with numbers or a picture in them, got {space}; let the "
            "environment show some, or wrap it with --env.wrapper."
        )
    return kept, numbers


@functools.cache
def _say_once(warning: str) -> None:
    """Logs a warning only once per process, since many environments are made."""
    _log.warning("%s", warning)


def _of_one_size(pictures: _Parts) -> tuple[_Parts, _Parts]:
    """Splits pictures into those that are joined, and those whose pixels become numbers."""
    if not pictures:
        return [], []
    shapes = {path: _layout(part).picture or (0, 0, 0) for path, part in pictures}
    largest = max((shape[1:] for shape in shapes.values()), key=lambda sides: sides[0] * sides[1])
    n_channels = 0
    kept: _Parts = []
    others: _Parts = []
    for path, part in pictures:
        channels, *sides = shapes[path]
        # With more channels than columns, the channels would be taken to come last.
        fits = n_channels + channels <= min(_MOST_CHANNELS, largest[1])
        if tuple(sides) == largest and (fits or not kept):
            n_channels += channels
            kept.append((path, part))
        else:
            others.append((path, part))
    if n_channels > largest[1]:
        return [], pictures
    return kept, others


def _leaves(space: spaces.Space[Any], path: _Path = ()) -> Iterator[tuple[_Path, Any]]:
    if isinstance(space, spaces.Dict):
        for key, part in space.spaces.items():
            yield from _leaves(part, (*path, key))
    elif isinstance(space, spaces.Tuple):
        for place, part in enumerate(space.spaces):
            yield from _leaves(part, (*path, place))
    else:
        yield path, space


def _check_flat(path: _Path, space: spaces.Space[Any], where: str = "") -> None:
    """Refuses spaces that cannot become numbers, or that become too many."""
    if not isinstance(space, (spaces.Box, *_CHOICES)):
        raise UnsupportedSpaceError(
            f"expected observations of numbers, choices, pictures and text, got {space} as "
            f"{_name(path)}; turn it into numbers with a wrapper, as --env.wrapper names them."
        )
    shown = isinstance(space, spaces.Box) and len(space.shape) < 2 and not where
    if not shown and spaces.flatdim(space) > LARGEST_FLAT:
        raise UnsupportedSpaceError(
            f"expected {_name(path)} to come to at most {LARGEST_FLAT:,} numbers{where and ' '}"
            f"{where}, got {spaces.flatdim(space):,} ({_kind(space)}); give one picture of uint8 "
            "in [0, 255], or make it smaller with a wrapper, as --env.wrapper names them."
        )


def _kind(space: spaces.Space[Any]) -> str:
    if isinstance(space, spaces.Box):
        return f"{space.dtype} of shape {space.shape}"
    return str(space)


def _holds_text(space: spaces.Space[Any]) -> bool:
    """Whether a space is Gymnasium's Text, or another library's space of strings."""
    if isinstance(space, spaces.Text):
        return True
    known = (spaces.Box, *_CHOICES, spaces.Graph, spaces.Sequence, spaces.OneOf)
    return not isinstance(space, known) and isinstance(space.sample(), str)


def _name(path: _Path) -> str:
    return "the observation" + "".join(f"[{key!r}]" for key in path)


def _layout(space: spaces.Space[Any]) -> Layout:
    picture, channels_last = picture_of(space)
    return Layout(0, picture, None, channels_last)


def _names(pictures: _Parts) -> tuple[str, str]:
    """Keys of the picture and of the numbers; a single picture keeps its own key."""
    own = [str(key) for key in pictures[0][0]] if len(pictures) == 1 else []
    key = "_".join(own).replace(".", "_") or "picture"  # torch's modules have no dots in names
    return key, "numbers" if key != "numbers" else "others"


def _vector(parts: list[spaces.Space[Any]]) -> spaces.Box:
    lows, highs = [], []
    for part in parts:
        width = int(spaces.flatdim(part))
        if isinstance(part, spaces.Box):
            lows.append(part.low.reshape(-1).astype(np.float32))
            highs.append(part.high.reshape(-1).astype(np.float32))
        else:
            lows.append(np.zeros(width, np.float32))
            highs.append(np.ones(width, np.float32))
    return spaces.Box(np.concatenate(lows), np.concatenate(highs), dtype=np.float32)


def _at(value: Any, path: _Path) -> Any:
    for key in path:
        value = value[key]
    return value


def _is_taken(space: spaces.Space[Any]) -> bool:
    """Whether Stable-Baselines3 gives such actions, and a Gaussian policy reaches all of them.

    At first it draws from a normal distribution of mean 0 and variance 1, and clips at the bounds.
    That fits bounds not far from -1 and 1, such as the 0.4 of Humanoid and the 3 of
    InvertedPendulum. Published settings assume these bounds, so they are left as they are.
    """
    if isinstance(space, spaces.Discrete):
        return int(space.start) == 0
    if isinstance(space, spaces.MultiDiscrete):
        return space.nvec.ndim == 1 and not space.start.any()
    # Stable-Baselines3 gives the bits of MultiBinary as floats, which become integers.
    if not isinstance(space, spaces.Box) or space.dtype.kind != "f" or not space.shape:
        return False
    near = (space.high >= _NEAREST_BOUND) & (space.high <= _FARTHEST_BOUND)
    return bool(np.all(near & (space.low == -space.high)))


def _action_parts(space: spaces.Space[Any]) -> _Parts:
    """Returns the parts of an action, which must be all numbers or all choices."""
    parts = list(_leaves(space))
    for _, part in parts:
        check_bounds(part)
    for kinds in ((spaces.Box,), _CHOICES):
        if parts and all(isinstance(part, kinds) for _, part in parts):
            return parts
    raise UnsupportedSpaceError(
        f"expected actions that are all numbers or all choices, got {space}; wrap the environment "
        "so that it takes one of the two, as --env.wrapper names wrappers."
    )


def _flat_actions(space: spaces.Space[Any], parts: _Parts) -> spaces.Space[Any]:
    first = parts[0][1]
    if isinstance(first, spaces.Box):
        n_numbers = sum(int(np.prod(part.shape or ())) for _, part in parts)
        alone = space is first and first.shape
        return spaces.Box(-1.0, 1.0, first.shape if alone else (n_numbers,), np.float32)
    if isinstance(space, spaces.Discrete):
        return spaces.Discrete(int(space.n))
    if all(isinstance(part, spaces.MultiBinary) for _, part in parts):
        return spaces.MultiBinary(sum(int(np.prod(part.shape or ())) for _, part in parts))
    return spaces.MultiDiscrete([n for _, part in parts for n in _counts(part)])


def _counts(space: spaces.Space[Any]) -> list[int]:
    """The number of options of each choice."""
    if isinstance(space, spaces.Discrete):
        return [int(space.n)]
    if isinstance(space, spaces.MultiDiscrete):
        return [int(n) for n in space.nvec.reshape(-1)]
    return [2] * int(np.prod(space.shape or ()))


def _inverse(flat: NDArray[Any], space: spaces.Space[Any]) -> Any:
    """Converts the policy's output for a part of an action, shape (n,), to the part's space."""
    if isinstance(space, spaces.Discrete):
        return space.start + space.dtype.type(flat[0])
    if isinstance(space, spaces.MultiDiscrete):
        return (flat.reshape(space.shape) + space.start).astype(space.dtype)
    if isinstance(space, spaces.MultiBinary):
        return flat.reshape(space.shape).astype(space.dtype)
    assert isinstance(space, spaces.Box)
    low, high = space.low.astype(np.float64), space.high.astype(np.float64)
    share = (np.clip(flat.reshape(space.shape), -1.0, 1.0).astype(np.float64) + 1) / 2
    scaled = low + share * (high - low)
    if space.dtype.kind != "f":
        scaled = np.rint(scaled)
    return np.asarray(np.clip(scaled, low, high)).astype(space.dtype)


def _built(space: spaces.Space[Any], path: _Path, values: Mapping[_Path, Any]) -> Any:
    """Builds the nested action of the environment from its parts."""
    if isinstance(space, spaces.Dict):
        return {key: _built(part, (*path, key), values) for key, part in space.spaces.items()}
    if isinstance(space, spaces.Tuple):
        return tuple(_built(part, (*path, i), values) for i, part in enumerate(space.spaces))
    return values[path]
