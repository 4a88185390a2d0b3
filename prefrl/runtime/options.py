"""Command-line options whose value is a built-in name, or names something of the user's own."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import tyro

from prefrl.core.plugs import name_of_plug

__all__ = ["named_option"]


def named_option(names: Iterable[str] = ()) -> tyro.constructors.PrimitiveConstructorSpec[Any]:
    """How tyro reads a field that takes some names, ``module:name``, or from Python an object.

    Args:
        names: Those that are known.
    """
    return tyro.constructors.PrimitiveConstructorSpec(
        nargs=1,
        metavar="|".join([*names, "MODULE:NAME"]),
        instance_from_str=lambda told: told[0],
        is_instance=lambda told: isinstance(told, str) or callable(told),
        str_from_instance=lambda told: [_as_told(told)],
    )


def _as_told(value: Any) -> str:
    """A value as it is written on the command line; help names the default, which may be None."""
    return str(value) if value is None or isinstance(value, str) else name_of_plug(value)
