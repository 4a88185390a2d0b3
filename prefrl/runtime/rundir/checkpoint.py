"""Checkpoints: complete or absent, the newest two kept, none trusted without its checksums.

::

    FOLDER/000012/
      state.json          the structure of the state, and everything in it except arrays
      state.safetensors   the arrays and tensors
      manifest.json       size and sha256 of both

A checkpoint is written under another name, flushed to disk, and only then renamed. A reader takes
the newest one that agrees with its manifest. Reading changes nothing: a folder whose checkpoints
are all damaged is refused every time, and never treated as empty.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load, save

from prefrl.core.disk import naming
from prefrl.errors import RunDirectoryError
from prefrl.failpoints import fail_point
from prefrl.runtime.rundir.writing import sync_folder

__all__ = [
    "Checkpoint",
    "load_checkpoint",
    "save_checkpoint",
    "taking_up",
    "whole_checkpoints",
]

_log = logging.getLogger(__name__)
_NAME = re.compile(r"\d{6,}")
_FORMAT = 1
_CONTENTS = ("state.json", "state.safetensors")


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that was read."""

    number: int
    """Its number, from 1."""
    state: dict[str, Any]
    """The saved state."""
    refused: tuple[str, ...] = ()
    """A sentence for each newer checkpoint that was damaged."""


def save_checkpoint(folder: Path, state: Mapping[str, Any]) -> Path:
    """Saves a state as the newest checkpoint, and keeps the newest intact earlier one.

    One process at a time may write to a folder.

    Args:
        folder: Folder of checkpoints; made if necessary.
        state: Mappings, lists and tuples of tensors, NumPy arrays and what JSON can hold; NaN,
            infinities and integers of any size are allowed. Tuples come back as lists.

    Returns:
        The checkpoint's folder.

    Raises:
        TypeError: If something in the state cannot be saved; the message says where.
        OSError: If the disk is full or fails. Earlier checkpoints stay as they were.
    """
    tensors: dict[str, torch.Tensor] = {}
    tree = _take_apart(state, tensors, "state")
    files = dict(zip(_CONTENTS, (json.dumps(tree).encode(), save(tensors)), strict=True))
    about = {name: {"bytes": len(c), "sha256": _sha256(c)} for name, c in files.items()}
    files["manifest.json"] = json.dumps({"format": _FORMAT, "files": about}).encode()

    folder.mkdir(exist_ok=True)  # without parents, which would bring back a run that was moved
    _remove_leftovers(folder)  # they may be what fills the disk
    number = max(_checkpoints(folder), default=0) + 1
    path = folder / f"{number:06d}"
    temporary = folder / f".{path.name}.{os.getpid()}.tmp"
    try:
        temporary.mkdir()
        for name, content in files.items():
            _write(temporary / name, content)
        sync_folder(temporary)
        fail_point("checkpoint:before-rename")
        temporary.replace(path)
        fail_point("checkpoint:after-rename")
        sync_folder(folder)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    _tidy(folder)
    return path


def load_checkpoint(folder: Path) -> Checkpoint | None:
    """Reads the newest intact checkpoint; a damaged one is refused and logged as an error.

    Returns:
        The checkpoint; None if there has never been one.

    Raises:
        RunDirectoryError: If there are checkpoints but all are damaged.
    """
    return next(whole_checkpoints(folder), None)


def whole_checkpoints(folder: Path) -> Iterator[Checkpoint]:
    """Reads the intact checkpoints lazily, the newest first.

    Raises:
        RunDirectoryError: If there are checkpoints but all are damaged, or if one has another
            release's format.
    """
    found = _checkpoints(folder)
    refused: list[str] = []
    n_whole = 0
    for number in sorted(found, reverse=True):
        try:
            state = _read(found[number])
        except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
            refused.append(f"checkpoint {number} is damaged ({type(error).__name__}: {error})")
            _log.error("CHECKPOINT %s IS DAMAGED AND REFUSED: %s", found[number], error)
            continue
        n_whole += 1
        yield Checkpoint(number, state, tuple(refused))
    if found and not n_whole:
        raise RunDirectoryError(
            f"expected a complete checkpoint in {folder}, got {len(found)} and all damaged: "
            f"{'; '.join(refused)}. Restore the folder from a backup, or move it away to train "
            "again with the existing labels."
        )


@contextlib.contextmanager
def taking_up(checkpoint: Checkpoint) -> Iterator[None]:
    """Context for restoring a checkpoint, in which a missing entry means another release.

    Raises:
        RunDirectoryError: If an entry is missing.
    """
    try:
        yield
    except KeyError as error:
        raise RunDirectoryError(
            f"expected a checkpoint as this release of prefrl writes it, but checkpoint "
            f"{checkpoint.number} has no {error}; continue with the release in the run's "
            "versions.json."
        ) from error


