"""Atomic writing of a run's small files: complete or absent."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from prefrl.core.disk import naming, sync
from prefrl.failpoints import fail_point

__all__ = ["as_npz", "replace_file", "sync_folder", "write_arrays", "write_atomically"]


def write_atomically(path: Path, content: bytes) -> None:
    """Writes a file so that a reader sees the old one or the new one, never half of it.

    Raises:
        OSError: If the disk is full or fails. The old file stays as it was.
    """
    replace_file(path, content, point="write")
    sync_folder(path.parent)


def replace_file(path: Path, content: bytes, *, point: str, forced: bool = True) -> None:
    """Replaces a file by a complete new one; its name is on disk after ``sync_folder``.

    Args:
        path: The file.
        content: The new content.
        point: Prefix of the names of its fail points.
        forced: Whether the content must be on disk when this returns, which a short-lived file
            does not need.

    Raises:
        OSError: If the disk is full or fails. The old file stays as it was.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with naming(path), temporary.open("wb") as file:
            file.write(content)
            file.flush()
            if forced:
                fail_point(f"{point}:before-fsync")
                os.fsync(file.fileno())
        fail_point(f"{point}:before-rename")
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)  # as the disk may be full
        raise
    fail_point(f"{point}:after-rename")


def write_arrays(path: Path, arrays: Mapping[str, Any]) -> None:
    """Writes an .npz file without pickles; a reader sees all of the old one or of the new one."""
    write_atomically(path, as_npz(arrays))


def as_npz(arrays: Mapping[str, Any]) -> bytes:
    """Returns the content of an .npz file without pickles."""
    content = io.BytesIO()
    np.savez(content, allow_pickle=False, **arrays)
    return content.getvalue()


def sync_folder(folder: Path) -> None:
    """Flushes the names in a folder to disk."""
    sync(folder)
