"""``prefrl label``: the labelling page of a run, finished or not."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

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
from prefrl.control.judging import clips_task
from prefrl.control.learned.episodes import Drawing
from prefrl.control.learned.to_label import MADE_FROM, pairs_to_label
from prefrl.control.roles import role_command
from prefrl.errors import ConfigError, RoleError, RunDirectoryError
from prefrl.runtime.judge.config import JudgeConfig, task_for, write_task
from prefrl.runtime.role import is_taken
from prefrl.runtime.rundir import RunDirectory
from prefrl.runtime.supervisor import RoleCommand
from prefrl.text.judging import check_judge
from prefrl.text.train import role_command as text_role_command

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
    oracle: Literal["ai"] | None = None
    """Have a model answer as well, besides people: ai, with --judge.url and --judge.model, or of
    texts --judge.local."""
    goal: str | None = None
    """What is better, in your words: shown above each pair, and kept with the run."""
    page: PageConfig = field(default_factory=PageConfig)
    """Where the page is served; what you do not give stays as it was."""
    judge: JudgeConfig = field(default_factory=JudgeConfig)
    """The model that answers with oracle ai."""

    def __post_init__(self) -> None:
        self.judge.check_for(self.oracle or "human")


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
    page = check_page(command.page, run)
    roles = [] if command.oracle is None else [_judge(command, run)]
    link = open_page(run, page)
    if "env_id" in run.read_json(run.config):
        roles.append(role_command("renderer", run, essential=False))
    serve_page(run, roles, on_start=lambda: print_link("To label, open", link))
    console.print(f"The page is closed; prefrl label {run.root} opens it again.", soft_wrap=True)
    if MADE_FROM in run.read_json(run.config):
        console.print(f"Fit a reward to the answers: prefrl fit {run.root} --output REWARD")


def _judge(command: Label, run: RunDirectory) -> RoleCommand:
    """What has a model answer, once it has answered a first question."""
    told = run.read_json(run.config)
    if is_taken(run, "judge"):
        raise RoleError(
            f"expected {run.root} to have no judge yet, but one is at work; leave --oracle out."
        )
    if "env_id" in told:
        write_task(run, clips_task(command.judge, told))
        return role_command("judge", run, essential=False)
    if "method" not in told:
        raise ConfigError(
            f"expected clips or responses for a judge, but {run.root} has neither; take the folder "
            "of a training, or --segments minari:NAME."
        )
    task = task_for(command.judge, "responses", told.get("goal"))
    check_judge(task)
    write_task(run, task)
    return text_role_command("judge", run, essential=False)


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
