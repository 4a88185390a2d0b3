"""Reads a run's files forgivingly: what is missing or damaged becomes a note, not an error.

A report is needed most when something went wrong, so `read_run` returns what it can read, with one
sentence for each file that it cannot.
"""

from __future__ import annotations

import csv
import json
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from prefrl.errors import RunDirectoryError
from prefrl.runtime.rundir import RunDirectory

__all__ = [
    "Array",
    "Evaluation",
    "Pair",
    "RunRecord",
    "Table",
    "column",
    "find_setting",
    "number",
    "read_csv",
    "read_evaluation",
    "read_pairs",
    "read_run",
]

Array = NDArray[np.float64]
Table = dict[str, Array]
T = TypeVar("T")


def _no_steps() -> Array:
    return np.empty((0, 0))


def _no_comparisons() -> Array:
    return np.empty(0)


@dataclass(frozen=True)
class Evaluation:
    """Content of `evaluation.npz`; every array may be empty."""

    true_rewards: Array = field(default_factory=_no_steps)
    """(E, T) true reward per step; NaN after the end of a shorter episode."""
    predicted_rewards: Array = field(default_factory=_no_steps)
    """(E, T) predicted reward per step, normalised; NaN as above."""
    holdout_probability: Array = field(default_factory=_no_comparisons)
    """(N,) P(left is better) by the members that did not train on the comparison, in [0, 1]."""
    holdout_preference: Array = field(default_factory=_no_comparisons)
    """(N,) the labeller's preference, in {0, 0.5, 1}."""


@dataclass(frozen=True)
class Pair:
    """One query of `films/pairs.json`: two film strips and the answer."""

    query: str
    """The id of the query."""
    left: str
    """The file name of the left strip in `films/`."""
    right: str
    """The file name of the right strip in `films/`."""
    answer: str
    """`left`, `right`, `tie` or `skip`."""
    disagreement: float
    """Std over members of the preference when the query was chosen; NaN if unknown."""
    env_steps: float
    """Environment steps when the query was chosen; NaN if unknown."""


@dataclass(frozen=True)
class RunRecord:
    """All data of a report."""

    metrics: Table
    """`metrics.csv`: one row per rollout."""
    fits: Table
    """`fits.csv`: one row per reward fit."""
    evaluation: Evaluation
    """`evaluation.npz`."""
    summary: dict[str, Any]
    """`summary.json`; empty while the run goes on."""
    config: dict[str, Any]
    """`config.json`."""
    versions: dict[str, Any]
    """Versions from the summary, or else from `versions.json`."""
    pairs: list[Pair]
    """`films/pairs.json`."""
    notes: list[str]
    """One sentence for each file that is missing or damaged."""
    evaluations: Table = field(default_factory=dict)
    """`evaluations.csv`: one row per evaluation in training; empty where there were none."""


def read_csv(path: Path) -> Table:
    """Reads a CSV file of numbers that may still be growing.

    An empty or unreadable cell becomes NaN. An incomplete row (fewer cells than the
    header, or a last line without its end) is still being written and is left out.

    Args:
        path: The file.

    Returns:
        One float array per column, all of the same length; without rows if there are none.

    Raises:
        RunDirectoryError: If the file is missing, empty or not text.
    """
    try:
        text = path.read_bytes().decode()
    except (OSError, UnicodeDecodeError) as error:
        raise RunDirectoryError(f"expected a CSV table in {path}, but {error}.") from error
    lines = [line for line in text[: text.rfind("\n") + 1].splitlines() if line]
    if not lines:
        raise RunDirectoryError(f"expected a CSV table in {path}, but it has no header yet.")
    header, *rows = csv.reader(lines)
    whole = [row for row in rows if len(row) == len(header)]
    return {
        name: np.array([_to_float(row[i]) for row in whole], dtype=np.float64)
        for i, name in enumerate(header)
    }


def _to_float(value: object) -> float:
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return float("nan")


def column(table: Table, name: str) -> Array:
    """A column of a table; NaN in every row if the table has no such column.

    Args:
        table: The table.
        name: The column's name.

    Returns:
        (rows,) the values.
    """
    n_rows = len(next(iter(table.values()))) if table else 0
    return table.get(name, np.full(n_rows, np.nan))


def number(content: Mapping[str, Any], name: str) -> float:
    """A number in a mapping; NaN if it is absent or no number.

    Args:
        content: For example a run's summary.
        name: The key.

    Returns:
        The value as a float.
    """
    return _to_float(content.get(name))


def find_setting(config: Mapping[str, Any], name: str) -> Any:
    """The outermost setting of that name in a nested configuration; None if there is none.

    Args:
        config: The configuration.
        name: The setting's own name, without those of its parents.

    Returns:
        Its value.
    """
    layer: list[Mapping[str, Any]] = [config]
    while layer:
        for mapping in layer:
            if name in mapping and not isinstance(mapping[name], Mapping):
                return mapping[name]
        layer = [v for mapping in layer for v in mapping.values() if isinstance(v, Mapping)]
    return None


