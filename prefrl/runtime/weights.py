"""Versioned weights: safetensors and JSON, published by atomic rename, never a pickle."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from prefrl.errors import RunDirectoryError
from prefrl.runtime.rundir import write_atomically

__all__ = ["Weights", "latest_weights", "publish_weights"]

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
    write_atomically(path.with_suffix(".json"), json.dumps(dict(about), indent=2).encode())
    write_atomically(path, save({name: t.cpu().contiguous() for name, t in tensors.items()}))
    for old in _versions(folder)[:-2]:
        old.unlink(missing_ok=True)
        old.with_suffix(".json").unlink(missing_ok=True)
    return path


def latest_weights(folder: Path) -> Weights:
    """Reads the newest version.

    Raises:
        RunDirectoryError: If there is none, or it cannot be read.
    """
    versions = _versions(folder)
    if not versions:
        raise RunDirectoryError(
            f"expected published reward weights in {folder}, found none; the run ended before "
            "its first fit: train longer, or ask for the first labels earlier."
        )
    newest = versions[-1]
    try:
        tensors = load(newest.read_bytes())
        about = json.loads(newest.with_suffix(".json").read_text())
    except (OSError, ValueError, SafetensorError) as error:
        raise RunDirectoryError(
            f"expected readable reward weights in {newest}, {error}."
        ) from error
    return Weights(version=int(newest.stem[1:]), tensors=tensors, about=about)


def _versions(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("v*.safetensors") if _NAME.fullmatch(path.name))
