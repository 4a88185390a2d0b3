"""What a person sees while an agent trains: a live line on a terminal, some lines in a log."""

from __future__ import annotations

import time
from collections.abc import Mapping
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from prefrl.core.store import Counts
from prefrl.runtime.role import RoleStatus

__all__ = ["TrainingProgress"]

_SECONDS_BETWEEN_LINES = 10.0
_SECONDS_BETWEEN_REMINDERS = 60.0
_STATE = (
    "labels {task.fields[labels]}/{task.fields[budget]}  true return {task.fields[value]}  "
    "correlation {task.fields[correlation]}"
)


class TrainingProgress:
    """Shows steps, labels, true return, correlation of predicted with true reward, and time left.

    Args:
        total_steps: Environment steps of the training.
        labels: Its budget of labels.
        console: Where to show it; on what is not a terminal, a line every ten seconds.
    """

    def __init__(self, total_steps: int, labels: int, *, console: Console) -> None:
        self._total_steps = total_steps
        self._labels = labels
        self._console = console
        self._progress = Progress(
            TextColumn("[bold]{task.completed:,.0f}[/] steps"),
            BarColumn(bar_width=24),
            TextColumn(_STATE),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("[yellow]{task.fields[note]}"),
            console=console,
            disable=not console.is_terminal,
        )
        self._task = self._progress.add_task(
            "", total=total_steps, labels=0, budget=labels, value="-", correlation="-", note=""
        )
        self._started = self._last_line = time.monotonic()
        self._reminded = float("-inf")

    def __enter__(self) -> TrainingProgress:
        return self

    def start(self) -> None:
        """Shows itself; what is printed before stands above it."""
        self._progress.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._progress.stop()

    def hear(self, status: RoleStatus, counts: Counts | None) -> None:
        """Takes in what the agent says of itself; with counts it waits for answers."""
        waits = counts is not None
        self._progress.update(self._task, note=status.state if waits else "")
        if counts is not None:
            self._progress.update(self._task, labels=counts.queries - counts.open)
        now = time.monotonic()
        if (
            self._console.is_terminal
            or not waits
            or now - self._reminded < _SECONDS_BETWEEN_REMINDERS
        ):
            return
        self._reminded = now
        self._console.print(f"the agent is {status.state}", soft_wrap=True)

    def update(self, row: Mapping[str, float | int | str]) -> None:
        """Takes in a new row of metrics."""
        steps, labels = int(row["env_steps"]), int(row["labels"])
        value = _plain(float(row["true_return_mean"]), ",.0f")
        correlation = _plain(float(row["reward_correlation"]), ".2f")
        self._progress.update(
            self._task, completed=steps, labels=labels, value=value, correlation=correlation
        )
        now = time.monotonic()
        finished = steps >= self._total_steps
        if finished:  # of games this takes minutes
            self._progress.update(self._task, note="evaluating the agent before and after")
        if self._console.is_terminal or (
            now - self._last_line < _SECONDS_BETWEEN_LINES and not finished
        ):
            return
        self._last_line = now
        left = (now - self._started) * max(0, self._total_steps - steps) / steps
        self._console.print(
            f"{steps:,}/{self._total_steps:,} steps  labels {labels}/{self._labels}  "
            f"true return {value}  correlation {correlation}  {left:.0f} s left",
            soft_wrap=True,
        )
        if finished:
            self._console.print("evaluating the agent before and after")


def _plain(value: float, style: str) -> str:
    return "-" if value != value else format(value, style)
