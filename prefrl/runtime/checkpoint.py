"""Checkpoints: whole or absent, two kept, none trusted without its checksums.

::

    FOLDER/000012/
      state.json          the structure of the state, and all in it that is no array
      state.safetensors   the arrays and tensors
      manifest.json       size and sha256 of both

A checkpoint is written under another name, brought to disk, and only then renamed. Who reads it
finds the newest one that is what its manifest says.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from prefrl.errors import RunDirectoryError
from prefrl.runtime.failpoints import fail_point
from prefrl.runtime.rundir import sync_folder

__all__ = ["Checkpoint", "load_checkpoint", "save_checkpoint"]

_log = logging.getLogger(__name__)
_NAME = re.compile(r"\d{6}")
_FORMAT = 1
_KEPT = 2


@dataclass(frozen=True)
class Checkpoint:
    """A state that was read back."""

    number: int
    """Counts from 1."""
    state: dict[str, Any]
    """What was saved."""


def save_checkpoint(folder: Path, state: Mapping[str, Any]) -> Path:
    """Saves a state as the newest checkpoint, and removes all but two.

    Args:
        folder: Where checkpoints lie.
        state: Mappings, lists and tuples of tensors, NumPy arrays and what JSON can hold; NaN,
            infinities and integers of any size are allowed. Tuples come back as lists.

    Returns:
        Its folder.

    Raises:
        OSError: If the disk is full or fails. The checkpoints before are as they were.
    """
    tensors: dict[str, torch.Tensor] = {}
    tree = _take_apart(state, tensors)
    files = {
        "state.json": json.dumps(tree).encode(),
        "state.safetensors": save(tensors),
    }
    about = {name: {"bytes": len(c), "sha256": _sha256(c)} for name, c in files.items()}
    files["manifest.json"] = json.dumps({"format": _FORMAT, "files": about}).encode()

    number = max((int(old.name) for old in _checkpoints(folder)), default=0) + 1
    path = folder / f"{number:06d}"
    temporary = folder / f".{path.name}.{os.getpid()}.tmp"
    try:
        temporary.mkdir()
        fail_point("checkpoint:before-fsync")
        for name, content in files.items():
            _write(temporary / name, content)
        sync_folder(temporary)
        fail_point("checkpoint:before-rename")
        temporary.replace(path)
        fail_point("checkpoint:after-rename")
        sync_folder(folder)
    except OSError:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    fail_point("checkpoint:before-tidy")
    _tidy(folder)
    return path


def load_checkpoint(folder: Path) -> Checkpoint | None:
    """Reads the newest checkpoint that is whole; a damaged one is refused with a loud line.

    Returns:
        The checkpoint; None if there has never been one.

    Raises:
        RunDirectoryError: If there are checkpoints, and all are damaged.
    """
    found = sorted(_checkpoints(folder), reverse=True)
    for path in found:
        try:
            return Checkpoint(int(path.name), _read(path))
        except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
            _log.error("CHECKPOINT %s IS DAMAGED AND REFUSED: %s", path, error)
            # Out of the way, so that it does not count as one of the two that are kept.
            with contextlib.suppress(OSError):
                path.replace(path.with_name(f"{path.name}.damaged"))
    if found:
        raise RunDirectoryError(
            f"expected a whole checkpoint in {folder}, but all {len(found)} are damaged; take the "
            "folder from a backup, or move it away to train anew with the labels that are there."
        )
    return None


def _read(path: Path) -> dict[str, Any]:
    manifest = json.loads((path / "manifest.json").read_bytes())
    if manifest["format"] != _FORMAT:
        raise ValueError(f"expected format {_FORMAT}, got {manifest['format']}")
    contents = {}
    for name, about in manifest["files"].items():
        content = (path / name).read_bytes()
        if len(content) != about["bytes"] or _sha256(content) != about["sha256"]:
            raise ValueError(f"{name} is not what the manifest says")
        contents[name] = content
    tensors = load(contents["state.safetensors"])
    state = _put_together(json.loads(contents["state.json"]), tensors)
    if not isinstance(state, dict):
        raise ValueError("expected a mapping in state.json")
    return state


def _take_apart(value: Any, tensors: dict[str, torch.Tensor]) -> Any:
    """The value as JSON, with a name in the place of each array or tensor."""
    if isinstance(value, torch.Tensor | np.ndarray):
        name = f"{len(tensors):06d}"
        if isinstance(value, np.ndarray):
            tensors[name] = torch.from_numpy(np.array(value))
            return {"!": "array", "name": name}
        tensors[name] = value.detach().cpu().contiguous().clone()
        return {"!": "tensor", "name": name}
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Mapping):
        pairs = [[key, _take_apart(item, tensors)] for key, item in value.items()]
        if all(isinstance(key, str) and key != "!" for key in value):
            return dict(pairs)
        return {"!": "mapping", "pairs": pairs}  # JSON would make text of other keys
    if isinstance(value, list | tuple):
        return [_take_apart(item, tensors) for item in value]
    return value


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
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _checkpoints(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if _NAME.fullmatch(path.name)]


def _tidy(folder: Path) -> None:
    """Removes old checkpoints, and what writers left that were killed."""
    for path in sorted(_checkpoints(folder))[:-_KEPT]:
        # Under its own name it would be a damaged checkpoint while it goes.
        going = folder / f".{path.name}.old.tmp"
        with contextlib.suppress(OSError):
            path.replace(going)
    for path in folder.glob(".*.tmp"):
        shutil.rmtree(path, ignore_errors=True)
