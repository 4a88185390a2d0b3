"""``prefrl label``: the labelling page of a run, finished or not."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro
from rich.progress import Progress

from prefrl.commands.console import console, errors, print_link
from prefrl.commands.page import (
    PageConfig,
    check_page,
    invite,
    is_served,
    open_page,
    page_of,
    serve_page,
)
from prefrl.commands.samples import make_samples
from prefrl.commands.sft import is_sft
from prefrl.control.learned.episodes import Drawing
from prefrl.control.learned.to_label import MADE_FROM, pairs_to_label
from prefrl.control.roles import role_command
from prefrl.errors import ConfigError, RunDirectoryError
from prefrl.runtime.rundir import RunDirectory

__all__ = ["Label", "label"]


@dataclass(frozen=True)
class Label:
    """Serves the labelling page of a run; if it is served already, prints a new link."""

    run: tyro.conf.Positional[Path]
    """Directory of the run."""
    invite: str | None = None
    """Print a sign-in link for somebody of this name, and do no more."""
    sample: bool = False
    """Make a new directory with a few things to compare, to try the page."""
    segments: str | None = None
    """Make a new directory with pairs of segments of a dataset to compare: minari:NAME."""
    drawing: Annotated[Drawing, tyro.conf.arg(name="")] = field(
        default_factory=lambda: Drawing(pairs=100)
    )
    """Which pairs are drawn from it."""
    seed: int = 0
    """Seed of the pairs that are drawn."""
    goal: str | None = None
    """What is better, in your words: shown above each pair, and kept with the run."""
    page: PageConfig = field(default_factory=PageConfig)
    """Where the page is served; what you do not give stays as it was."""


def label(command: Label) -> None:
    """Serves the page until it is told to stop; or prints a link."""
    if command.segments is not None:
        _make_pairs(command, command.segments)
    elif command.sample and not RunDirectory(command.run).config.is_file():
        make_samples(command.run)
    run = RunDirectory.open(command.run)
    if is_sft(run):
        raise RunDirectoryError(
            f"expected a run with something to label, but {run.root} learns from demonstrations."
        )
    if command.goal is not None:
        run.write_json(run.config, {**run.read_json(run.config), "goal": command.goal})
    if command.invite is not None:
        print_link(f"For {command.invite}", invite(run, command.invite))
        if not is_served(run):
            console.print(f"Serve the page with prefrl label {run.root}", soft_wrap=True)
        return
    if is_served(run):
        link = invite(run, page_of(run).name, role="owner")
        print_link("The page is served already. To label, open", link)
        return
    link = open_page(run, check_page(command.page, run))
    is_control = "env_id" in run.read_json(run.config)
    films = [role_command("renderer", run, essential=False)] if is_control else []
    serve_page(run, films, on_start=lambda: print_link("To label, open", link))
    console.print(f"The page is closed; prefrl label {run.root} opens it again.", soft_wrap=True)
    if MADE_FROM in run.read_json(run.config):
        console.print(f"Fit a reward to the answers: prefrl fit {run.root} --output REWARD")


def _make_pairs(command: Label, data: str) -> None:
    """Makes the directory from a dataset, unless it was made so before."""
    if command.sample:
        raise ConfigError("expected --sample or --segments, got both.")
    with Progress(console=errors, transient=True) as progress:
        task = progress.add_task("replaying the episodes", total=None)
        pairs_to_label(
            command.run,
            data,
            drawing=command.drawing,
            seed=command.seed,
            told=lambda done, of: progress.update(task, completed=done, total=of),
        )
