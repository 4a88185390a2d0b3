"""``prefrl doctor``: what works on this machine, and how to fix the rest."""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import util
from pathlib import Path

import torch

from prefrl.commands.console import console
from prefrl.core.store import LabelStore
from prefrl.errors import StoreError
from prefrl.runtime.rundir.versions import installed_versions

__all__ = ["Doctor", "Finding", "doctor", "examine"]

_ENOUGH_DISK = 2e9
_EXTRAS = {
    "ale_py": "atari",
    "transformers": "text",
    "fastapi": "viewer",
    "rl_zoo3": "zoo",
}


@dataclass(frozen=True)
class Doctor:
    """Checks what works on this machine, and says how to fix what does not."""


@dataclass(frozen=True)
class Finding:
    """The result of one check."""

    what: str
    """Name of what was checked."""
    works: bool
    """Whether all is well."""
    found: str
    """What was found."""
    advice: str = ""
    """What to do, if something is missing."""


def examine() -> Iterator[Finding]:
    """Checks versions, processors, GPU, drawing, the label store, the disk and extras."""
    versions = installed_versions()
    yield Finding("versions", True, ", ".join(f"{k} {v}" for k, v in versions.items()))
    yield Finding("processors", True, f"{os.cpu_count()} cores")
    if torch.cuda.is_available():
        yield Finding("GPU", True, torch.cuda.get_device_name())
    else:
        advice = "Not needed but for pictures: small nets are as fast on the CPU."
        yield Finding("GPU", True, "none that torch can use", advice)
    yield _films()
    yield _store()
    free = shutil.disk_usage(Path.cwd()).free
    yield Finding(
        "disk",
        free > _ENOUGH_DISK,
        f"{free / 1e9:.0f} GB free here",
        "" if free > _ENOUGH_DISK else "A run writes 10 to 100 MB; make room first.",
    )
    absent = [extra for module, extra in _EXTRAS.items() if util.find_spec(module) is None]
    yield Finding("later extras", True, f"not installed: {', '.join(absent) or 'none'}")


def _films() -> Finding:
    from prefrl.control.films.clips import choose_gl  # loads codecs

    asked, backend = os.environ.get("MUJOCO_GL"), choose_gl()
    if backend is None:
        advice = "On Debian: apt-get install libegl1 libgl1-mesa-dri, or libosmesa6."
        return Finding("films", False, "no GL to draw MuJoCo with", advice)
    if asked and asked != backend:  # with it set, MuJoCo's environments cannot even be made
        advice = f"Unset it: MuJoCo draws with {backend}."
        return Finding("films", False, f"MUJOCO_GL={asked} does not work", advice)
    return Finding("films", True, f"MuJoCo draws with {backend}")


def _store() -> Finding:
    try:
        with tempfile.TemporaryDirectory() as folder, LabelStore(Path(folder) / "labels.db"):
            return Finding("label store", True, f"SQLite {sqlite3.sqlite_version}, durable")
    except StoreError as error:
        return Finding("label store", False, str(error), "Use a local disk for runs.")


def doctor(command: Doctor) -> None:
    """Checks everything, and shows what was found."""
    for finding in examine():
        mark = "[green]ok[/]  " if finding.works else "[yellow]look[/]"
        console.print(f"{mark} {finding.what:<14} {finding.found}", soft_wrap=True)
        if finding.advice:
            console.print(f"     {'':<14} {finding.advice}", soft_wrap=True)