def _read(path: Path) -> dict[str, Any]:
    contents = _verified(path)
    state = _put_together(json.loads(contents["state.json"]), load(contents["state.safetensors"]))
    if not isinstance(state, dict):
        raise ValueError("expected a mapping in state.json")
    return state


def _verified(path: Path) -> dict[str, bytes]:
    """Returns the contents of a checkpoint's files, if they match the manifest."""
    manifest = json.loads((path / "manifest.json").read_bytes())
    if manifest["format"] != _FORMAT:
        raise RunDirectoryError(
            f"expected a checkpoint of format {_FORMAT}, but {path} is of format "
            f"{manifest['format']}; continue with the release in the run's versions.json."
        )
    contents = {}
    for name in _CONTENTS:
        about, content = manifest["files"][name], (path / name).read_bytes()
        if len(content) != about["bytes"]:
            raise ValueError(f"expected {about['bytes']} bytes in {name}, got {len(content)}")
        if _sha256(content) != about["sha256"]:
            raise ValueError(f"{name} does not have the sha256 in the manifest")
        contents[name] = content
    return contents


def _take_apart(value: Any, tensors: dict[str, torch.Tensor], where: str) -> Any:
    """Returns the value as JSON, with names for arrays and tensors, which go into ``tensors``."""
    if isinstance(value, torch.Tensor | np.ndarray):
        name = f"{len(tensors):06d}"
        tensors[name] = _as_tensor(value, where)
        kind = "array" if isinstance(value, np.ndarray) else "tensor"
        return {"!": kind, "name": name}
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, Mapping):
        items = {k: _take_apart(v, tensors, f"{where}[{k!r}]") for k, v in value.items()}
        if all(isinstance(key, str) and key != "!" for key in items):
            return items
        if not all(isinstance(key, str | int | float | None) for key in items):
            raise TypeError(f"expected keys of {where} that JSON can hold, got {list(items)}.")
        return {"!": "mapping", "pairs": list(items.items())}  # JSON turns other keys into text
    if isinstance(value, list | tuple):
        return [_take_apart(v, tensors, f"{where}[{i}]") for i, v in enumerate(value)]
    if not isinstance(value, str | int | float | None):
        raise TypeError(
            f"expected tensors, arrays and what JSON can hold, got {type(value)} at {where}."
        )
    return value


def _as_tensor(value: torch.Tensor | NDArray[Any], where: str) -> torch.Tensor:
    """Returns a contiguous copy in main memory."""
    if isinstance(value, torch.Tensor):
        return value.detach().cpu().clone(memory_format=torch.contiguous_format)
    try:
        return torch.from_numpy(np.array(value, order="C"))
    except (TypeError, ValueError) as error:
        raise TypeError(f"expected an array of numbers at {where}, but {error}") from error


def _put_together(tree: Any, tensors: Mapping[str, torch.Tensor]) -> Any:
    if isinstance(tree, list):
        return [_put_together(item, tensors) for item in tree]
    if not isinstance(tree, dict):
        return tree
    kind = tree.get("!")
    if kind == "tensor":
        return tensors[tree["name"]]
    if kind == "array":
        return tensors[tree["name"]].numpy()
    if kind == "mapping":
        return {key: _put_together(item, tensors) for key, item in tree["pairs"]}
    return {key: _put_together(item, tensors) for key, item in tree.items()}


def _write(path: Path, content: bytes) -> None:
    with naming(path), path.open("wb") as file:
        file.write(content)
        file.flush()
        fail_point("checkpoint:before-fsync")
        os.fsync(file.fileno())
    fail_point("checkpoint:after-fsync")


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _checkpoints(folder: Path) -> dict[int, Path]:
    if not folder.is_dir():
        return {}
    return {int(path.name): path for path in folder.iterdir() if _NAME.fullmatch(path.name)}


def _tidy(folder: Path) -> None:
    """Removes all checkpoints but the newest and the newest intact one before it.

    A damaged checkpoint must not count as the one to fall back to, so each is verified, which takes
    about 10 ms per 10 MB. If all earlier ones are damaged, they stay for anyone who wants to rescue
    them.
    """
    found = _checkpoints(folder)
    older = sorted(found, reverse=True)[1:]
    for keep in older:
        try:
            _verified(found[keep])
        except (OSError, ValueError, KeyError, TypeError) as error:
            _log.error("CHECKPOINT %s IS DAMAGED: %s", found[keep], error)
            continue
        for number in older:
            if number != keep:
                # Under its own name it would look damaged while it is being deleted.
                with contextlib.suppress(OSError):
                    found[number].replace(folder / f".{found[number].name}.old.tmp")
        break
    fail_point("checkpoint:before-removal")
    _remove_leftovers(folder)


def _remove_leftovers(folder: Path) -> None:
    """Removes checkpoints that are being deleted, and what killed writers left behind."""
    for path in folder.glob(".*.tmp"):
        shutil.rmtree(path, ignore_errors=True)
