"""The disk: whether it is local and has room, its errors in words, and atomic files."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from prefrl.errors import StoreError

__all__ = ["check_place", "in_words", "is_full", "naming", "sync", "whole_file"]

_MOUNTS = Path("/proc/self/mounts")  # Linux; elsewhere file systems are unknown, and accepted
_LEAST_FREE = 32 * 2**20
_NO_ROOM = 2**20  # enough for a line of a log, but for nothing that matters
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)
# Two processes on an NFS home corrupted a database: SQLite's rollback mode needs working file
# locks, and a finished write must be on disk. The same names with the prefix "fuse." count too.
_NETWORK = frozenset(
    "afs beegfs ceph cifs davfs gcsfuse glusterfs gpfs lustre ncpfs nfs nfs4 orangefs pvfs2 s3fs "
    "smb2 smb3 smbfs sshfs".split()
)


def check_place(folder: Path) -> None:
    """Refuses a folder on a network file system or an almost full disk.

    Args:
        folder: An existing folder.

    Raises:
        StoreError: If it is on one; says what to do instead.
    """
    kind = _file_system(folder)
    if kind.removeprefix("fuse.") in _NETWORK:
        raise StoreError(
            f"expected a local disk for the label store, but {folder} is on {kind}, where SQLite's "
            "locks cannot be relied on; choose a local folder, or a PostgreSQL server (--store)."
        )
    free = shutil.disk_usage(folder).free
    if free < _LEAST_FREE:
        raise StoreError(
            f"expected {_LEAST_FREE / 2**20:.0f} MB free for the label store in {folder}, got "
            f"{free / 2**20:.1f} MB; make room."
        )


def is_full(folder: Path) -> bool:
    """Whether the disk of a folder is almost full."""
    try:
        return shutil.disk_usage(folder).free < _NO_ROOM
    except OSError:
        return False


def in_words(error: OSError) -> str:
    """Describes an operating system's error in one sentence: the file, why, and what to do.

    Args:
        error: As the system raised it; see ``naming`` for the file.
    """
    why = error.strerror or str(error)
    what, advice = "read or write", "look whether it was moved or removed, or choose another place"
    if error.errno in _FULL:
        what, advice = "write", "make room there"
    elif error.errno in _FORBIDDEN:
        advice = "look at whose it is and who may write there, or choose another place"
    return f"expected to {what} {error.filename}, but {why[:1].lower()}{why[1:]}; {advice}."


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Adds the file's name to an ``OSError`` without one, such as that of a full disk.

    Args:
        path: The file.
    """
    try:
        yield
    except OSError as error:
        if error.filename is None:
            error.filename = str(path)
        raise


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Writes a file that appears only once all of it is on disk; readable by its owner only.

    Args:
        path: Its path; an existing file is replaced.

    Yields:
        A temporary path to write to; it is deleted after an exception.

    Raises:
        StoreError: If the file cannot be written.
    """
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        os.close(os.open(part, os.O_CREAT | os.O_TRUNC | os.O_RDWR, 0o600))
        try:
            yield part
            sync(part)
            part.replace(path)
            sync(path.parent)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise StoreError(
            f"expected to write {path}, but {error.strerror}; choose another place, or make room."
        ) from error


def sync(path: Path) -> None:
    """Flushes a file, or the names in a folder, to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _file_system(folder: Path) -> str:
    """Type of the file system that holds a folder; empty if unknown."""
    try:
        lines = _MOUNTS.read_text(errors="surrogateescape").splitlines()
    except OSError:
        return ""
    real, best = folder.resolve(), ("", "")
    for line in lines:
        _, point, kind, *_ = line.split(" ")
        # Blanks in names are written as \040; of two mounts on one path the later is on top.
        point = re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), point)
        if real.is_relative_to(point) and len(point) >= len(best[0]):
            best = (point, kind)
    return best[1]
