"""Command-line options whose value is a built-in name or the user's own ``module:name``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import tyro

from prefrl.core.plugs import name_of_plug

__all__ = ["named_option"]


def named_option(names: Iterable[str] = ()) -> tyro.constructors.PrimitiveConstructorSpec[Any]:
    """Tells tyro how to read a field: a known name, ``module:name``, or in Python an object.

    Args:
        names: The built-in names.
    """
    return tyro.constructors.PrimitiveConstructorSpec(
        nargs=1,
        metavar="|".join([*names, "MODULE:NAME"]),
        instance_from_str=lambda told: told[0],
        is_instance=lambda told: isinstance(told, str) or callable(told),
        str_from_instance=lambda told: [_as_told(told)],
    )


def _as_told(value: Any) -> str:
    """Formats a value as on the command line; --help also shows a default of None."""
    return str(value) if value is None or isinstance(value, str) else name_of_plug(value)
