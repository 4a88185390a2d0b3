"""Serving several runs together: which folder, at which address, and who may sign in.

``prefrl serve FOLDER`` stores its address in ``FOLDER/.serve`` and holds a lock there while it
runs. A run below such a folder leaves its page to that server: two servers of one run would not
know what the other has shown in another tab.
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
"""State of the process of a run's own page while ``prefrl serve`` serves the page."""

_DEEPEST = 5  # levels below the served folder at which runs are found


def hub_of(folder: Path) -> RunDirectory:
    """Returns where ``prefrl serve`` keeps the people, address and lock of a folder."""
    return RunDirectory(folder.resolve() / ".serve")


def find_runs(folder: Path) -> list[RunDirectory]:
    """Finds the runs and label folders below a folder that have something to label, by path.

    Args:
        folder: Where to look; links are not followed, and hidden folders are left out.
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
            continue  # it was deleted meanwhile, or is not readable
    return sorted(found, key=lambda run: str(run.root))


def hub_above(run: RunDirectory) -> Path | None:
    """Finds the folder of a run, or above it, that ``prefrl serve`` serves at this moment.

    Returns:
        The folder; None if there is none in which ``find_runs`` would find the run.
    """
    root = run.root.resolve()
    for depth, folder in enumerate([root, *root.parents][: _DEEPEST + 1]):
        names = root.relative_to(folder).parts
        places = [folder.joinpath(*names[:i]) for i in range(depth)]
        if any(map(_is_hidden, names)) or not all(map(_goes_on, places, range(depth))):
            return None  # a search from further above stops here, too
        hub = hub_of(folder)
        if hub.page.is_file() and hub.locks.is_dir() and is_taken(hub, HUB):
            return folder
    return None


def _goes_on(place: Path, depth: int) -> bool:
    """Whether the search for runs goes on below a place, given its depth below the start."""
    return depth < _DEEPEST and not RunDirectory(place).config.is_file()  # a run contains no other


def _is_hidden(name: str) -> bool:
    """Whether the search for runs leaves a folder out."""
    return name.startswith(".")


def path_of(folder: Path, run: Path) -> str:
    """Returns a run's path on the server of a folder, which depends only on where it lies."""
    told = run.resolve().relative_to(folder.resolve()).as_posix()
    return hashlib.sha256(told.encode(errors="surrogateescape")).hexdigest()[:12]


def link_to(
    folder: Path,
    name: str,
    *,
    role: Literal["annotator", "owner"] | None = None,
    run: RunDirectory | None = None,
) -> str:
    """Invites somebody to all runs of a folder.

    Args:
        folder: The folder, which is or was served.
        name: The person's name.
        role: Their role from now on; None keeps it, and makes new people annotators.
        run: The run that the link opens; None opens the list.

    Returns:
        A link that works once, within a week.

    Raises:
        ConfigError: If the name is not allowed.
    """
    from clip_viewer.people import People

    hub = hub_of(folder)
    token = People(hub.people).invite(name, role=role)
    place = "" if run is None else f"r/{path_of(folder, run.root)}/"
    return f"{hub.read_json(hub.page)['address']}{place}#enter={token}"
