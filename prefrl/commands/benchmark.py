"""``prefrl benchmark``: the trainings of a suite, and their report."""

from __future__ import annotations

import contextlib
import importlib.util
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from rich.live import Live
from rich.table import Table

from prefrl.benchmark.executors import Executor, LocalExecutor
from prefrl.benchmark.on_ray import RayExecutor
from prefrl.benchmark.on_slurm import SlurmExecutor
from prefrl.benchmark.outcome import short_name
from prefrl.benchmark.report import (
    Cells,
    aggregate_table,
    outcome_of,
    task_table,
    write_benchmark_report,
)
from prefrl.benchmark.runner import Going, Progress, run_all
from prefrl.benchmark.store import BenchmarkFolder
from prefrl.benchmark.suite import Run, load_suite, shipped_suites
from prefrl.commands.console import console, errors
from prefrl.errors import ConfigError, MissingExtraError
from prefrl.runtime.roles.role import StopSignal

__all__ = ["Benchmark", "benchmark"]

_SECONDS_BETWEEN_LINES = 30.0


@dataclass(frozen=True)
class Benchmark:
    """Runs the trainings of a suite, or reports their results.

    prefrl benchmark list names the suites that prefrl ships; prefrl benchmark smoke runs one of
    them, prefrl benchmark my.yaml runs your own; prefrl benchmark report smoke draws the results so
    far.
    """

    suite: tyro.conf.Positional[str]
    """A suite that prefrl ships, or a YAML file; or the word report or list."""
    of: tyro.conf.Positional[str | None] = None
    """For report: the suite, or the folder of a benchmark."""
    folder: Path | None = None
    """Directory for all results; by default runs/benchmark/SUITE. A benchmark that was stopped or
    killed continues there."""
    jobs: int | None = None
    """How many trainings run at the same time, each on one core; by default one per core."""
    cluster: str | None = None
    """Where trainings run, if not in processes of this machine. local: a new Ray cluster on this
    machine (extra cluster). auto or ray://HOST:PORT: an existing one. slurm: jobs of Slurm (extra
    slurm)."""
    cores: int = 1
    """Cores that each training takes on a cluster."""
    gpus: float = 0.0
    """GPUs that each training takes on a cluster; on Ray also fractions, such as 0.25."""
    slurm: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME=VALUE")] = ()
    """Options for sbatch, such as partition=cpu time=240; time is in minutes."""
    seeds: Annotated[tuple[int, ...], tyro.conf.arg(metavar="INT [INT ...]")] = ()
    """Seeds, instead of the suite's."""
    arms: tuple[str, ...] = ()
    """Only these arms of the suite."""
    tasks: tuple[str, ...] = ()
    """Only these tasks of the suite; Hopper-v0 is enough for prefrl_envs:prefrl/Hopper-v0."""


def benchmark(command: Benchmark) -> None:
    """Runs a suite, or lists suites, or reports results."""
    if command.suite == "list":
        for name, about in shipped_suites().items():
            console.print(f"[bold]{name}[/]  {' '.join(about.split())}", soft_wrap=True)
        return
    if importlib.util.find_spec("scipy") is None:
        raise MissingExtraError(
            "expected scipy for a benchmark's statistics, found none; pip install "
            "'prefrl[benchmark]'."
        )
    if command.suite == "report":
        if command.arms or command.tasks or command.seeds:
            raise ConfigError(
                "expected no arms, tasks or seeds with report, which always shows everything."
            )
        _report(BenchmarkFolder(_folder_of_report(command)))
    elif command.of is not None:
        raise ConfigError(
            f"expected one suite, got {command.suite} and {command.of}; write prefrl benchmark "
            f"report {command.of}, or one of the two."
        )
    else:
        _do(command)


def _folder_of_report(command: Benchmark) -> Path:
    if command.folder is not None:
        return command.folder
    if command.of is None:
        raise ConfigError(
            "expected what the report is about, got nothing; write prefrl benchmark report SUITE, "
            "or the folder of a benchmark."
        )
    named = Path(command.of)
    return named if named.is_dir() else _default_folder(named.stem)


def _default_folder(suite: str) -> Path:
    return Path("runs/benchmark") / suite


def _do(command: Benchmark) -> None:
    """Runs the missing trainings, and reports all of them."""
    suite = load_suite(command.suite)
    if command.seeds:
        suite = suite.with_seeds(command.seeds)
    runs = _chosen(suite.runs(), command)
    suite.check()
    folder = BenchmarkFolder(command.folder or _default_folder(suite.name))
    with folder.alone():
        folder.begin(suite)
        with _executor(command, folder.root) as executor, StopSignal() as stop, _Show() as show:
            console.print(f"{suite.name}: {len(runs)} trainings in {folder.root}", soft_wrap=True)
            progress = run_all(folder, executor, runs, stop=stop, show=show)
    for (arm, task, seed), why in progress.failed.items():
        errors.print(
            f"{arm}, {task}, seed {seed} cannot be done: {why}", style="red", markup=False,
            soft_wrap=True,
        )  # fmt: skip
    if progress.done:
        _report(folder)
    if stop.requested:
        errors.print(
            f"prefrl: stopped with {progress.done} of {progress.total} trainings done; run "
            "the same command to continue.",
            style="yellow",
            soft_wrap=True,
        )
        sys.exit(130)
    if progress.failed:
        sys.exit(1)


