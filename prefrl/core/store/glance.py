"""Reads counts from a label store; from an SQLite file without changing even its format."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

from prefrl.core.store.label_store import LabelStore
from prefrl.core.store.labels import Counts, is_person
from prefrl.errors import PrefrlError

__all__ = ["glance", "is_on_server"]

_COUNTS = "SELECT state, count(*) FROM query GROUP BY state"
_ANNOTATORS = "SELECT DISTINCT annotator_id FROM current_label WHERE answer IS NOT NULL"


def is_on_server(store: str) -> bool:
    """Whether that is a store's URL, and not the path of its file."""
    return "://" in store


def glance(store: str | Path) -> tuple[Counts, int] | None:
    """How many queries there are, and how many people have answered any.

    Opening a ``LabelStore`` checks it and brings it up to date. This is for a list of many of them.

    Args:
        store: Path of the file, or URL.

    Returns:
        None if it is not a store that can be read now, for example because a writer must first
        repair it.
    """
    if is_on_server(str(store)):
        try:
            with LabelStore(store) as opened:
                return opened.counts(), sum(map(is_person, opened.annotators()))
        except PrefrlError:
            return None
    place = f"{Path(store).absolute().as_uri()}?mode=ro"
    n = {"answered": 0, "skipped": 0, "open": 0}
    try:
        with contextlib.closing(sqlite3.connect(place, uri=True, timeout=1.0)) as connection:
            n.update(connection.execute(_COUNTS).fetchall())
            names = [name for (name,) in connection.execute(_ANNOTATORS).fetchall()]
        return Counts(queries=sum(n.values()), **n), sum(map(is_person, names))
    except (sqlite3.Error, TypeError):
        return None
