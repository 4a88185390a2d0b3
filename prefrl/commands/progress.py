"""Progress of a training as people see it: a live line on a terminal, some lines in a log."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TimeElapsedColumn
from rich.text import Text

from prefrl.commands.console import errors
from prefrl.core.store import Counts
from prefrl.runtime.roles.role import RoleStatus
from prefrl.runtime.rundir.troubles import Trouble, about_saving

__all__ = ["AlignProgress", "LiveLine", "SftProgress", "TrainingProgress"]

NO_LABELS = -1
"""The budget of labels of a run that asks for none."""

_SECONDS_BETWEEN_LINES = 10.0
_WIDE = 120  # columns of a terminal that has room for a bar
_SECONDS_BETWEEN_REMINDERS = 60.0
_LEAST_SHARE = 0.02  # of the whole, done before there is an estimate of the time left


class _Pace:
    """Estimates the time left from what was done so far, without time spent waiting for people."""

    def __init__(self) -> None:
        self._first: tuple[float, int] | None = None
        self._waited = 0.0
        self._waits_since: float | None = None

    def note(self, done: int) -> None:
        """Records progress; the first call sets the start, which is not 0 for a resumed run."""
        self._first = self._first or (time.monotonic(), done)

    def wait(self, waits: bool) -> None:
        """Records whether the run waits for people from now on."""
        now = time.monotonic()
        if self._waits_since is not None:
            self._waited += now - self._waits_since
        self._waits_since = now if waits else None

    def left(self, done: int, total: int) -> str:
        """Returns the time left in words; empty while too little is done to tell, or all is."""
        if done >= total or self._first is None or done - self._first[1] < _LEAST_SHARE * total:
            return ""
        began, before = self._first
        self.wait(self._waits_since is not None)  # up to now
        seconds = time.monotonic() - began - self._waited
        left = seconds * (total - done) / (done - before)
        return f"{left:.0f} s left" if left < 120 else f"{timedelta(seconds=round(left))} left"


class LiveLine:
    """Shows how far a run is, its labels, some figures, and the time left.

    Args:
        total: Steps or responses of the training; 0 while unknown.
        unit: What these are.
        counter: The column of metrics that counts them.
        labels: The run's budget of labels; None if it has others besides, NO_LABELS if it has none
            at all.
        figures: What is shown of each row of metrics: the words, the column, the format.
        console: Where to show it; if that is not a terminal, as a line every ten seconds.
    """

    def __init__(
        self,
        total: int,
        unit: str,
        counter: str,
        labels: int | None,
        figures: list[tuple[str, str, str]],
        *,
        console: Console,
    ) -> None:
        self._total, self._unit, self._counter = total, unit, counter
        self._budget = None if labels == NO_LABELS else "" if labels is None else f"/{labels}"
        self._figures = figures
        self._console = console
        beside = (TimeElapsedColumn(), BarColumn(bar_width=24)) if console.width >= _WIDE else ()
        self._progress = Progress(
            _Line(unit, self._told),
            *beside,
            console=console,
            disable=not console.is_terminal,
        )
        self._shown: dict[str, Any] = {column: "-" for _, column, _ in figures}  # the last known
        fields = {"labels": 0, "note": "", "left": "", **self._shown}
        self._task = self._progress.add_task("", total=total, **fields)
        self._pace = _Pace()
        self._labelled = 0
        self._last_line = time.monotonic()
        self._reminded = float("-inf")
        self._warned: set[str] = set()

    def __enter__(self) -> Self:
        return self

    def start(self) -> None:
        """Starts the live line, below what was printed before."""
        self._progress.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._progress.stop()

    def hear(self, status: RoleStatus, counts: Counts | None) -> None:
        """Shows the status of the agent, which waits for answers if counts are given.

        This shows progress between two rows of metrics, which may be minutes apart.
        """
        self.warn(about_saving(status))
        waits = counts is not None
        self._pace.wait(waits)
        done = status.about.get(self._counter)
        if isinstance(done, int) and done < self._total:
            self._update(done)
            self._print_line(done)
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

    def warn(self, troubles: Sequence[Trouble]) -> None:
        """Prints troubles, each kind once."""
        for trouble in troubles:
            if trouble.kind not in self._warned:
                self._warned.add(trouble.kind)
                errors.print(trouble.text, style="bold yellow", markup=False, soft_wrap=True)

    def say(self, note: str) -> None:
        """Shows what is going on, beside the figures."""
        self._progress.update(self._task, note=note)
        if not self._console.is_terminal:
            self._console.print(note)

    def update(self, row: Mapping[str, float | int | str]) -> None:
        """Shows a new row of metrics."""
        done, self._labelled = int(row[self._counter]), int(row.get("labels", 0))
        for _, column, style in self._figures:
            if not math.isnan(value := float(row[column])):
                self._shown[column] = _plain(value, style)
        self._update(done, labels=self._labelled, **self._shown)
        self._print_line(done)

    def _update(self, done: int, **fields: Any) -> None:
        self._pace.note(done)
        left = self._pace.left(done, self._total)
        self._progress.update(self._task, completed=done, left=left, **fields)

    def _print_line(self, done: int) -> None:
        """Prints a line every ten seconds, and at the end; only if there is no terminal."""
        now = time.monotonic()
        if self._console.is_terminal or (
            now - self._last_line < _SECONDS_BETWEEN_LINES and done < self._total
        ):
            return
        self._last_line = now
        told = self._told(self._shown | {"labels": self._labelled})
        self._console.print(
            f"{done:,}/{self._total:,} {self._unit}  {told}  {self._pace.left(done, self._total)}",
            soft_wrap=True,
        )

    def _told(self, shown: Mapping[str, Any]) -> str:
        """Returns labels and figures in one line."""
        told = (f"{words} {shown[column]}" for words, column, _ in self._figures)
        return self._labels(str(shown["labels"])) + "  ".join(told)

    def _labels(self, told: str) -> str:
        return "" if self._budget is None else f"labels {told}{self._budget}  "


class _Line(ProgressColumn):
    """The progress, the time left, a note, and the figures.

    They are one column, so that a narrow terminal cuts off the end.
    """

    def __init__(self, unit: str, told: Callable[[Mapping[str, Any]], str]) -> None:
        super().__init__()
        self._unit, self._told = unit, told

    def render(self, task: Task) -> Text:
        line = Text(no_wrap=True, overflow="ellipsis")
        line.append(f"{task.completed:,.0f}", "bold").append(f" {self._unit}  ")
        if left := task.fields["left"]:
            line.append(f"{left}  ")
        if note := task.fields["note"]:
            line.append(f"{note}  ", "yellow")
        return line.append(self._told(task.fields))


class TrainingProgress(LiveLine):
    """Shows steps, true return, and the correlation of predicted with true reward.

    Args:
        total_steps: Environment steps of the training.
        labels: Its budget of labels; None if it began with others besides.
        console: Where to show it.
    """

    def __init__(self, total_steps: int, labels: int | None, *, console: Console) -> None:
        figures = [
            ("true return", "true_return_mean", ",.0f"),
            ("correlation", "reward_correlation", ".2f"),
        ]
        super().__init__(total_steps, "steps", "env_steps", labels, figures, console=console)

    def update(self, row: Mapping[str, float | int | str]) -> None:
        """Shows a new row of metrics."""
        super().update(row)
        if int(row["env_steps"]) >= self._total:  # takes minutes for games
            self.say("evaluating the agent before and after")


class AlignProgress(LiveLine):
    """Shows responses, gold and learned score, the KL to the reference, and how many ended.

    Args:
        responses: Responses to sample.
        labels: Comparisons to ask for; None if there are others from data.
        console: Where to show it.
    """

    def __init__(self, responses: int, labels: int | None, *, console: Console) -> None:
        figures = [
            ("gold", "gold_mean", ".2f"),
            ("score", "score_mean", ".2f"),
            ("KL", "kl", ".2f"),
            ("ended", "ended", ".0%"),
            ("margin", "rewards/margins", ".2f"),
        ]
        super().__init__(responses, "responses", "responses", labels, figures, console=console)


class SftProgress(LiveLine):
    """Shows gradient steps, the loss, and the newest held-out loss.

    Args:
        console: Where to show it.
    """

    def __init__(self, *, console: Console) -> None:
        figures = [("loss", "loss", ".3f"), ("held-out loss", "eval_loss", ".3f")]
        super().__init__(0, "steps", "step", NO_LABELS, figures, console=console)
        self._eval_loss: float | int | str = float("nan")

    def begin(self, steps: int) -> None:
        """Starts the live line, once the number of steps is known."""
        self._total = steps
        self._progress.update(self._task, total=steps)
        self.start()

    def update(self, row: Mapping[str, float | int | str]) -> None:
        """Shows a new row of metrics; most have no held-out loss."""
        if row["eval_loss"] == row["eval_loss"]:
            self._eval_loss = row["eval_loss"]
        super().update({**row, "eval_loss": self._eval_loss})


def _plain(value: float, style: str) -> str:
    return "-" if value != value else format(value, style)