def read_evaluation(path: Path) -> Evaluation:
    """Reads `evaluation.npz`; an array that is absent stays empty.

    Args:
        path: The file.

    Returns:
        The arrays.

    Raises:
        RunDirectoryError: If the file is missing or damaged, or if arrays that belong together
            differ in shape.
    """
    names = ("true_rewards", "predicted_rewards", "holdout_probability", "holdout_preference")
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {n: np.asarray(archive[n], np.float64) for n in names if n in archive}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise RunDirectoryError(f"expected the arrays of an evaluation, but {error}.") from error
    evaluation = Evaluation(**arrays)
    for first, second, n_axes in ((*names[:2], 2), (*names[2:], 1)):
        left, right = getattr(evaluation, first).shape, getattr(evaluation, second).shape
        if left != right or len(left) != n_axes:
            raise RunDirectoryError(
                f"expected {first} and {second} with {n_axes} axes and one shape, "
                f"got {left} and {right}; evaluate the run again."
            )
    return evaluation


def read_pairs(path: Path) -> list[Pair]:
    """Reads `films/pairs.json`.

    Args:
        path: The file.

    Returns:
        The pairs in the order of the file.

    Raises:
        RunDirectoryError: If the file is missing or is no list of objects.
    """
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunDirectoryError(f"expected a list of pairs in {path}, but {error}.") from error
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise RunDirectoryError(f"expected a list of pairs in {path}, got something else.")
    return [
        Pair(
            query=str(row.get("query", "?")),
            # Only the name: a strip lies in films/, wherever the entry points to.
            left=Path(str(row.get("left", ""))).name,
            right=Path(str(row.get("right", ""))).name,
            answer=str(row.get("answer", "unknown")),
            disagreement=number(row, "disagreement"),
            env_steps=number(row, "env_steps"),
        )
        for row in rows
    ]


def read_run(run: RunDirectory) -> RunRecord:
    """Reads all files of a run that a report needs.

    Args:
        run: The run; it may still be going on.

    Returns:
        Their content, with a note for each file that is missing or damaged.

    Raises:
        RunDirectoryError: If the directory holds nothing of a run at all.
    """
    sources = (run.config, run.metrics, run.fits, run.evaluation, run.summary)
    if not any(path.is_file() for path in sources):
        raise RunDirectoryError(
            f"expected a run directory with at least one of "
            f"{', '.join(path.name for path in sources)}, but {run.root} has none; "
            "give the directory that `prefrl train` printed."
        )
    notes: list[str] = []
    files = _Reader(run.root, notes)
    metrics: Table = files.read(
        read_csv, run.metrics, {}, "there are no curves over environment steps."
    )
    fits: Table = files.read(read_csv, run.fits, {}, "the reward model has not been fitted yet.")
    for path, table in ((run.metrics, metrics), (run.fits, fits)):
        if table and not len(next(iter(table.values()))):
            notes.append(f"{path.name} has a header but no rows yet.")
    evaluation = files.read(
        read_evaluation, run.evaluation, Evaluation(), "the agent has not been evaluated yet."
    )
    consequence = "the run is in progress or was cut short; the numbers shown are its latest ones."
    summary: dict[str, Any] = files.read(run.read_json, run.summary, {}, consequence)
    config: dict[str, Any] = files.read(
        run.read_json, run.config, {}, "what was asked for is unknown."
    )
    versions = summary.get("versions")
    if not isinstance(versions, dict):
        consequence = "the versions it ran with are unknown."
        versions = files.read(run.read_json, run.versions, dict[str, Any](), consequence)
    pairs: list[Pair] = files.read(
        read_pairs, run.films / "pairs.json", [], "no film strips can be shown."
    )
    evaluations: Table = {}
    if run.evaluations.is_file():  # most runs have none
        evaluations = files.read(
            read_csv, run.evaluations, {}, "the evaluations in training are not shown."
        )
    return RunRecord(
        metrics, fits, evaluation, summary, config, versions, pairs, notes, evaluations
    )


@dataclass(frozen=True)
class _Reader:
    """Reads a run's files and notes those that cannot be read."""

    root: Path
    notes: list[str]

    def read(self, read: Callable[[Path], T], path: Path, otherwise: T, consequence: str) -> T:
        name = path.relative_to(self.root)
        if not path.is_file():
            self.notes.append(f"{name} is missing: {consequence}")
            return otherwise
        try:
            return read(path)
        except RunDirectoryError as error:
            self.notes.append(f"{name} cannot be used: {error}")
            return otherwise
