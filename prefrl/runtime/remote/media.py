"""The films and texts of a run: in its folder, and in object storage where pages elsewhere look.

Whatever the label store says can be shown is in both places before it says so.
"""

from __future__ import annotations

from collections.abc import Callable

from prefrl.core.store.media import SUFFIXES
from prefrl.runtime.remote.objects import ObjectStore
from prefrl.runtime.remote.places import media_url
from prefrl.runtime.rundir import RunDirectory
from prefrl.runtime.rundir.media import add_medium
from prefrl.runtime.rundir.writing import write_atomically

__all__ = ["RunMedia", "fetching"]


class RunMedia:
    """Where the films and texts of a run go.

    Args:
        run: Which run.
        waiting: As ``ObjectStore`` takes it.
    """

    def __init__(self, run: RunDirectory, *, waiting: Callable[[str], bool] | None = None) -> None:
        self.folder = run.media
        """The folder in the run's directory."""
        url = media_url(run)
        self._objects = None if url is None else ObjectStore(url, waiting=waiting)

    def add(self, content: bytes, media_type: str) -> str:
        """Adds a film or a text; when this returns, every page can get it.

        Args:
            content: All of the file.
            media_type: As ``add_medium`` takes it.

        Returns:
            The id of the medium.

        Raises:
            MediaUnavailableError: If the storage is away and it is told to give up.
            OSError: If the disk is full or fails.
        """
        media_id = add_medium(self.folder, content, media_type)
        if self._objects is not None:
            self._objects.put(f"{media_id}{SUFFIXES[media_type]}", content)
        return media_id


def fetching(run: RunDirectory) -> Callable[[str], bool] | None:
    """Returns what brings a file from object storage into the run's folder of media.

    It takes the file's name and returns whether the file exists. It raises MediaUnavailableError if
    the storage is away.

    Args:
        run: Which run.

    Returns:
        None if the run keeps its media in its folder only.
    """
    url = media_url(run)
    if url is None:
        return None

    def fetch(name: str) -> bool:
        content = ObjectStore(url).get(name)  # fsspec keeps the connection
        if content is not None:
            write_atomically(run.media / name, content)
        return content is not None

    return fetch
