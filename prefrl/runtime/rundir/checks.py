"""Checks of a run directory: that a new one has a free path, and that an old one is a run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from prefrl.errors import RunDirectoryError

__all__ = ["ELSEWHERE", "check_told", "what_takes"]

ELSEWHERE = "elsewhere"
"""Key in the config.json of a folder with only the labelling page of a run elsewhere."""


def check_told(told: Mapping[str, Any], root: Path, store: Path, *, may_be_page: bool) -> None:
    """Refuses a directory that is not that of a run, or whose answers cannot be found.

    Args:
        told: The content of its config.json.
        root: The directory.
        store: Path of its store.json, which exists if the answers are on a server.
        may_be_page: Whether it may have only the labelling page of a run on another machine.

    Raises:
        RunDirectoryError: If it is refused; says what to do instead.
    """
    if ELSEWHERE in told and not may_be_page:
        raise RunDirectoryError(
            f"expected a run, but {root} has only the page of a run on another machine; run the "
            "command there."
        )
    if not store.is_file() and told.get("store"):
        raise RunDirectoryError(
            f"expected {store}, with the place of the answers, but it is gone; restore it."
        )


def what_takes(path: Path) -> str:
    """Says what is in the way at a path, as the end of a sentence; empty if nothing is."""
    if path.is_symlink() and not path.exists():
        return f"is a link to {path.readlink()}, which is not there"
    if path.exists() and not path.is_dir():
        return "exists and is a file"
    return "exists and is not empty" if path.exists() and any(path.iterdir()) else ""
