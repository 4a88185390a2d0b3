"""Runs the trainings of a suite in parallel until all have a row."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from prefrl.benchmark.executors import Executor, Task, last_word
from prefrl.benchmark.store import BenchmarkFolder
from prefrl.benchmark.suite import Run
from prefrl.runtime.roles.role import StopSignal, read_status
from prefrl.runtime.roles.supervisor import BAD_INPUT, STOPPED
from prefrl.runtime.rundir import RunDirectory

__all__ = ["Going", "Progress", "run_all"]

_SECONDS_BETWEEN_LOOKS = 0.25
_MOST_ATTEMPTS = 3


@dataclass
class Going:
    """A running training."""

    run: Run
    task: Task
    started: float = field(default_factory=time.time)
    """When this benchmark started it, in seconds since 1970."""
    steps: int = 0
    """Environment steps so far, including those before a resume."""
    began_at: int | None = None
    """Steps it already had when it was started here; None while unknown."""

    @property
    def seconds(self) -> float:
        """Seconds since it was started here."""
        return time.time() - self.started


@dataclass
class Progress:
    """The progress of a benchmark."""

    total: int
    """Trainings of the suite."""
    done: int
    """Number of finished trainings, which have a row."""
    going: list[Going] = field(default_factory=list)
    """Running trainings."""
    waiting: list[Run] = field(default_factory=list)
    """Trainings that are still to be started."""
    failed: dict[tuple[str, str, int], str] = field(default_factory=dict)
    """Last lines of trainings that failed, by their keys."""
    steps_done: int = 0
    """Steps taken since the start of this process by trainings that have ended."""
    started: float = field(default_factory=time.monotonic)

    @property
    def seconds_left(self) -> float | None:
        """Estimate from the steps per second so far; None while these are unknown."""
        taken = self.steps_done + sum(one.steps - (one.began_at or 0) for one in self.going)
        seconds = time.monotonic() - self.started
        if taken <= 0 or seconds < 1:
            return None
        left = sum(run.steps for run in self.waiting)
        left += sum(max(0, one.run.steps - one.steps) for one in self.going)
        return left * seconds / taken


def run_all(
    folder: BenchmarkFolder,
    executor: Executor,
    runs: Sequence[Run],
    *,
    stop: StopSignal,
    show: Callable[[Progress], None],
) -> Progress:
    """Runs all trainings that have no row yet.

    A training that dies is restarted from its checkpoint, at most twice; one that fails does not
    affect the others.

    Args:
        folder: Folder of the trainings and their rows.
        executor: Starts the trainings.
        runs: All trainings of the suite.
        stop: Ends the benchmark: running trainings save and end, and can be continued later.
        show: Called with the progress a few times a second.

    Returns:
        The progress at the end.
    """
    done = folder.done()
    progress = Progress(
        total=len(runs),
        done=sum(run.key in done for run in runs),
        waiting=[run for run in runs if run.key not in done],
    )
    attempts: dict[tuple[str, str, int], int] = {}
    try:
        while (progress.waiting or progress.going) and not stop.requested:
            while progress.waiting and len(progress.going) < executor.n_slots:
                run = progress.waiting.pop(0)
                if folder.has_row(run):  # it ended while no benchmark was running
                    _gather(run, folder, progress)
                    continue
                attempts[run.key] = attempts.get(run.key, 0) + 1
                progress.going.append(Going(run, executor.start(folder.prepare(run))))
            for one in list(progress.going):
                _look_at(one, folder, progress, attempts)
            show(progress)
            time.sleep(_SECONDS_BETWEEN_LOOKS)
    finally:
        for one in progress.going:
            one.task.stop()
        for one in progress.going:
            one.task.wait()
    return progress


def _look_at(
    one: Going,
    folder: BenchmarkFolder,
    progress: Progress,
    attempts: dict[tuple[str, str, int], int],
) -> None:
    place = folder.folder(one.run)
    code = one.task.poll()
    status = read_status(RunDirectory(place / "run"), "agent")
    if status is not None and status.started_at >= one.started and "env_steps" in status.about:
        one.steps = int(status.about["env_steps"])
        one.began_at = one.steps if one.began_at is None else one.began_at
    if code is None:
        return
    progress.going.remove(one)
    progress.steps_done += one.steps - (one.began_at or 0)
    attempts[one.run.key] -= code == STOPPED  # it was stopped and has saved: no failure
    if code == 0:
        _gather(one.run, folder, progress)
    elif code == BAD_INPUT or attempts[one.run.key] >= _MOST_ATTEMPTS:
        how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        progress.failed[one.run.key] = f"{how}: {last_word(place)}"
    else:
        progress.waiting.insert(0, one.run)


def _gather(run: Run, folder: BenchmarkFolder, progress: Progress) -> None:
    folder.gather(run)
    progress.done += 1
