"""Rewards of steps for a server: reads arrays from JSON, and scores many requests in one pass."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from prefrl.control.environments.rollout import Rollout
from prefrl.control.learned.reward import Reward, judged, load_reward, steps_of
from prefrl.errors import ConfigError
from prefrl.runtime.rundir import RunDirectory
from prefrl.runtime.scorer import Asked, Kind, Newest, Scores, shortened

__all__ = ["ServedReward", "serve_steps"]

_NEEDED, _ALSO = ("observations", "actions"), ("next_observations", "ended")
_TYPES = ("float32", "float64", "uint8", "int32", "int64", "bool")
_PACKED = {"base64", "dtype", "shape"}
_ENDED = spaces.MultiBinary(1)


def serve_steps(run: RunDirectory, *, device: str) -> ServedReward:
    """Loads a reward to serve: of an agent's run, or of a saved folder, which never changes.

    Raises:
        RunDirectoryError: If there is none, or it is damaged.
        ConfigError: If the environment of the run cannot be made.
    """
    return ServedReward(load_reward(run, device=device), run)


class ServedReward:
    """A ``Scorer`` of steps.

    Args:
        reward: The reward.
        run: Run directory in which newer weights may appear.
    """

    kind: Kind = "steps"

    def __init__(self, reward: Reward, run: RunDirectory) -> None:
        self._reward = reward
        self.version = int(reward.about.get("version") or 1)
        """Version of the weights in use."""
        self._newest = Newest(run.reward, self.version)

    def about(self) -> dict[str, Any]:
        """Describes its inputs and its origin."""
        reward = self._reward
        needed = [*_NEEDED, *(_ALSO if reward.inputs == "transition" else ())]
        return {
            "env_id": reward.about.get("env_id"),
            "members": reward.net.n_members,
            "reads": needed,
            "observation_space": str(reward.observation_space),
            "action_space": str(reward.action_space),
            "pictures_before": reward.net.n_before,
        }

    def read(self, told: Mapping[str, Any]) -> Asked:
        """Reads a request, as ``Scorer.read`` does, with arrays as for ``Reward.predict``."""
        if not set(_NEEDED) <= set(told) or not set(told) <= {*_NEEDED, *_ALSO}:
            raise ConfigError(
                f"expected an object with {' and '.join(_NEEDED)}, and where the reward reads "
                f"transitions with {' and '.join(_ALSO)}, got {_names(told)}."
            )
        reward = self._reward
        seen, done = reward.observation_space, reward.action_space
        arrays: dict[str, Any] = {
            "observations": _values(told["observations"], seen, "observations"),
            "actions": _values(told["actions"], done, "actions"),
            "next_observations": None,
            "ended": None,
        }
        if reward.inputs == "transition" and told.get("next_observations") is not None:
            after = _values(told["next_observations"], seen, "next_observations")
            arrays["next_observations"] = after
        if reward.inputs == "transition" and told.get("ended") is not None:
            arrays["ended"] = _array(told["ended"], _ENDED, "ended")
        try:
            rollout, lead = steps_of(reward, *arrays.values())
        except ConfigError as error:  # the message may repeat all of the request
            raise ConfigError(shortened(error, 400)) from error
        n_steps = rollout.dones.size
        if not n_steps:
            raise ConfigError(f"expected at least one step, got a batch of the shape {lead}.")
        return Asked(rollout, lead, n_steps)

    def score(self, asked: Sequence[Asked]) -> list[Scores]:
        """Scores as ``Scorer.score`` does; requests of equal length are scored together."""
        found: dict[int, Scores] = {}
        by_length: dict[int, list[int]] = {}
        for place, one in enumerate(asked):
            by_length.setdefault(len(one.content.dones), []).append(place)
        for places in by_length.values():
            together, members = judged(
                self._reward, _side_by_side([asked[place].content for place in places])
            )
            column = 0
            for place in places:
                n, shape = asked[place].content.dones.shape[1], asked[place].shape
                own = slice(column, column + n)
                column += n
                each = members[:, :, own].reshape(len(members), *shape)
                found[place] = Scores(together[:, own].reshape(shape), each, self.version)
        return [found[place] for place in range(len(asked))]

    def refresh(self) -> None:
        """Loads newer weights, as ``Scorer.refresh`` does."""
        self.version = self._newest.put_into(self._reward.net)


def _side_by_side(rollouts: Sequence[Rollout]) -> Rollout:
    """Joins rollouts of equal length into one, environments side by side."""
    if len(rollouts) == 1:
        return rollouts[0]

    def joined(name: str) -> Any:
        parts = [getattr(rollout, name) for rollout in rollouts]
        return None if parts[0] is None else np.concatenate(parts, axis=1)

    names = "observations actions true_rewards dones states frames next_observations ended"
    return Rollout(**{name: joined(name) for name in names.split()})


def _values(told: Any, space: spaces.Space[Any], name: str) -> Any:
    """Converts JSON to values of a space."""
    if not isinstance(space, spaces.Dict):
        return _array(told, space, name)
    if not isinstance(told, Mapping):
        raise ConfigError(
            f"expected {name} as an object with {sorted(space.spaces)}, got {_kind(told)}."
        )
    absent = sorted(set(space.spaces) ^ set(told))
    if absent:
        raise ConfigError(
            f"expected {name} with {sorted(space.spaces)}, got {_names(told)}: they differ in "
            f"{shortened(', '.join(absent))}."
        )
    return {key: _array(told[key], part, f"{name}.{key}") for key, part in space.spaces.items()}


def _array(told: Any, space: spaces.Space[Any], name: str) -> NDArray[Any]:
    """Converts JSON to numbers: nested lists, or bytes in base64 with their type and shape.

    Raises:
        ConfigError: If they are not numbers of the space's kind.
    """
    if isinstance(told, Mapping):
        found = _unpacked(told, name)
    else:
        try:
            found = np.asarray(told)
        except ValueError as error:  # the lists differ in length
            raise ConfigError(
                f"expected {name} as numbers in lists of equal lengths, got others."
            ) from error
    if found.dtype.kind not in "biuf":
        raise ConfigError(f"expected {name} as numbers, got {_kind(told)}.")
    if not found.size:
        raise ConfigError(f"expected at least one step in {name}, got none.")
    if np.issubdtype(space.dtype or np.float32, np.floating):
        with np.errstate(over="ignore"):
            is_finite = np.isfinite(found.astype(np.float32)).all()
        if not is_finite:
            raise ConfigError(f"expected finite numbers in {name}, got NaN or infinite ones.")
        return found
    whole = found if found.dtype.kind in "biu" else found.astype(np.int64)
    if not np.array_equal(whole, found):
        raise ConfigError(f"expected whole numbers in {name}, whose space is {space}, got others.")
    limits = {"Box": (0, 255), "MultiBinary": (0, 1)}.get(type(space).__name__)
    if limits is not None and (whole.min() < limits[0] or whole.max() > limits[1]):
        raise ConfigError(
            f"expected numbers from {limits[0]} to {limits[1]} in {name}, got {whole.min()} to "
            f"{whole.max()}."
        )
    return whole.astype(space.dtype)


def _unpacked(told: Mapping[str, Any], name: str) -> NDArray[Any]:
    shape = told.get("shape")
    is_shape = isinstance(shape, list) and all(type(n) is int and n >= 0 for n in shape)
    if set(told) != _PACKED or not is_shape or told["dtype"] not in _TYPES:
        raise ConfigError(
            f"expected {name} as lists of numbers, or as an object with base64, dtype, one of "
            f"{', '.join(_TYPES)}, and shape, got {_names(told)}."
        )
    try:
        content = base64.b64decode(told["base64"], validate=True)
        return np.frombuffer(content, np.dtype(told["dtype"]).newbyteorder("<")).reshape(shape)
    except (binascii.Error, TypeError, ValueError) as error:
        raise ConfigError(
            f"expected base64 of {name} that holds {told['dtype']} of the shape {shortened(shape)},"
            f" but {error}."
        ) from error


def _kind(told: Any) -> str:
    """Returns the kind of a JSON value, judged by its first element."""
    while isinstance(told, list) and told:
        told = told[0]
    names = {str: "text", dict: "an object", list: "an empty list", type(None): "null"}
    return names.get(type(told), "something else among them")


def _names(told: Mapping[str, Any]) -> str:
    return shortened(", ".join(sorted(map(str, told)))) or "nothing"
