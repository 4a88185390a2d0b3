"""The folder of a benchmark: its suite, its results, and its trainings.

::

    FOLDER/
      suite.json        the complete suite
      results.csv       one row per finished training
      runs/ARM/TASK/SEED/
        job.json        its settings
        run/            its run directory
        row.json        its row, once it is finished
        log.txt         its output
      report.md, *.png  the report, by prefrl benchmark report

A training that has a row is finished, whether or not its folder still exists: suite.json and
results.csv are enough to continue a benchmark.
"""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import io
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from prefrl.benchmark.suite import Run, Suite, suite_of_json
from prefrl.benchmark.work import COLUMNS, job_of
from prefrl.errors import ConfigError, RunDirectoryError
from prefrl.runtime.roles.role import only_one
from prefrl.runtime.rundir import RunDirectory
from prefrl.runtime.rundir.writing import write_atomically

__all__ = ["BenchmarkFolder", "Row"]

_LOCKS = "locks"

Row = Mapping[str, str]
"""A row of the table of results."""


class BenchmarkFolder:
    """The folder of a benchmark.

    Args:
        root: Its path; it need not exist yet.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.results = root / "results.csv"
        self._suite = root / "suite.json"

    def suite(self) -> Suite:
        """Reads the suite.

        Raises:
            RunDirectoryError: If there is none.
        """
        if not self._suite.is_file():
            raise RunDirectoryError(
                f"expected the folder of a benchmark, but {self.root} has no suite.json; give the "
                "folder that prefrl benchmark wrote to."
            )
        return suite_of_json(RunDirectory.read_json(self._suite))

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Locks the folder against other benchmarks; creates it if necessary.

        Raises:
            ConfigError: If the folder holds something else.
            RoleError: If another benchmark works in it.
        """
        if self.root.is_dir() and not self._suite.is_file():
            others = {path.name for path in self.root.iterdir() if path.name[0] != "."}
            if others - {_LOCKS}:
                raise ConfigError(
                    f"expected a new folder, or one of a benchmark, but {self.root} is neither; "
                    "choose another --folder."
                )
        (self.root / _LOCKS).mkdir(parents=True, exist_ok=True)
        with only_one(RunDirectory(self.root), "benchmark"):
            yield

    def begin(self, suite: Suite) -> None:
        """Writes a suite, joined with an earlier one; call it within ``alone``.

        Raises:
            ConfigError: If an earlier training had other settings.
        """
        if self._suite.is_file():
            suite = self._joined(suite)
        RunDirectory.write_json(self._suite, suite.as_json())

    def _joined(self, suite: Suite) -> Suite:
        """Adds to a suite the arms, tasks and seeds of trainings that were begun here before."""
        old = self.suite()
        before = {run.key: run for run in old.runs()}
        done = self.done()
        kept = {key for key, run in before.items() if key in done or self.folder(run).is_dir()}
        if not kept:
            return suite
        arms, tasks, seeds = (set(names) for names in zip(*kept, strict=True))
        joined = dataclasses.replace(
            suite,
            arms={arm: old.arms[arm] for arm in old.arms if arm in arms} | dict(suite.arms),
            tasks={task: old.tasks[task] for task in old.tasks if task in tasks}
            | dict(suite.tasks),
            seeds=tuple(sorted({*seeds, *suite.seeds})),
        )
        for run in joined.runs():
            if run.key not in kept:
                continue
            if changed := _changes(job_of(before[run.key]), job_of(run)):
                raise ConfigError(
                    f"expected {self.root} to be gone on with as it was begun, but of {run.arm}, "
                    f"{run.task} {'; '.join(changed)}. Choose another --folder, or another name "
                    "for what is new."
                )
        return joined

    def folder(self, run: Run) -> Path:
        """Returns the folder of a training."""
        return self.root / "runs" / run.name

    def has_row(self, run: Run) -> bool:
        """Whether a training has left its row, which may not be in the table yet."""
        return (self.folder(run) / "row.json").is_file()

    def prepare(self, run: Run) -> Path:
        """Creates the folder of a training, with its settings."""
        folder = self.folder(run)
        folder.mkdir(parents=True, exist_ok=True)
        RunDirectory.write_json(folder / "job.json", job_of(run))
        return folder

    def rows(self) -> list[Row]:
        """Reads the table of results.

        Raises:
            RunDirectoryError: If the table is damaged.
        """
        if not self.results.is_file():
            return []
        with self.results.open(newline="", encoding="utf-8") as file:
            rows: list[Row] = [dict(row) for row in csv.DictReader(file)]
        for number, row in enumerate(rows, 2):
            if list(row) != list(COLUMNS) or None in row.values() or not row["seed"].isdigit():
                raise RunDirectoryError(
                    f"expected the columns {', '.join(COLUMNS)} in line {number} of "
                    f"{self.results}, got {row}; fix the line, or remove it together with the "
                    "folder of its training, which is then done again."
                )
        return rows

    def done(self) -> set[tuple[str, str, int]]:
        """Keys of the trainings that have a row."""
        return {(row["arm"], row["task"], int(row["seed"])) for row in self.rows()}

    def gather(self, run: Run) -> Row:
        """Adds the row of a finished training to the table."""
        row = RunDirectory.read_json(self.folder(run) / "row.json")
        assert (row["arm"], row["task"], row["seed"]) == run.key  # no two trainings share a folder
        if run.key not in self.done():
            content = io.StringIO()
            writer = csv.DictWriter(content, COLUMNS)
            writer.writeheader()
            writer.writerows([*self.rows(), row])
            write_atomically(self.results, content.getvalue().encode())
        return {name: str(value) for name, value in row.items()}


def _changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Describes the settings that differ."""
    flat_before = {**before["options"], "true_reward": before["true_reward"]}
    flat_now = {**now["options"], "true_reward": now["true_reward"]}
    return [
        f"{name} was {_said(flat_before.get(name))} and is {_said(flat_now.get(name))}"
        for name in sorted({*flat_before, *flat_now})
        if json.dumps(flat_before.get(name)) != json.dumps(flat_now.get(name))
    ]


def _said(value: Any) -> str:
    return "not given" if value is None else json.dumps(value)