def _executor(command: Benchmark, folder: Path) -> contextlib.AbstractContextManager[Executor]:
    """Chooses where the trainings run; the executor is closed at the end."""
    n_slots, cores, gpus = command.jobs, command.cores, command.gpus
    if n_slots is not None and n_slots < 1:
        raise ConfigError(f"expected at least 1 training at once, got {n_slots}.")
    if command.cluster is None and (cores != 1 or gpus):
        raise ConfigError("expected --cluster with --cores and --gpus, got none.")
    if command.cluster != "slurm" and command.slurm:
        raise ConfigError(f"expected --cluster slurm with --slurm, got {command.cluster}.")
    executor: Executor
    if command.cluster is None:
        executor = LocalExecutor(n_slots)
    elif command.cluster == "slurm":
        options = dict(map(_named, command.slurm))
        executor = SlurmExecutor(folder, n_slots=n_slots, cores=cores, gpus=gpus, options=options)
    else:
        executor = RayExecutor(command.cluster, folder, n_slots=n_slots, cores=cores, gpus=gpus)
    return contextlib.closing(executor)


def _named(option: str) -> tuple[str, str]:
    name, equals, value = option.partition("=")
    if not equals:
        raise ConfigError(f"expected slurm options as NAME=VALUE, got {option!r}.")
    return name, value


def _chosen(runs: Sequence[Run], command: Benchmark) -> list[Run]:
    arms, tasks = {run.arm for run in runs}, {run.task for run in runs}
    for name in command.arms:
        if name not in arms:
            known = "; ".join(sorted(arms))
            raise ConfigError(f"expected arms of the suite, which are {known}, got {name!r}.")
    wanted = {task for task in tasks if {task, short_name(task)} & set(command.tasks)}
    for name in command.tasks:
        if name not in wanted | {short_name(task) for task in wanted}:
            known = ", ".join(sorted(map(short_name, tasks)))
            raise ConfigError(f"expected tasks of the suite, which are {known}, got {name!r}.")
    return [
        run
        for run in runs
        if (not command.arms or run.arm in command.arms)
        and (not command.tasks or run.task in wanted)
    ]


def _report(folder: BenchmarkFolder) -> None:
    page = write_benchmark_report(folder)
    outcome = outcome_of(folder)
    for cells in (aggregate_table(outcome), task_table(outcome)):
        if cells[1]:
            console.print(_table(cells))
    console.print(str(page), soft_wrap=True, markup=False)


def _table(cells: Cells) -> Table:
    titles, rows = cells
    table = Table(box=None, header_style="bold")
    for title in titles:
        table.add_column(title, no_wrap=title != "per seed")
    for row in rows:
        table.add_row(*row)
    return table


class _Show:
    """Shows what runs, what is done and how long it takes: live, or as a line now and then."""

    def __init__(self) -> None:
        self._live = Live(console=console, transient=True) if console.is_terminal else None
        self._line_at = float("-inf")
        self._told = (-1, -1)

    def __enter__(self) -> _Show:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._live is not None:
            self._live.stop()

    def __call__(self, progress: Progress) -> None:
        """Shows how far everything is."""
        if self._live is not None:
            self._live.update(self._shown(progress))
            return
        told = progress.done, len(progress.failed)
        now = time.monotonic()
        if told != self._told or now - self._line_at > _SECONDS_BETWEEN_LINES:
            self._told, self._line_at = told, now
            going = "; ".join(f"{_name(one.run)} {_percent(one)}" for one in progress.going)
            console.print(f"{self._summary(progress)}  {going}", soft_wrap=True, markup=False)

    def _shown(self, progress: Progress) -> Table:
        table = Table(box=None, title=self._summary(progress), title_justify="left")
        for title in ("arm", "task", "seed", "steps", "", "for"):
            table.add_column(title)
        for one in progress.going:
            run = one.run
            table.add_row(
                run.arm,
                short_name(run.task),
                str(run.seed),
                f"{one.steps:,} of {run.steps:,}",
                _percent(one),
                _duration(one.seconds),
            )
        return table

    def _summary(self, progress: Progress) -> str:
        left = progress.seconds_left
        about = "" if left is None else f", about {_duration(left)} left"
        failed = f", {len(progress.failed)} failed" if progress.failed else ""
        return f"{progress.done} of {progress.total} done{failed}{about}"


def _name(run: Run) -> str:
    return f"{run.arm}, {short_name(run.task)}, seed {run.seed}"


def _percent(one: Going) -> str:
    return f"{one.steps / one.run.steps:.0%}"


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {seconds:02} s"
