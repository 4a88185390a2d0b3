"""``prefrl align`` and the like: language models on the command line."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Annotated, Any, Literal

import tyro
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from prefrl.core.store import Counts
from prefrl.label import PageConfig, check_page, is_served, page_of
from prefrl.report.text_page import write_text_report
from prefrl.runtime.role import RoleStatus
from prefrl.runtime.rundir import RunDirectory
from prefrl.runtime.supervisor import RoleCommand
from prefrl.text.config import AlignConfig, align_config_from_json
from prefrl.text.finish import AlignResult
from prefrl.text.train import align, resume_alignment

__all__ = ["Align", "AlignProgress", "is_text", "resume_align", "start_align"]

Serve = Callable[[PageConfig | None], Callable[[RunDirectory], Sequence[RoleCommand]]]
"""From the settings of the labelling page to what serves it beside a run."""

_SECONDS_BETWEEN_LINES = 10.0
_STATE = (
    "labels {task.fields[labels]}/{task.fields[budget]}  gold {task.fields[gold]}  "
    "score {task.fields[score]}  KL {task.fields[kl]}"
)


@dataclass(frozen=True)
class Align:
    """Aligns a language model with comparisons of its responses."""

    config: Annotated[AlignConfig, tyro.conf.arg(name="")]
    """The training."""
    preset: Literal["auto", "default", "cpu", "tiny", "lm-human-preferences"] = "auto"
    """Settings to start from, which --help shows then: auto takes cpu for smollm2, tiny for tiny,
    else default; lm-human-preferences is Ziegler et al. 2019."""
    page: PageConfig = field(default_factory=PageConfig)
    """The labelling page, where people answer."""


def is_text(run: RunDirectory) -> bool:
    """Whether a run is about a language model."""
    return "method" in run.read_json(run.config)


def start_align(command: Align, console: Console, serve: Serve) -> None:
    """Aligns a model, and shows what it came to."""
    config = command.config
    page = check_page(command.page) if config.asks_people else None
    with AlignProgress(config, console) as progress:
        result = align(
            config,
            on_rollout=progress.update,
            on_agent=progress.hear,
            beside=_beside(serve(page), progress),
            on_evaluation=progress.evaluated,
        )
    _show(config, result, console)


def resume_align(run: RunDirectory, told: PageConfig, console: Console, serve: Serve) -> None:
    """Goes on with a run that was stopped, and shows what it came to."""
    config = align_config_from_json(run.read_json(run.config))
    page = None
    if config.asks_people and not run.summary.is_file():
        page = page_of(run) if is_served(run) else check_page(told, run)
    with AlignProgress(config, console) as progress:
        result = resume_alignment(
            run,
            on_rollout=progress.update,
            on_agent=progress.hear,
            beside=_beside(serve(page), progress),
            on_evaluation=progress.evaluated,
        )
    _show(config, result, console)


def _beside(
    serve: Callable[[RunDirectory], Sequence[RoleCommand]], progress: AlignProgress
) -> Callable[[RunDirectory], Sequence[RoleCommand]]:
    """What runs beside the roles; its link stands above the progress, which begins then."""

    def begin(run: RunDirectory) -> Sequence[RoleCommand]:
        roles = serve(run)
        progress.start()
        return roles

    return begin


def _show(config: AlignConfig, result: AlignResult, console: Console) -> None:
    root = result.run.root
    if not result.finished:
        console.print(
            f"\nSaved and stopped. Go on with [bold]prefrl resume {root}[/].", soft_wrap=True
        )
        return
    page, summary = write_text_report(result.run), result.summary
    what, name = ("gold", "gold") if config.gold_name else ("score", "learned score")
    before, after = (_figure(summary, what, when) for when in ("before", "after"))
    console.print(
        f"\n[bold]{config.model}[/] by {config.method}: {name} {before} before, "
        f"[bold green]{after}[/] after at a KL of {summary['kl_after']:.1f} nats, from "
        f"{summary['labels']} labels and {summary['responses']:,} responses in "
        f"{summary['wall_seconds']:.0f} s.\n",
        soft_wrap=True,
    )
    for label, path in (("report", page), ("model", result.run.model)):
        console.print(f"  {label:<8} {path}", soft_wrap=True)
    console.print(
        "\nNext: open the report in a browser; or go on from here, as in\n"
        f"  prefrl align {config.model} --init {root} --prompts {config.prompts}",
        soft_wrap=True,
    )


def _figure(summary: Mapping[str, float | None], what: str, when: str) -> str:
    mean, error = summary[f"{what}_{when}"], summary[f"{what}_{when}_error"]
    return f"{mean:.2f}" if error is None else f"{mean:.2f} ± {error:.2f}"


class AlignProgress:
    """Shows responses, labels, gold and learned score, KL, and time left.

    Args:
        config: What is being done.
        console: Where to show it; on what is not a terminal, a line every ten seconds.
    """

    def __init__(self, config: AlignConfig, console: Console) -> None:
        self._total, self._labels = config.n_batches * config.batch, config.labels
        self._console = console
        self._progress = Progress(
            TextColumn("[bold]{task.completed:,.0f}[/] {task.fields[unit]}"),
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
            "", total=self._total, labels=0, budget=self._labels, gold="-", score="-", kl="-",
            note="loading the model", unit="responses",
        )  # fmt: skip
        self._started = self._last_line = time.monotonic()
        self._note = ""

    def __enter__(self) -> AlignProgress:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._progress.stop()

    def start(self) -> None:
        """Shows itself; what is printed before stands above it."""
        self._progress.start()

    def hear(self, status: RoleStatus, counts: Counts | None) -> None:
        """Takes in what the policy's process says of itself."""
        self._progress.update(self._task, note=status.state)
        if counts is not None:
            self._progress.update(self._task, labels=counts.queries - counts.open)
            if status.state != self._note and not self._console.is_terminal:
                self._console.print(f"the policy is {status.state}", soft_wrap=True)
        self._note = status.state

    def evaluated(self, share: float) -> None:
        """Takes in how much of the final evaluation is done."""
        self._progress.update(self._task, note=f"evaluating: {share:.0%}")
        if not self._console.is_terminal:
            self._console.print(f"evaluating: {share:.0%}")

    def update(self, row: Mapping[str, float | int | str]) -> None:
        """Takes in a new row of metrics."""
        done, labels = int(row["env_steps"]), int(row["labels"])
        shown: dict[str, Any] = {n: _plain(float(row[c])) for n, c in
                 (("gold", "gold_mean"), ("score", "score_mean"), ("kl", "kl"))}  # fmt: skip
        self._progress.start()
        self._progress.update(self._task, completed=done, labels=labels, note="", **shown)
        now = time.monotonic()
        if self._console.is_terminal or (
            now - self._last_line < _SECONDS_BETWEEN_LINES and done < self._total
        ):
            return
        self._last_line = now
        left = (now - self._started) * max(0, self._total - done) / done
        told = "  ".join(f"{name} {value}" for name, value in shown.items())
        self._console.print(
            f"{done:,}/{self._total:,} responses  labels {labels}/{self._labels}  {told}  "
            f"{left:.0f} s left",
            soft_wrap=True,
        )


def _plain(value: float) -> str:
    return "-" if value != value else f"{value:.2f}"
