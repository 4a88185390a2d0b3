"""Options by their names on the command line, as from a file: ``{"agent.gamma": 0.99}``."""

from __future__ import annotations

import contextlib
import dataclasses
import types
import typing
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin

from prefrl.errors import ConfigError

__all__ = ["changed_options", "filled", "flat_options", "name_of", "parts_of"]

Part = TypeVar("Part")

_WHOLE = ("env.kwargs",)  # a single value, although it is a mapping


def flat_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Flattens nested options: those of a part get its name and a dot, as in ``agent.gamma``.

    Args:
        options: Values by name; the options of a part may be in a nested mapping. Names may have
            hyphens, as on the command line, or underscores. ``env.kwargs`` stays a mapping.
    """
    return dict(_flat(options, ""))


def _flat(options: Mapping[str, Any], before: str) -> Iterator[tuple[str, Any]]:
    for name, value in options.items():
        whole = f"{before}{name}".replace("-", "_")
        if isinstance(value, Mapping) and whole not in _WHOLE:
            yield from _flat(value, f"{whole}.")
        else:
            yield whole, value


def filled(part: Part, told: Mapping[str, Any], *, command: str, before: str = "") -> Part:
    """Returns a copy of a config with other values, in which each part is created and checked once.

    Args:
        part: A dataclass, whose fields may be dataclasses.
        told: Values by their names in ``--help``, as ``flat_options`` returns them.
        command: The command whose options these are, for the error.
        before: Prefix of the names in an error.

    Raises:
        ConfigError: If there is no such option, or it cannot have the value.
    """
    hints = typing.get_type_hints(type(part))
    values: dict[str, Any] = {}
    below: dict[str, dict[str, Any]] = {}
    for name, value in told.items():
        place = _place(part, name)
        if place is None:
            raise ConfigError(
                f"expected options of {command}, got {before}{name}; {command} --help-all lists "
                "them."
            )
        where, option = place
        if where:
            below.setdefault(where, {})[option] = value
        else:
            values[option] = _read(f"{before}{name}", value, hints[option])
    for where, more in below.items():
        named = f"{before}{name_of(part, where)}." if name_of(part, where) else before
        inner = filled(getattr(part, where), more, command=command, before=named)
        values[where] = inner
    changed: Part = dataclasses.replace(part, **values)  # type: ignore[type-var]
    return changed


def changed_options(part: Any, start: Any) -> dict[str, Any]:
    """Returns the options whose values differ between two configs, in a form that YAML can hold.

    Args:
        part: The config with the values to return.
        start: The config to compare with.
    """
    return dict(_changed(part, start, ""))


def _changed(part: Any, start: Any, before: str) -> Iterator[tuple[str, Any]]:
    for field in dataclasses.fields(part):
        value, other = getattr(part, field.name), getattr(start, field.name)
        name = name_of(part, field.name)
        if dataclasses.is_dataclass(value):
            yield from _changed(value, other, f"{before}{name}." if name else before)
        elif value != other:
            yield f"{before}{name}", _as_plain(value)


def _as_plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_as_plain(one) for one in value]
    return str(value) if isinstance(value, Path) else value


@cache
def _names(kind: type) -> dict[str, str]:
    """Returns each field's name on the command line; empty for a part without a prefix."""
    names = {}
    for name, hint in typing.get_type_hints(kind, include_extras=True).items():
        told = get_args(hint)[1:] if get_origin(hint) is Annotated else ()
        given = [one.name for one in told if getattr(one, "name", None) is not None]
        names[name] = given[0] if given else name
    return names


def name_of(part: Any, field: str) -> str:
    """Returns a field's name on the command line; empty for a part whose options have no prefix."""
    kind: Any = type(part)  # mypy takes type[Any] as not hashable
    return _names(kind).get(field, field)


def parts_of(part: Any) -> Iterator[tuple[str, str, Any]]:
    """Yields field, command-line name and value of each field that is itself a dataclass."""
    for field in dataclasses.fields(part):
        value = getattr(part, field.name)
        if dataclasses.is_dataclass(value):
            yield field.name, name_of(part, field.name), value


def _place(part: Any, name: str) -> tuple[str, str] | None:
    """Finds the nested part with an option (empty: the part itself), and the rest of its name."""
    head, _, rest = name.partition(".")
    unnamed = []
    for field in dataclasses.fields(part):
        called = name_of(part, field.name)
        if not dataclasses.is_dataclass(getattr(part, field.name)):
            if called == name:
                return "", field.name
        elif not called:
            unnamed.append(field.name)
        elif called == head and rest:
            return field.name, rest
    return next(((f, name) for f in unnamed if _place(getattr(part, f), name)), None)


def _read(name: str, value: Any, kind: Any) -> Any:
    """Converts a value to a field's type: lists to tuples, and 1e-3, which YAML reads as text."""
    value = _tuple(value)
    if isinstance(value, str) and not _fits(value, kind):
        with contextlib.suppress(ValueError):
            value = float(value)
    if not _fits(value, kind):
        told = kind.__name__ if type(kind) is type else str(kind).replace("typing.", "")
        raise ConfigError(f"expected a value of {name} that is {told}, got {value!r}.")
    as_path = isinstance(value, str) and kind in (Path, Path | None)
    return Path(value) if as_path else value


def _tuple(value: Any) -> Any:
    return tuple(map(_tuple, value)) if isinstance(value, list) else value


def _fits(value: Any, kind: Any) -> bool:
    """Whether a value matches an annotated type."""
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
