"""Stages a training's folder on a local disk, which SQLite's label store needs."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from prefrl.core.disk import check_place
from prefrl.errors import StoreError

__all__ = ["on_a_local_disk"]

_NOT_MOVED = ("locks", ".run.*")


@contextlib.contextmanager
def on_a_local_disk(folder: Path) -> Iterator[Path]:
    """Yields a folder, or a local copy if the folder is on a network or an almost full disk.

    The copy is brought back at the end, even after an error, so that the next attempt continues
    from what was saved. If the machine dies, the folder keeps the state of the last attempt.

    Args:
        folder: Folder of a training; no other process may work in it meanwhile.

    Raises:
        StoreError: If the temporary folder is not on a local disk, or has no room.
    """
    try:
        check_place(folder)
    except StoreError:
        with tempfile.TemporaryDirectory(prefix="prefrl-") as scratch:
            here = Path(scratch) / "work"
            if _old(folder).exists() and not (folder / "run").exists():  # killed between renames
                _old(folder).rename(folder / "run")
            shutil.copytree(folder, here, ignore=shutil.ignore_patterns(*_NOT_MOVED))
            check_place(here)
            try:
                yield here
            finally:
                _bring_back(here, folder)
    else:
        yield folder


def _bring_back(here: Path, folder: Path) -> None:
    """Copies a training back to its folder; its run is always complete, the old or the new one."""
    run, new, old = folder / "run", folder / ".run.new", _old(folder)
    shutil.rmtree(new, ignore_errors=True)
    if (here / "run").is_dir():
        shutil.copytree(here / "run", new)
        shutil.rmtree(old, ignore_errors=True)
        if run.exists():
            run.rename(old)
        new.rename(run)
        shutil.rmtree(old, ignore_errors=True)
    for path in here.iterdir():
        if path.is_file():
            shutil.copy2(path, folder / path.name)


def _old(folder: Path) -> Path:
    return folder / ".run.old"
