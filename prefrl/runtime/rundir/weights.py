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
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError

from prefrl.errors import RunDirectoryError
from prefrl.failpoints import fail_point
from prefrl.runtime.rundir.writing import write_atomically

if TYPE_CHECKING:  # finding the newest version must not load torch
    from torch import Tensor, nn

__all__ = [
    "Weights",
    "latest_weights",
    "newest_published",
    "newest_version",
    "publish_weights",
    "put_into",
]

_log = logging.getLogger(__name__)
_NAME = re.compile(r"v(\d{6})\.safetensors")


@dataclass(frozen=True)
class Weights:
    """One published version."""

    version: int
    """Its number, from 1."""
    tensors: dict[str, Tensor]
    """Parameters and buffers by name, including the constants of the normalisation."""
    about: dict[str, Any]
    """Further facts that were published with them, such as the figures of the fit."""


def publish_weights(
    folder: Path, version: int, tensors: Mapping[str, Tensor], *, about: Mapping[str, Any]
) -> Path:
    """Publishes a version and removes all but the two newest.

    Args:
        folder: Folder of the published versions.
        version: Number of the version.
        tensors: Parameters and buffers by name.
        about: Further facts about them; anything that JSON can hold.

    Returns:
        Path of the tensors. A reader that sees it finds it complete, with its JSON beside it.

    Raises:
        OSError: If the disk is full or fails. Earlier versions stay as they were.
    """
    path = folder / f"v{version:06d}.safetensors"
    from safetensors.torch import save

    content = save({name: t.cpu().contiguous() for name, t in tensors.items()})
    told = {
        "sha256": _sha256(content),
        "about_sha256": _sha256(_as_json(about)),
        "about": dict(about),
    }
    write_atomically(path.with_suffix(".json"), _as_json(told))
    fail_point("weights:before-rename")
    write_atomically(path, content)
    fail_point("weights:after-rename")
    _tidy(folder)
    return path


def put_into(module: nn.Module, weights: Weights) -> None:
    """Loads published weights into a net.

    Raises:
        RunDirectoryError: If they do not fit the net's layers.
    """
    try:
        module.load_state_dict(weights.tensors)
    except RuntimeError as error:
        raise RunDirectoryError(
            f"expected reward weights that fit the config, but {' '.join(str(error).split())}; the "
            "settings of members and net must stay as they were."
        ) from error


def newest_version(folder: Path) -> int | None:
    """Returns the number of the newest version, or None; cheap enough to call after each rollout.

    It looks only at names: ``latest_weights`` may find the version damaged and return an older one.
    """
    return max(_numbers(folder), default=None)


def newest_published(folder: Path) -> tuple[int, dict[str, Any]]:
    """Returns the newest version's number and metadata, without reading the tensors.

    Returns:
        Number and metadata; 0 and {} if nothing was published, and {} if the metadata are damaged.
    """
    version = newest_version(folder) or 0
    try:
        told = json.loads((folder / f"v{version:06d}.json").read_text(encoding="utf-8"))
        return version, dict(told["about"])
    except (OSError, ValueError, KeyError, TypeError):
        return version, {}


def latest_weights(folder: Path) -> Weights:
    """Reads the newest intact version; a damaged one is refused and logged as an error.

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
        except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
            _log.error("REWARD WEIGHTS %s ARE DAMAGED AND REFUSED: %s", path, error)
    raise RunDirectoryError(
        f"expected readable reward weights in {folder}, but all {len(versions)} versions are "
        "damaged; restore the folder from a backup."
    )


def _read(path: Path) -> Weights:
    content = path.read_bytes()
    told = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    if _sha256(content) != told["sha256"]:
        raise ValueError("the tensors are not those that the JSON beside them tells of")
    if _sha256(_as_json(told["about"])) != told["about_sha256"]:
        raise ValueError("the JSON beside the tensors was changed")
    from safetensors.torch import load

    return Weights(version=int(path.stem[1:]), tensors=load(content), about=told["about"])


def _as_json(content: Mapping[str, Any]) -> bytes:
    return json.dumps(dict(content), indent=2).encode()


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _tidy(folder: Path) -> None:
    """Removes all versions but the newest two, and what killed publishers left behind."""
    kept = {path.stem for path in _versions(folder)[-2:]}
    for path in [*folder.glob("v*.json"), *folder.glob("v*.safetensors"), *folder.glob(".v*.tmp")]:
        if path.stem not in kept:
            path.unlink(missing_ok=True)


def _numbers(folder: Path) -> list[int]:
    try:
        with os.scandir(folder) as entries:
            found = [_NAME.fullmatch(entry.name) for entry in entries]
    except FileNotFoundError:
        return []
    return sorted(int(match[1]) for match in found if match)


def _versions(folder: Path) -> list[Path]:
    return [folder / f"v{number:06d}.safetensors" for number in _numbers(folder)]
