"""Reads counts from a label store without changing it, not even its format."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from prefrl.core.store.labels import Counts, is_person
from prefrl.core.store.postgres import open_postgres
from prefrl.errors import PrefrlError

__all__ = ["glance", "is_on_server"]

_COUNTS = "SELECT state, count(*) FROM query GROUP BY state"
_ANNOTATORS = "SELECT DISTINCT annotator_id FROM current_label WHERE answer IS NOT NULL"


def is_on_server(store: str) -> bool:
    """Whether a store is given by a URL, and not by the path of its file."""
    return "://" in store


def glance(store: str | Path) -> tuple[Counts, int] | None:
    """Counts the queries, and the people who have answered any.

    Unlike ``LabelStore`` it neither checks nor upgrades the store, which suits lists of stores.

    Args:
        store: Path of the file, or URL.

    Returns:
        The counts of queries, and the number of people; None if the store cannot be read now, for
        example because a writer must first repair it, or the server is away.
    """
    read = _on_server if is_on_server(str(store)) else _in_file
    try:
        states, names = read(str(store))
        counts = {"answered": 0, "skipped": 0, "open": 0, **dict(states)}
        return Counts(queries=sum(counts.values()), **counts), sum(map(is_person, names))
    except (PrefrlError, sa.exc.SQLAlchemyError, sqlite3.Error, TypeError):
        return None


def _in_file(path: str) -> tuple[list[Any], list[str]]:
    """Returns the numbers of queries by state, and the annotators with any answer."""
    place = f"{Path(path).absolute().as_uri()}?mode=ro"
    with contextlib.closing(sqlite3.connect(place, uri=True, timeout=1.0)) as connection:
        states = connection.execute(_COUNTS).fetchall()
        return states, [name for (name,) in connection.execute(_ANNOTATORS).fetchall()]


def _on_server(url: str) -> tuple[list[Any], list[str]]:
    engine, _ = open_postgres(url)
    try:
        with engine.connect() as connection:
            states = [(row[0], row[1]) for row in connection.execute(sa.text(_COUNTS))]
            return states, [str(row[0]) for row in connection.execute(sa.text(_ANNOTATORS))]
    finally:
        engine.dispose()
