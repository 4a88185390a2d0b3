"""Tables that grow by a row each time a benchmark is run."""

import csv
from collections.abc import Mapping
from pathlib import Path


def append_row(path: Path, row: Mapping[str, object]) -> None:
    """Adds a row below those that are there; a table that is not there is begun."""
    is_new = not path.is_file()
    if not is_new:
        with path.open(newline="") as file:
            columns = next(csv.reader(file), [])
        assert columns == list(row), f"{path} has the columns {columns}, not {list(row)}"
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, list(row))
        if is_new:
            writer.writeheader()
        writer.writerow(row)
