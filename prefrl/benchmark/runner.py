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
    """A training that goes on."""

    run: Run
    task: Task
    started: float = field(default_factory=time.time)
    """When it was started here, in seconds since 1970."""
    steps: int = 0
    """Environment steps so far, those before a resume included."""
    began_at: int | None = None
    """Steps that there were when it was started here; None while that is not known."""

    @property
    def seconds(self) -> float:
        """Seconds since it was started here."""
        return time.time() - self.started


@dataclass
class Progress:
    """How far a benchmark is."""

    total: int
    """Trainings of the suite."""
    done: int
    """Those that have a row."""
    going: list[Going] = field(default_factory=list)
    """Those that go on."""
    waiting: list[Run] = field(default_factory=list)
    """Those that are still to be started."""
    failed: dict[tuple[str, str, int], str] = field(default_factory=dict)
    """What those said last that cannot be done."""
    steps_done: int = 0
    """Steps that were taken since this began, by trainings that have ended."""
    started: float = field(default_factory=time.monotonic)

    @property
    def seconds_left(self) -> float | None:
        """An estimate from the steps per second so far; None while there is nothing to go by."""
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
    """Does all trainings that have no row yet.

    One that dies is started again, twice at most, and goes on from its checkpoint; one that cannot
    be done leaves the others alone.

    Args:
        folder: Where they and their rows lie.
        executor: Where they are done.
        runs: All of the suite.
        stop: Ends it: what goes on saves and ends, and goes on the next time.
        show: Called a few times a second.

    Returns:
        How far it came.
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
                if folder.has_row(run):  # it ended when nobody was there to see it
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
    attempts[one.run.key] -= code == STOPPED  # by whoever needs the room, and it has saved
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
