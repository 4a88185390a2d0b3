"""Commands on an existing run of any kind: resume, replay, report."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from prefrl.commands.align import is_text, resume_align
from prefrl.commands.console import console
from prefrl.commands.page import PageConfig
from prefrl.commands.sft import is_sft, resume_sft_run
from prefrl.commands.train import resume_train
from prefrl.control.replay import replay_run
from prefrl.errors import RunDirectoryError
from prefrl.runtime.rundir import RunDirectory
from prefrl.text.replay import replay_alignment

__all__ = ["Replay", "Report", "Resume", "replay", "report", "resume"]


@dataclass(frozen=True)
class Resume:
    """Continues a run that was stopped or killed."""

    run: tyro.conf.Positional[Path]
    """Directory of the run."""
    page: PageConfig = field(default_factory=PageConfig)
    """The labelling page, where people answer; options that you do not give stay as they were."""


@dataclass(frozen=True)
class Replay:
    """Repeats the reward learning of a run from its log, and compares the weights."""

    run: tyro.conf.Positional[Path]
    """Directory of the run."""


@dataclass(frozen=True)
class Report:
    """Draws the report of a run, finished or not."""

    run: tyro.conf.Positional[Path]
    """Directory of the run."""
    figure: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    """Your own figure for an agent's run, as module:name, besides those of the training. Repeat the
    option for several."""


def resume(command: Resume) -> None:
    """Continues a run of any kind."""
    run = RunDirectory.open(command.run)
    if is_sft(run):
        resume_sft_run(run)
    else:
        (resume_align if is_text(run) else resume_train)(run, command.page)


def replay(command: Replay) -> None:
    """Repeats all fits of a run, and prints whether they give the same weights.

    Raises:
        RunDirectoryError: If one does not, or a run of this kind has no reward.
    """
    run = RunDirectory.open(command.run)
    if is_sft(run):
        raise RunDirectoryError(
            f"expected a run that learns a reward, but {run.root} learns from demonstrations; the "
            "same seed and data give the same model again."
        )
    n_fits, different = 0, []
    for fit in (replay_alignment if is_text(run) else replay_run)(run):
        n_fits += 1
        console.print(
            f"fit {fit.number:>3}  {fit.labels:>6} labels up to event {fit.last_event:<6} "
            + ("[green]the same weights[/]" if fit.same else "[red]other weights[/]")
        )
        if not fit.same:
            different.append(fit.number)
    if different:
        raise RunDirectoryError(
            f"expected {n_fits} fits to come out as they did, but {len(different)} did not, the "
            f"first of them fit {different[0]}; weights repeat exactly only with the releases in "
            f"{run.versions} and on the same kind of processor."
        )
    console.print(f"{n_fits} of {n_fits} fits repeated exactly.")


def report(command: Report) -> None:
    """Draws the report of a run of any kind."""
    run = RunDirectory(command.run)
    if run.config.is_file() and is_text(RunDirectory.open(command.run)):
        from prefrl.report.text_page import write_text_report

        page = write_text_report(run)
    else:
        from prefrl.report import write_report

        page = write_report(run, figures=command.figure)
    console.print(str(page), soft_wrap=True)
