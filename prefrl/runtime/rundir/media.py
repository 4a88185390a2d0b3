"""Films and texts that people see: files named by their content, complete before they are listed.

The file is written first; only then does the label store record that it shows an item. So every
file that the store names is on disk.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from prefrl.core.disk import naming
from prefrl.core.store.media import SUFFIXES
from prefrl.runtime.rundir.writing import sync_folder, write_atomically

__all__ = ["add_file", "add_medium"]

_NAME_DIGITS = 32  # 128 bits, so that nobody can find two contents with the same name
_AT_ONCE = 2**20


def add_medium(folder: Path, content: bytes, media_type: str) -> str:
    """Writes a film or a text to a folder of media; when this returns, it is on disk.

    Args:
        folder: Folder of media, such as ``RUN/media``.
        content: Content of the file.
        media_type: ``video/webm``, ``video/mp4``, or ``application/json`` for a text item, an
            object with the strings "prompt" (which may be empty) and "response".

    Returns:
        The id of the medium: the first 32 hexadecimal digits of the SHA-256 of its content.

    Raises:
        ValueError: For another type.
        OSError: If the disk is full or fails.
    """
    _check(media_type)
    media_id = hashlib.sha256(content).hexdigest()[:_NAME_DIGITS]
    path = folder / f"{media_id}{SUFFIXES[media_type]}"
    if path.is_file():
        sync_folder(folder)  # whoever wrote it may have been stopped before this
    else:
        write_atomically(path, content)
    return media_id


def add_file(folder: Path, source: Path, media_type: str) -> str:
    """Copies a film of any size to a folder of media; when this returns, it is on disk.

    Args:
        folder: Folder of media, such as ``RUN/media``.
        source: The film.
        media_type: As for ``add_medium``.

    Returns:
        The id of the medium.

    Raises:
        ValueError: For another type.
        OSError: If the film cannot be read, or the disk is full or fails.
    """
    _check(media_type)
    digest = hashlib.sha256()
    part = folder / f".{os.getpid()}.part"
    try:
        with naming(source), source.open("rb") as film, part.open("wb") as copy:
            while content := film.read(_AT_ONCE):
                digest.update(content)
                copy.write(content)
            copy.flush()
            os.fsync(copy.fileno())
        media_id = digest.hexdigest()[:_NAME_DIGITS]
        part.replace(folder / f"{media_id}{SUFFIXES[media_type]}")
    finally:
        part.unlink(missing_ok=True)
    sync_folder(folder)
    return media_id


def _check(media_type: str) -> None:
    if media_type not in SUFFIXES:
        raise ValueError(f"expected one of {', '.join(SUFFIXES)}, got {media_type!r}.")
