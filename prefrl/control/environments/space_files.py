"""Spaces as JSON, for saved rewards that are used without the environment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from gymnasium import spaces

from prefrl.errors import UnsupportedSpaceError

__all__ = ["space_as_json", "space_from_json"]

_BOUNDS = {"inf": np.inf, "-inf": -np.inf}


def space_as_json(space: spaces.Space[Any]) -> dict[str, Any]:
    """Converts a space to JSON types.

    Raises:
        UnsupportedSpaceError: If it is not a Box, Discrete, MultiDiscrete, MultiBinary or Dict of
            them.
    """
    if isinstance(space, spaces.Dict):
        return {"kind": "Dict", "parts": {k: space_as_json(p) for k, p in space.spaces.items()}}
    if isinstance(space, spaces.Box):
        bounds = {"low": _as_bounds(space.low), "high": _as_bounds(space.high)}
        return {"kind": "Box", **bounds, "shape": list(space.shape), "dtype": str(space.dtype)}
    if isinstance(space, spaces.Discrete):
        return {"kind": "Discrete", "n": int(space.n), "start": int(space.start)}
    if isinstance(space, spaces.MultiDiscrete):
        told = {"nvec": space.nvec.tolist(), "start": np.asarray(space.start).tolist()}
        return {"kind": "MultiDiscrete", **told}
    if isinstance(space, spaces.MultiBinary):
        n = space.n if isinstance(space.n, int) else list(space.shape)
        return {"kind": "MultiBinary", "n": n}
    raise UnsupportedSpaceError(
        f"expected a Box, Discrete, MultiDiscrete, MultiBinary, or a Dict of those, got {space}; "
        "wrap the environment with prefrl.adapt_spaces."
    )


def space_from_json(told: Mapping[str, Any]) -> spaces.Space[Any]:
    """Restores a space from ``space_as_json``.

    Raises:
        KeyError: If something is missing.
        ValueError: If there is no such space.
    """
    kind = told["kind"]
    if kind == "Dict":
        return spaces.Dict({key: space_from_json(part) for key, part in told["parts"].items()})
    if kind == "Box":
        shape, dtype = tuple(told["shape"]), np.dtype(told["dtype"])
        low, high = (_from_bounds(told[name], shape, dtype) for name in ("low", "high"))
        return spaces.Box(low, high, shape, dtype.type)
    if kind == "Discrete":
        return spaces.Discrete(told["n"], start=told["start"])
    if kind == "MultiDiscrete":
        return spaces.MultiDiscrete(told["nvec"], start=told["start"])
    if kind == "MultiBinary":
        return spaces.MultiBinary(told["n"])
    raise ValueError(f"there is no space of the kind {kind!r}")


def _as_bounds(bounds: np.ndarray[Any, Any]) -> Any:
    """Converts bounds for JSON: a list, or one number if all are equal; infinities as text."""
    flat = bounds.reshape(-1)
    same = flat.size > 0 and bool(np.all(flat == flat[0]))
    numbers = [_as_bound(number) for number in (flat[:1] if same else flat).tolist()]
    return numbers[0] if same else numbers


def _as_bound(number: float) -> float | str:
    return number if np.isfinite(number) else str(number)


def _from_bounds(told: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Any:
    if isinstance(told, list):
        numbers = [_BOUNDS.get(number, number) for number in told]
        return np.array(numbers, dtype).reshape(shape)
    return np.full(shape, _BOUNDS.get(told, told), dtype)
