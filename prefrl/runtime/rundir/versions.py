"""Versions of the packages that a run uses, and the format of its files: ``versions.json``."""

from __future__ import annotations

import contextlib
import json
import platform
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

from prefrl.errors import RunDirectoryError

__all__ = ["FORMAT", "about_this_release", "check_format", "installed_versions"]

FORMAT = 1
"""Format version of a run's files. It grows when older files can no longer be read."""

_REPORTED_PACKAGES = ("prefrl", "torch", "numpy", "gymnasium", "mujoco", "stable-baselines3")
_IF_INSTALLED = ("transformers",)


def installed_versions() -> dict[str, str]:
    """Returns the versions of Python, the platform and the packages that affect a run's result."""
    versions = {"python": platform.python_version(), "platform": sys.platform}
    for package in _REPORTED_PACKAGES:
        versions[package] = metadata.version(package)
    for package in _IF_INSTALLED:
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[package] = metadata.version(package)
    return versions


def about_this_release() -> dict[str, Any]:
    """Returns the content of ``versions.json``."""
    return {"format": FORMAT, **installed_versions()}


def check_format(path: Path) -> None:
    """Refuses a run whose files have the format of another release.

    Args:
        path: Its ``versions.json``; without this file or its "format", the run has the first
            format.

    Raises:
        RunDirectoryError: If it has; names the release that can read it.
    """
    told: Any = None
    with contextlib.suppress(OSError, ValueError):
        told = json.loads(path.read_bytes())
    told = told if isinstance(told, dict) else {}
    found = told.get("format", 1)
    if found != FORMAT:
        raise RunDirectoryError(
            f"expected a run of format {FORMAT}, but {path.parent} is of format {found}; use the "
            f"release that made it, prefrl {told.get('prefrl', '(unknown)')}."
        )
