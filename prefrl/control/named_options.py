"""The options of ``prefrl train`` as a file holds them, as in ``{"agent.gamma": 0.99}``."""

from __future__ import annotations

import contextlib
import dataclasses
import types
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from prefrl.control.config import TrainConfig
from prefrl.control.preferences import PreferenceConfig
from prefrl.control.presets import PRESETS, for_algorithm, preset_for
from prefrl.control.queries import QueryConfig
from prefrl.errors import ConfigError

__all__ = ["config_of_options", "flat_options", "is_about_the_reward"]

_WITHOUT_A_NAME = ("preferences", "query")  # on the command line, too


def config_of_options(options: Mapping[str, Any]) -> TrainConfig:
    """A training from options by name.

    Args:
        options: Values by the names that ``prefrl train --help`` gives them: those of a part after
            a dot, as in ``agent.gamma``, or in a mapping of its own, as in
            ``{"agent": {"gamma": 0.99}}``. ``env_id`` is the environment. ``preset`` names the
            settings to start from; ``auto``, the default, takes ``atari`` where the environment
            shows pictures, else ``control``.

    Raises:
        ConfigError: If there is no such option, or a value that it cannot have.
    """
    told = flat_options(options)
    env_id = told.get("env_id")
    if not isinstance(env_id, str):
        raise ConfigError(f"expected env_id to be the id of an environment, got {env_id!r}.")
    preset = told.pop("preset", "auto")
    if preset == "auto":
        about = {name: value for name, value in told.items() if name.startswith("env.")}
        preset = preset_for(env_id, _filled(PRESETS["control"], about).env)
    if preset not in PRESETS:
        known = ", ".join(["auto", *PRESETS])
        raise ConfigError(f"expected preset to be one of {known}, got {preset!r}.")
    start = PRESETS[preset]
    config: TrainConfig = _filled(for_algorithm(start, told.get("algo", start.algo)), told)
    return config


def is_about_the_reward(option: str) -> bool:
    """Whether an option says how a reward is learned, and nothing of the task or the agent."""
    fields = (*dataclasses.fields(PreferenceConfig), *dataclasses.fields(QueryConfig))
    names = {"oracle", *(field.name for field in fields)} - set(_WITHOUT_A_NAME)
    return option.partition(".")[0] in names


def flat_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options with those of parts after a dot, as in ``agent.gamma``.

    Args:
        options: Those of a part may be in a mapping of its own. What ``env.kwargs`` holds is one
            value.
    """
    return dict(_flat(options, ""))


def _flat(options: Mapping[str, Any], before: str) -> Iterator[tuple[str, Any]]:
    for name, value in options.items():
        whole = f"{before}{name}"
        if isinstance(value, Mapping) and whole != "env.kwargs":
            yield from _flat(value, f"{whole}.")
        else:
            yield whole, value


def _filled(part: Any, told: Mapping[str, Any], before: str = "") -> Any:
    """A part of a config with other values; each part is made, and checked, once."""
    hints = typing.get_type_hints(type(part))
    values: dict[str, Any] = {}
    below: dict[str, dict[str, Any]] = {}
    for name, value in told.items():
        place = _place(part, name)
        if place is None:
            raise ConfigError(
                f"expected options of prefrl train, got {before}{name}; prefrl train --help lists "
                "them."
            )
        where, field = place
        if where:
            below.setdefault(where, {})[field] = value
        else:
            values[field] = _read(f"{before}{name}", value, hints[field])
    for where, more in below.items():
        named = "" if where in _WITHOUT_A_NAME else f"{before}{where}."
        values[where] = _filled(getattr(part, where), more, named)
    return dataclasses.replace(part, **values)


def _place(part: Any, name: str) -> tuple[str, str] | None:
    """The part of a part that has an option, empty if that itself has it, and its name there."""
    fields = {field.name for field in dataclasses.fields(part)}
    head, _, rest = name.partition(".")
    if head in fields and dataclasses.is_dataclass(getattr(part, head)):
        return (head, rest) if rest and head not in _WITHOUT_A_NAME else None
    if name in fields:
        return "", name
    for where in _WITHOUT_A_NAME:
        if where in fields and _place(getattr(part, where), name) is not None:
            return where, name
    return None


def _read(name: str, value: Any, kind: Any) -> Any:
    """A value as the field wants it: lists as tuples, and 1e-3, which YAML takes for text."""
    value = _tuple(value)
    if isinstance(value, str) and not _fits(value, kind):
        with contextlib.suppress(ValueError):
            value = float(value)
    if not _fits(value, kind):
        told = kind.__name__ if type(kind) is type else str(kind).replace("typing.", "")
        raise ConfigError(f"expected a value of {name} that is {told}, got {value!r}.")
    return Path(value) if isinstance(value, str) and kind == Path | None else value


def _tuple(value: Any) -> Any:
    return tuple(map(_tuple, value)) if isinstance(value, list) else value


def _fits(value: Any, kind: Any) -> bool:
    """Whether a value is of a type as annotations write it."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return any(_fits(value, one) for one in arguments)
    if origin is Literal:
        return value in arguments
    if origin is tuple:
        if not isinstance(value, tuple):
            return False
        kinds = arguments[:1] * len(value) if arguments[-1] is Ellipsis else arguments
        return len(kinds) == len(value) and all(map(_fits, value, kinds))
    if kind in (int, float):
        allowed = int if kind is int else (int, float)
        return isinstance(value, allowed) and not isinstance(value, bool)
    if kind is Path:
        return isinstance(value, str | Path)
    return kind is Any or isinstance(value, origin or kind)
