"""A replay buffer on disk: each step is written once, and checkpoints name the files they need.

::

    replay/START-STOP-HASH.npz.zst   the steps from START to STOP, counted from the first

Writing all of a million transitions would take minutes. So each checkpoint writes only what is new
since the last one, flushes it to disk, and then names all files that make up the buffer. A file is
removed once none of the newest checkpoints names it.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import logging
from collections import deque
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import zstandard
from numpy.typing import NDArray

from prefrl.control.agent.replay_buffer import RelabelledReplayBuffer
from prefrl.runtime.rundir.writing import as_npz, replace_file, sync_folder

__all__ = ["ReplayFiles"]

_log = logging.getLogger(__name__)
_PARTS = ("observations", "next_observations", "actions", "rewards", "dones", "timeouts")
_KEPT_CHECKPOINTS = 2
_BETWEEN = "/"  # as in observations/KEY, a part of dict observations


class ReplayFiles:
    """The files of one buffer.

    Args:
        folder: Folder of the files; made if necessary.
        buffer: The buffer.
    """

    def __init__(self, folder: Path, buffer: RelabelledReplayBuffer) -> None:
        self._folder = folder
        self._buffer = buffer
        self._files: list[dict[str, Any]] = []
        self._named: deque[set[str]] = deque(maxlen=_KEPT_CHECKPOINTS)

    def save(self) -> dict[str, Any]:
        """Writes what is new since the last call.

        Returns:
            The files that make up the buffer, for a checkpoint.

        Raises:
            OSError: If the disk is full or fails. Earlier files stay as they were.
        """
        buffer = self._buffer
        stop, oldest = buffer.n_added, max(0, buffer.n_added - buffer.buffer_size)
        start = max(oldest, self._files[-1]["stop"] if self._files else 0)
        if start < stop:
            self._folder.mkdir(exist_ok=True)
            content = self._pack(np.arange(start, stop) % buffer.buffer_size)
            digest = hashlib.sha256(content).hexdigest()
            name = f"{start:09d}-{stop:09d}-{digest[:12]}.npz.zst"
            replace_file(self._folder / name, content, point="replay")
            sync_folder(self._folder)
            self._files.append({"name": name, "start": start, "stop": stop, "sha256": digest})
        self._files = [file for file in self._files if file["stop"] > oldest]
        return {"n_added": stop, "files": [dict(file) for file in self._files]}

    def tidy(self) -> None:
        """Removes files that no checkpoint needs, once the newest checkpoint is on disk."""
        self._named.append({file["name"] for file in self._files})
        if len(self._named) < _KEPT_CHECKPOINTS:
            return  # unknown which files an older checkpoint names
        needed = set().union(*self._named)
        for path in self._folder.glob("*.npz.zst"):
            if path.name not in needed:
                with contextlib.suppress(OSError):
                    path.unlink()

    def load(self, told: Mapping[str, Any]) -> None:
        """Fills the buffer. A damaged file and all before it are skipped and logged as an error.

        Args:
            told: The files, as ``save`` returned them.
        """
        self._files = [dict(file) for file in told["files"]]
        self._named.append({file["name"] for file in self._files})
        buffer, whole = self._buffer, told["n_added"]
        oldest = max(0, whole - buffer.buffer_size)
        for file in reversed(self._files):
            try:
                arrays = self._read(file)
            except (OSError, ValueError, KeyError, zstandard.ZstdError) as error:
                _log.error(
                    "REPLAY FILE %s IS DAMAGED: the agent continues without the steps before %d "
                    "(%s)",
                    self._folder / file["name"],
                    whole,
                    error,
                )
                break
            start = max(file["start"], oldest)  # newer steps have overwritten those before
            rows = np.arange(start, file["stop"]) % buffer.buffer_size
            for name, part in _arrays_of(buffer):
                part[rows] = arrays[name][start - file["start"] :]
            whole = start
        self._set_length(told["n_added"], whole)

    def _set_length(self, n_added: int, oldest: int) -> None:
        """Sets the buffer's range of steps; if some are lost, the others move to the front."""
        buffer = self._buffer
        if oldest <= max(0, n_added - buffer.buffer_size):
            buffer.n_added = n_added
            buffer.pos, buffer.full = n_added % buffer.buffer_size, n_added >= buffer.buffer_size
            return
        rows = np.arange(oldest, n_added) % buffer.buffer_size
        for _, part in _arrays_of(buffer):
            part[: len(rows)] = part[rows].copy()
        buffer.n_added, buffer.pos, buffer.full = len(rows), len(rows), False
        self._files = []  # the count starts anew, so the remaining steps are written again

    def _pack(self, rows: NDArray[Any]) -> bytes:
        content = as_npz({name: part[rows] for name, part in _arrays_of(self._buffer)})
        return zstandard.ZstdCompressor(level=1).compress(content)

    def _read(self, file: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
        content = (self._folder / file["name"]).read_bytes()
        if hashlib.sha256(content).hexdigest() != file["sha256"]:
            raise ValueError("it does not have the sha256 in the checkpoint")
        plain = zstandard.ZstdDecompressor().decompress(content)
        with np.load(io.BytesIO(plain), allow_pickle=False) as arrays:
            return dict(arrays)


def _arrays_of(buffer: RelabelledReplayBuffer) -> Iterator[tuple[str, NDArray[Any]]]:
    """Yields all arrays of a buffer by name, each of shape (size, N, ...)."""
    for name in _PARTS:
        part = getattr(buffer, name)
        if isinstance(part, dict):
            yield from ((f"{name}{_BETWEEN}{key}", value) for key, value in part.items())
        else:
            yield name, part
