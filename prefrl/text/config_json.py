"""Restores configs of runs with language models from their config.json."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from prefrl.errors import RunDirectoryError

__all__ = ["config_from_content"]

_C = TypeVar("_C")


def config_from_content(kind: type[_C], content: dict[str, Any], *, paths: Sequence[str]) -> _C:
    """Restores a config from its JSON content.

    Args:
        kind: Its class, a dataclass whose fields may be dataclasses.
        content: Its fields.
        paths: Names of the fields that are paths, or None.

    Raises:
        RunDirectoryError: If it does not fit this release.
    """
    try:
        told = {name: None if content[name] is None else Path(content[name]) for name in paths}
        return _made(kind, {**content, **told})
    except (KeyError, TypeError) as error:
        raise RunDirectoryError(
            f"expected a config.json of this release of prefrl, but {error}; read the run with "
            "the release in its versions.json."
        ) from error


def _made(kind: type[_C], content: Mapping[str, Any]) -> _C:
    kinds = typing.get_type_hints(kind)
    parts = {
        name: _made(kinds[name], value) if dataclasses.is_dataclass(kinds[name]) else value
        for name, value in content.items()
    }
    return kind(**parts)
