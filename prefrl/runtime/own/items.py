"""The user's own films and texts by their names, as stored in a folder to label."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from prefrl.core.store import LabelStore
from prefrl.core.store.media import SUFFIXES, Medium
from prefrl.errors import RunDirectoryError
from prefrl.runtime.own.texts import Text
from prefrl.runtime.rundir import RunDirectory

__all__ = ["OwnFilm", "OwnFilms", "OwnTexts"]


_Item = TypeVar("_Item")


@dataclass(frozen=True)
class OwnFilm:
    """A film to compare."""

    id: str
    """Its name."""
    path: Path
    """Its file."""


class _OwnItems(Mapping[str, _Item]):
    """Finds the files of a folder's items.

    Args:
        run: A folder that ``make_folder`` made.
    """

    def __init__(self, run: RunDirectory) -> None:
        self._folder = run.media
        with LabelStore(run.label_store) as store:
            asked = {item for query in store.queries() for item in (query.left, query.right)}
            self._media: dict[str, Medium] = store.media.of(asked)

    def __contains__(self, name: object) -> bool:
        return name in self._media

    def __iter__(self) -> Iterator[str]:
        return iter(self._media)

    def __len__(self) -> int:
        return len(self._media)

    def _path(self, name: str) -> Path:
        if (medium := self._media.get(name)) is None:
            raise RunDirectoryError(f"expected {name} to have been kept in {self._folder}.")
        return self._folder / f"{medium.media_id}{SUFFIXES[medium.media_type]}"


class OwnFilms(_OwnItems[OwnFilm]):
    """Films by their names."""

    def __getitem__(self, name: str) -> OwnFilm:
        """Finds a film.

        Raises:
            RunDirectoryError: If the folder has lost it.
        """
        return OwnFilm(name, self._path(name))


class OwnTexts(_OwnItems[Text]):
    """Texts by their names."""

    def __getitem__(self, name: str) -> Text:
        """Reads a text.

        Raises:
            RunDirectoryError: If it is missing or damaged.
        """
        path = self._path(name)
        try:
            told = json.loads(path.read_text(encoding="utf-8"))
            return Text(name, told["prompt"], told["response"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise RunDirectoryError(f"expected a text in {path}, but {error}.") from error
