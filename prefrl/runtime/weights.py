"""Versioned weights: safetensors and JSON, published by atomic rename, never a pickle."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from prefrl.errors import RunDirectoryError
from prefrl.runtime.failpoints import fail_point
from prefrl.runtime.rundir import write_atomically

__all__ = ["Weights", "latest_weights", "newest_version", "publish_weights"]

_log = logging.getLogger(__name__)
_NAME = re.compile(r"v(\d{6})\.safetensors")


@dataclass(frozen=True)
class Weights:
    """One published version."""

    version: int
    """Counts from 1."""
    tensors: dict[str, Tensor]
    """Parameters and buffers by name, the normalisation's constants among them."""
    about: dict[str, Any]
    """What was published beside them: how the fit went, what the net looks like."""


def publish_weights(
    folder: Path, version: int, tensors: Mapping[str, Tensor], *, about: Mapping[str, Any]
) -> Path:
    """Publishes a version and removes all but the two newest.

    Args:
        folder: Where versions lie.
        version: Its number.
        tensors: Parameters and buffers by name.
        about: What to say of them: anything that JSON can hold.

    Returns:
        The path of the tensors. A reader that sees it finds it whole, with its JSON beside it.
    """
    path = folder / f"v{version:06d}.safetensors"
    content = save({name: t.cpu().contiguous() for name, t in tensors.items()})
    told = {"sha256": hashlib.sha256(content).hexdigest(), "about": dict(about)}
    write_atomically(path.with_suffix(".json"), json.dumps(told, indent=2).encode())
    fail_point("weights:before-rename")
    write_atomically(path, content)
    fail_point("weights:after-rename")
    for old in _versions(folder)[:-2]:
        old.unlink(missing_ok=True)
        old.with_suffix(".json").unlink(missing_ok=True)
    return path


def newest_version(folder: Path) -> int | None:
    """The number of the newest version, or None: cheap enough to ask after each rollout."""
    return max(_numbers(folder), default=None)


def latest_weights(folder: Path) -> Weights:
    """Reads the newest version that is whole; a damaged one is refused with a loud line.

    Raises:
        RunDirectoryError: If there is none, or none can be read.
    """
    versions = _versions(folder)
    if not versions:
        raise RunDirectoryError(
            f"expected published reward weights in {folder}, found none; the run ended before "
            "its first fit: train longer, or ask for the first labels earlier."
        )
    for path in versions[::-1]:
        try:
            return _read(path)
        except (OSError, ValueError, KeyError, SafetensorError) as error:
            _log.error("REWARD WEIGHTS %s ARE DAMAGED AND REFUSED: %s", path, error)
    raise RunDirectoryError(
        f"expected readable reward weights in {folder}, but all {len(versions)} versions are "
        "damaged; take the folder from a backup."
    )


def _read(path: Path) -> Weights:
    content = path.read_bytes()
    told = json.loads(path.with_suffix(".json").read_text())
    if hashlib.sha256(content).hexdigest() != told["sha256"]:
        raise ValueError("the tensors are not those that the JSON beside them tells of")
    return Weights(version=int(path.stem[1:]), tensors=load(content), about=told["about"])


def _numbers(folder: Path) -> list[int]:
    found = (_NAME.fullmatch(entry.name) for entry in os.scandir(folder))
    return sorted(int(match[1]) for match in found if match)


def _versions(folder: Path) -> list[Path]:
    return [folder / f"v{number:06d}.safetensors" for number in _numbers(folder)]
