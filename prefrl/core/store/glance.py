"""Reads counts from an SQLite label store without changing it, not even its format."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

from prefrl.core.store.labels import Counts, is_person

__all__ = ["glance"]

_COUNTS = "SELECT state, count(*) FROM query GROUP BY state"
_ANNOTATORS = "SELECT DISTINCT annotator_id FROM current_label WHERE answer IS NOT NULL"


def glance(path: Path) -> tuple[Counts, int] | None:
    """How many queries there are, and how many people have answered any.

    Opening a ``LabelStore`` checks it and brings it up to date. This is for a list of many of them.

    Args:
        path: Path of the file.

    Returns:
        None if it is not a store that can be read now, for example because a writer must first
        repair it.
    """
    place = f"{path.absolute().as_uri()}?mode=ro"
    n = {"answered": 0, "skipped": 0, "open": 0}
    try:
        with contextlib.closing(sqlite3.connect(place, uri=True, timeout=1.0)) as connection:
            n.update(connection.execute(_COUNTS).fetchall())
            names = [name for (name,) in connection.execute(_ANNOTATORS).fetchall()]
        return Counts(queries=sum(n.values()), **n), sum(map(is_person, names))
    except (sqlite3.Error, TypeError):
        return None
