"""Where a run and its pages on other machines find one another.

``store.json`` has the URL of the label store, and under ``media`` the URL of the films and texts. A
folder that has only a page, for a run on another machine, also has an id of its own there, and what
the run told about itself under ``elsewhere`` in its ``config.json``.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

from prefrl.core.store import LabelStore
from prefrl.core.store.on_server import check_store, schema_of
from prefrl.errors import ConfigError, RunDirectoryError
from prefrl.runtime.remote.objects import ObjectStore
from prefrl.runtime.rundir import RunDirectory
from prefrl.runtime.rundir.checks import ELSEWHERE
from prefrl.runtime.rundir.versions import about_this_release

__all__ = [
    "RUN",
    "check_media",
    "is_elsewhere",
    "keep_media_at",
    "make_page_folder",
    "media_url",
    "tell_pages",
]

RUN = "run"
"""Name of the notice in which a run tells pages about itself."""


def check_media(url: str | None) -> None:
    """Refuses object storage that cannot work, before anything starts.

    Args:
        url: URL of the storage, if any.

    Raises:
        ConfigError: If it cannot be written to and read from.
        MissingExtraError: If the library of that storage is not installed.
    """
    if url is not None:
        ObjectStore(url).check()


def keep_media_at(run: RunDirectory, url: str | None) -> None:
    """Notes that the films and texts of a new run also go to object storage.

    Args:
        run: Whose answers are in a database.
        url: URL of the storage: the run takes a folder of its own in it. None changes nothing.
    """
    if url is None:
        return
    told = run.read_json(run.store)
    media = f"{url.rstrip('/')}/{schema_of(told['place'])}"
    run.write_json(run.store, {**told, "media": media})


def media_url(run: RunDirectory) -> str | None:
    """URL of a run's films and texts in object storage; None if they are in its folder only."""
    if not run.store.is_file():
        return None
    url = run.read_json(run.store).get("media")
    return None if url is None else str(url)


def is_elsewhere(told: Mapping[str, Any]) -> bool:
    """Whether a folder with this config only has a page, and its run is on another machine."""
    return ELSEWHERE in told


def tell_pages(run: RunDirectory, about: Mapping[str, Any]) -> None:
    """Leaves a notice for pages on other machines.

    Args:
        run: Whose films go to object storage.
        about: What a page shows of the run.
    """
    with LabelStore(run.label_store) as store:
        store.notices.put(RUN, {**about, "media": media_url(run)})


def make_page_folder(run: RunDirectory, place: str, media: str | None) -> None:
    """Makes a folder with a page for a run on another machine, or brings it up to date.

    Args:
        run: The folder.
        place: URL of the run's label store.
        media: URL of its films and texts from here; None takes the one that the run uses.

    Raises:
        ConfigError: If that is no store of a run that keeps its films in object storage, or has a
            password in its URL.
        RunDirectoryError: If something else is in the folder.
        StoreError: If the store cannot be opened.
    """
    if run.config.is_file() and not is_elsewhere(run.read_json(run.config)):
        raise RunDirectoryError(
            f"expected a new folder for the page, but {run.root} is a run; choose another one."
        )
    check_store(place)
    with LabelStore(place) as store:
        about = store.notices.get(RUN)
    if about is None:
        raise ConfigError(
            f"expected the store of a run that was started with --media, got {place}; give the "
            "--store and --media that the run printed."
        )
    told = about.pop("media")
    url = media or told
    ObjectStore(url)  # refused here, not in the page's process
    page = uuid.uuid4().hex
    if run.config.is_file():
        page = run.read_json(run.store)["page"]
    else:
        run = RunDirectory.create(run.root)
    run.write_json(run.store, {"place": place, "media": url, "page": page})
    run.write_json(run.versions, about_this_release())
    run.write_json(run.config, {ELSEWHERE: about, "store": True})
