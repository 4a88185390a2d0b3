"""Serving several runs together: which folder, at which address, and who may sign in.

``prefrl serve FOLDER`` notes its address in ``FOLDER/.serve`` and holds a lock there while it
lives. A run below such a folder leaves its page to it: two servers of one run would know nothing of
what the other has shown in another tab.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Literal

from prefrl.runtime.roles.role import is_taken
from prefrl.runtime.rundir import RunDirectory

__all__ = [
    "HUB",
    "OPENED",
    "STANDS_BY",
    "find_runs",
    "hub_above",
    "hub_of",
    "link_to",
    "path_of",
]

HUB = "serve"
"""The lock that ``prefrl serve`` holds in its own folder."""
OPENED = "serve"
"""The lock that it holds in each run whose page it serves."""
STANDS_BY = "standing by"
"""What the process of a run's own page says of itself while ``prefrl serve`` has the page."""

_DEEPEST = 5  # folders between the one that is served and a run in it


def hub_of(folder: Path) -> RunDirectory:
    """What ``prefrl serve`` keeps about a folder: its people, its address, its lock."""
    return RunDirectory(folder.resolve() / ".serve")


def find_runs(folder: Path) -> list[RunDirectory]:
    """The runs and label folders below a folder that have something to label, by name.

    Args:
        folder: Where to look; not behind links, and not in what is hidden.
    """
    found = list[RunDirectory]()
    ahead = [(folder, 0)]
    while ahead:
        place, depth = ahead.pop()
        run = RunDirectory(place)
        try:
            if run.config.is_file() and run.has_labels:
                found.append(run)
            if _goes_on(place, depth):
                ahead += [
                    (Path(entry.path), depth + 1)
                    for entry in os.scandir(place)
                    if entry.is_dir(follow_symlinks=False) and not _is_hidden(entry.name)
                ]
        except OSError:
            continue  # it went away meanwhile, or is nobody's business
    return sorted(found, key=lambda run: str(run.root))


def hub_above(run: RunDirectory) -> Path | None:
    """The folder of a run, or above it, that is served as a whole at this moment.

    Returns:
        None if there is none that ``find_runs`` finds the run in.
    """
    root = run.root.resolve()
    for depth, folder in enumerate([root, *root.parents][: _DEEPEST + 1]):
        names = root.relative_to(folder).parts
        places = [folder.joinpath(*names[:i]) for i in range(depth)]
        if any(map(_is_hidden, names)) or not all(map(_goes_on, places, range(depth))):
            return None  # from further above the way leads through here, too
        hub = hub_of(folder)
        if hub.page.is_file() and hub.locks.is_dir() and is_taken(hub, HUB):
            return folder
    return None


def _goes_on(place: Path, depth: int) -> bool:
    """Whether the search for runs goes into the folders of a place, so deep below its start."""
    return depth < _DEEPEST and not RunDirectory(place).config.is_file()  # in a run is no other


def _is_hidden(name: str) -> bool:
    """Whether the search for runs leaves a folder out."""
    return name.startswith(".")


def path_of(folder: Path, run: Path) -> str:
    """The place of a run on the server of a folder: it follows from where it lies, and stays."""
    told = run.resolve().relative_to(folder.resolve()).as_posix()
    return hashlib.sha256(told.encode(errors="surrogateescape")).hexdigest()[:12]


def link_to(
    folder: Path,
    name: str,
    *,
    role: Literal["annotator", "owner"] | None = None,
    run: RunDirectory | None = None,
) -> str:
    """Lets somebody in to all runs of a folder.

    Args:
        folder: That is served, or was.
        name: Who.
        role: What they may do; None: what they could, at first an annotator.
        run: Which of the runs the link opens; None opens the list.

    Returns:
        A link that works once, within a week.

    Raises:
        ConfigError: If that cannot be a name.
    """
    from clip_viewer.people import People

    hub = hub_of(folder)
    token = People(hub.people).invite(name, role=role)
    place = "" if run is None else f"r/{path_of(folder, run.root)}/"
    return f"{hub.read_json(hub.page)['address']}{place}#enter={token}"
