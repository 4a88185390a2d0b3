"""The tables of a run: growing CSV files, which other processes may read at any time."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path

from prefrl.core.disk import naming
from prefrl.errors import RunDirectoryError
from prefrl.runtime.rundir.writing import write_atomically

__all__ = ["CsvTable", "Metrics", "last_row", "read_rows"]

Metrics = dict[str, float | int | str]
"""One row of ``metrics.csv``."""


class CsvTable:
    """A CSV file that grows by one row at a time; its columns are those of the first row.

    Args:
        path: The file; it is made with the first row.
        keep: Number of existing rows to keep; later ones are from a process that was killed, and
            their work is done again. 0 starts a new table.
    """

    def __init__(self, path: Path, *, keep: int = 0) -> None:
        self._path = path
        self._columns: list[str] | None = None
        if keep:
            with path.open(newline="") as file:
                rows = list(csv.reader(file))
            if len(rows) <= keep:
                raise RunDirectoryError(
                    f"expected at least {keep} rows in {path}, got {len(rows) - 1}; the file was "
                    "cut. Start a new run, or restore it from a backup."
                )
            self._columns = rows[0]
            text = io.StringIO()
            csv.writer(text).writerows(rows[: keep + 1])
            write_atomically(path, text.getvalue().encode())

    def append(self, row: Mapping[str, float | int | str]) -> None:
        """Adds a row and hands it to the operating system.

        Raises:
            ValueError: If the row's columns differ from the first row's.
        """
        if self._columns is None:
            self._columns = list(row)
            with naming(self._path), self._path.open("w", newline="") as file:
                csv.writer(file).writerow(self._columns)
        if list(row) != self._columns:
            raise ValueError(f"expected the columns {self._columns}, got {list(row)}.")
        with naming(self._path), self._path.open("a", newline="") as file:
            csv.writer(file).writerow(
                format(v, ".6g") if isinstance(v, float) else v for v in row.values()
            )


def read_rows(path: Path) -> list[dict[str, str]]:
    """Reads all rows of a table, as text by column; none if there is no such file."""
    if not path.is_file():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def last_row(path: Path) -> Metrics | None:
    """Reads the newest complete row of a table that may be growing; None if there is none."""
    try:
        with path.open("rb") as file:
            header = file.readline().decode()
            start = file.tell()
            file.seek(max(start, path.stat().st_size - 4096))
            rows = file.read().decode()
    except (OSError, ValueError):
        return None
    whole = rows[: rows.rfind("\n") + 1].splitlines()
    if not whole or not header.endswith("\n"):  # not written completely yet
        return None
    fields = zip(header.strip().split(","), whole[-1].split(","), strict=False)
    return {name: float(value) for name, value in fields}


def seconds_in(path: Path) -> float:
    """Returns the seconds of training, from the newest row of a table; 0 without a row."""
    row = last_row(path)
    return 0.0 if row is None else float(row["wall_seconds"])
