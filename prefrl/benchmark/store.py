"""The folder of a benchmark: what was asked for, what is done, and where each training lies.

::

    FOLDER/
      suite.json        the suite, whole
      results.csv       one row per training that is done
      runs/ARM/TASK/SEED/
        job.json        what it is to do
        run/            its run directory
        row.json        its row, once it is done
        log.txt         what it printed
      report.md, *.png  what prefrl benchmark report made of it

A training that has a row is done, whether or not its folder is still there: the table alone can be
kept, and gone on with.
"""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from prefrl.benchmark.suite import Run, Suite, suite_of_json
from prefrl.benchmark.work import COLUMNS, job_of
from prefrl.errors import ConfigError, RunDirectoryError
from prefrl.runtime.role import only_one
from prefrl.runtime.rundir import RunDirectory
from prefrl.runtime.writing import write_atomically

__all__ = ["BenchmarkFolder", "Row"]

Row = Mapping[str, str]
"""A row of the table of results."""


class BenchmarkFolder:
    """The folder of a benchmark.

    Args:
        root: Where it is, or is to be.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.results = root / "results.csv"
        self._suite = root / "suite.json"

    def suite(self) -> Suite:
        """The suite that it is of.

        Raises:
            RunDirectoryError: If there is none.
        """
        if not self._suite.is_file():
            raise RunDirectoryError(
                f"expected the folder of a benchmark, but {self.root} has no suite.json; give the "
                "folder that prefrl benchmark wrote to."
            )
        return suite_of_json(RunDirectory.read_json(self._suite))

    def begin(self, suite: Suite) -> None:
        """Takes a suite, the first one or one that goes with what is there.

        Raises:
            ConfigError: If something is there that was done with other settings.
        """
        if self._suite.is_file():
            suite = self._joined(suite)
        elif self.root.is_dir() and any(self.root.iterdir()):
            raise ConfigError(
                f"expected a new folder, or one of a benchmark, but {self.root} is neither; choose "
                "another --folder."
            )
        self.root.mkdir(parents=True, exist_ok=True)
        RunDirectory.write_json(self._suite, suite.as_json())

    def alone(self) -> contextlib.AbstractContextManager[None]:
        """Holds the folder, so that no two benchmarks work in it.

        Raises:
            RoleError: If another one does.
        """
        (self.root / "locks").mkdir(exist_ok=True)
        return only_one(RunDirectory(self.root), "benchmark")

    def _joined(self, suite: Suite) -> Suite:
        """A suite with what was begun here before and is not in it."""
        old = self.suite()
        before = {run.key: run for run in old.runs()}
        done = self.done()
        kept = {key for key, run in before.items() if key in done or self.folder(run).is_dir()}
        for run in suite.runs():
            if run.key not in kept:
                continue
            if changed := _changes(job_of(before[run.key]), job_of(run)):
                raise ConfigError(
                    f"expected {self.root} to be gone on with as it was begun, but of {run.arm}, "
                    f"{run.task} {'; '.join(changed)}. Choose another --folder, or another name "
                    "for what is new."
                )
        arms, tasks, seeds = (
            (set(names) for names in zip(*kept, strict=True)) if kept else ((),) * 3
        )
        return dataclasses.replace(
            suite,
            arms={arm: old.arms[arm] for arm in old.arms if arm in arms} | dict(suite.arms),
            tasks={task: old.tasks[task] for task in old.tasks if task in tasks}
            | dict(suite.tasks),
            seeds=tuple(sorted({*seeds, *suite.seeds})),
        )

    def folder(self, run: Run) -> Path:
        """Where a training lies."""
        return self.root / "runs" / run.name

    def prepare(self, run: Run) -> Path:
        """The folder of a training, with what it is to do."""
        folder = self.folder(run)
        folder.mkdir(parents=True, exist_ok=True)
        RunDirectory.write_json(folder / "job.json", job_of(run))
        return folder

    def rows(self) -> list[Row]:
        """What is done.

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
                    f"{self.results}, got {row}; mend the line, or remove it, and its training is "
                    "done again."
                )
        return rows

    def done(self) -> set[tuple[str, str, int]]:
        """Keys of the trainings that have a row."""
        return {(row["arm"], row["task"], int(row["seed"])) for row in self.rows()}

    def gather(self, run: Run) -> Row:
        """Puts the row of a training that is done into the table."""
        row = RunDirectory.read_json(self.folder(run) / "row.json")
        if run.key not in self.done():
            content = io.StringIO()
            writer = csv.DictWriter(content, COLUMNS)
            writer.writeheader()
            writer.writerows([*self.rows(), row])
            write_atomically(self.results, content.getvalue().encode())
        return {name: str(value) for name, value in row.items()}


def _changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What differs, in words."""
    flat_before = {**before["options"], "true_reward": before["true_reward"]}
    flat_now = {**now["options"], "true_reward": now["true_reward"]}
    return [
        f"{name} was {_said(flat_before.get(name))} and is {_said(flat_now.get(name))}"
        for name in sorted({*flat_before, *flat_now})
        if json.dumps(flat_before.get(name)) != json.dumps(flat_now.get(name))
    ]


def _said(value: Any) -> str:
    return "not given" if value is None else json.dumps(value)
