"""``prefrl label``: the labelling page of a run, finished or not."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import tyro
from rich.progress import Progress

from prefrl.commands.console import console, errors, print_link
from prefrl.commands.hub import hub_above, link_to
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
from prefrl.runtime.judge.config import JudgeConfig, write_task
from prefrl.runtime.own.folder import Chosen, Kind, is_own, make_folder, own_kind
from prefrl.runtime.remote.courier import courier_command
from prefrl.runtime.remote.places import is_elsewhere, make_page_folder
from prefrl.runtime.roles.role import is_taken
from prefrl.runtime.roles.supervisor import RoleCommand
from prefrl.runtime.rundir import RunDirectory
from prefrl.text.judging import responses_task
from prefrl.text.train import role_command as text_role_command

__all__ = ["Label", "label"]

_PAIRS = 100
_NO_TRUTH = (
    "expected a training with --judge.true-reward, but nothing knows the true reward of the {own} "
    "in {place}; leave it out."
)


@dataclass(frozen=True)
class Label:
    """Serves the labelling page of a run; if it is served already, prints a new link."""

    run: tyro.conf.Positional[Path]
    """Directory of the run."""
    invite: str | None = None
    """Only print a sign-in link for a person of this name."""
    sample: bool = False
    """Make a new directory with a few samples to compare, to try the page."""
    videos: Path | None = None
    """Make a new directory with pairs of the films (mp4, webm) in this folder."""
    texts: Path | None = None
    """Make a new directory with pairs of the texts in this file: lines of JSON (.jsonl), a table
    (.csv, .tsv) with "text" and optionally "prompt" and "name", or plain lines."""
    segments: str | None = None
    """Make a new directory with pairs of segments of a dataset: minari:NAME."""
    store: str | None = None
    """Serve the page of a run on another machine: the URL of its answers, as it printed it. The
    folder is made, and keeps who may sign in here."""
    media: str | None = None
    """With store: where this machine finds what people look at, if not where the run puts it."""
    pairs: int | Path | None = None
    """How many pairs to draw, with each item about equally often; or, for films and texts, a CSV
    file with the two names of a pair per line. By default 100, or three for each film or text if
    that is more."""
    segment_length: int = 50
    """Steps per segment of a dataset."""
    seed: int = 0
    """Seed of the pairs that are drawn."""
    oracle: Literal["ai"] | None = None
    """Let a model answer besides people: ai, with --judge.url and --judge.model, or for texts
    --judge.local."""
    goal: str | None = None
    """What is better, in your words: shown above each pair, and kept with the run."""
    page: PageConfig = field(default_factory=PageConfig)
    """Where the page is served; options that you do not give stay as they were."""
    judge: JudgeConfig = field(default_factory=JudgeConfig)
    """The model that answers if the oracle is ai."""

    def __post_init__(self) -> None:
        self.judge.check_for(self.oracle or "human")
        if self.media is not None and self.store is None:
            raise ConfigError(f"expected --store with --media {self.media}, got it alone.")
        if self.judge.true_reward and (self.videos or self.texts):
            own = "films" if self.videos else "texts"
            raise ConfigError(_NO_TRUTH.format(own=own, place=self.run))


def label(command: Label) -> None:
    """Serves the page until told to stop, or prints a link."""
    _make(command)
    run = RunDirectory.open(command.run, may_be_page=True)
    if is_sft(run):
        raise RunDirectoryError(
            f"expected a run with something to label, but {run.root} learns from demonstrations."
        )
    folder, is_open = hub_above(run), is_served(run)
    if command.invite is None and (folder is not None or is_open):
        _refuse_what_comes_late(command, run, folder)
    if command.goal is not None:
        run.write_json(run.config, {**run.read_json(run.config), "goal": command.goal})
    if folder is not None:
        name = command.invite or command.page.name
        console.print(f"It is served by prefrl serve {folder}.", soft_wrap=True)
        print_link(
            f"For {name}, to all that is there",
            link_to(folder, name, role=None if command.invite else "owner", run=run),
        )
        return
    if command.invite is not None:
        print_link(f"For {command.invite}", invite(run, command.invite))
        if not is_open:
            console.print(f"Serve the page with prefrl label {run.root}", soft_wrap=True)
        return
    if is_open:
        link = invite(run, page_of(run).name, role="owner")
        print_link("The page is served already. To label, open", link)
        return
    page, config = check_page(command.page, run), run.read_json(run.config)
    roles = [] if command.oracle is None else [_judge(command, run)]
    link = open_page(run, page)
    if "env_id" in config:
        roles.append(role_command("renderer", run, essential=False))
    if is_elsewhere(config):
        roles.append(courier_command(run))
    serve_page(run, link, roles, on_start=lambda link: print_link("To label, open", link))
    console.print(f"The page is closed; prefrl label {run.root} opens it again.", soft_wrap=True)
    if is_own(config):
        console.print(f"The answers as lines of JSON: prefrl export {run.root}", soft_wrap=True)
    if MADE_FROM in config:
        console.print(f"Fit a reward to the answers: prefrl fit {run.root} --output REWARD")


def _refuse_what_comes_late(command: Label, run: RunDirectory, folder: Path | None) -> None:
    """Refuses options that take effect when a page opens, if it is served already.

    Args:
        command: The command with its options.
        run: The run, whose page is served.
        folder: The folder above it, if that is served as a whole.

    Raises:
        ConfigError: If such an option was given.
    """
    default = PageConfig()
    page = page_of(run) if run.page.is_file() else default
    if folder is not None:  # it has its own address, and links for any name
        page = dataclasses.replace(default, name=command.page.name).for_run(page)
    asked = command.page
    if asked.instructions is not None:
        asked = dataclasses.replace(asked, instructions=asked.instructions.resolve())
    late = [] if command.oracle is None else [f"--oracle {command.oracle}"]
    for name, value in vars(asked).items():
        if value not in (getattr(default, name), getattr(page, name)):
            late.append(f"--page.{name.replace('_', '-')}")
    if late:
        by = "its page is open" if folder is None else f"prefrl serve {folder} serves it"
        takes, them = ("takes", "it") if len(late) == 1 else ("take", "them")
        raise ConfigError(
            f"expected {run.root} not to be served yet: {' and '.join(late)} {takes} effect when "
            f"its page opens, but {by}; stop that first, or leave {them} out."
        )


def _judge(command: Label, run: RunDirectory) -> RoleCommand:
    """Returns the role that has a model answer, after the model has answered a test question."""
    told = run.read_json(run.config)
    if is_taken(run, "judge"):
        raise RoleError(
            f"expected {run.root} to have no judge yet, but one is at work; leave --oracle out."
        )
    own = own_kind(told)
    if own is not None and command.judge.true_reward:
        raise ConfigError(_NO_TRUTH.format(own=own, place=run.root))
    if "env_id" in told or own == "films":
        write_task(run, clips_task(command.judge, told))
        return role_command("judge", run, essential=False)
    if "method" not in told and own is None:
        raise ConfigError(
            f"expected clips, films or texts for a judge, but {run.root} has none of them; take "
            "the folder of a training, or one that was made from films or texts of yours."
        )
    kind: Literal["responses", "texts"] = "responses" if own is None else "texts"
    write_task(run, responses_task(command.judge, told.get("goal"), kind))
    return text_role_command("judge", run, essential=False)


def _make(command: Label) -> None:
    """Makes the directory from items to compare, if any are given, unless it exists already."""
    told = {
        "--sample": command.sample,
        "--videos": command.videos is not None,
        "--texts": command.texts is not None,
        "--segments": command.segments is not None,
        "--store": command.store is not None,
    }
    asked = [name for name, is_asked in told.items() if is_asked]
    if len(asked) > 1:
        raise ConfigError(f"expected one of {', '.join(told)}, got {' and '.join(asked)}.")
    if command.store is not None:
        make_page_folder(RunDirectory(command.run), command.store, command.media)
    elif command.segments is not None:
        _make_pairs(command, command.segments)
    elif command.videos is not None or command.texts is not None:
        _make_own(command)
    elif command.pairs is not None:
        raise ConfigError("expected --pairs with --videos, --texts or --segments, got it alone.")
    elif command.sample and not RunDirectory(command.run).config.is_file():
        make_samples(command.run)


def _make_own(command: Label) -> None:
    """Makes a label folder from the user's own films or texts."""
    if isinstance(command.pairs, Path):
        chosen = Chosen(table=command.pairs)
    else:
        chosen = Chosen(n_pairs=command.pairs, seed=command.seed)
    kind: Kind = "texts" if command.videos is None else "films"
    source = command.texts if command.videos is None else command.videos
    assert source is not None
    with Progress(console=errors, transient=True) as progress:
        task = progress.add_task(f"looking at the {kind}", total=None)
        made = make_folder(
            command.run,
            kind,
            source,
            chosen,
            told=lambda done, of: progress.update(task, completed=done, total=of),
        )
    for note in made.notes:
        errors.print(note, markup=False, soft_wrap=True)


def _make_pairs(command: Label, data: str) -> None:
    """Makes a label folder from segments of a dataset."""
    if isinstance(command.pairs, Path):
        raise ConfigError(f"expected --pairs NUMBER with --segments, got {command.pairs}.")
    pairs = _PAIRS if command.pairs is None else command.pairs
    with Progress(console=errors, transient=True) as progress:
        task = progress.add_task("replaying the episodes", total=None)
        pairs_to_label(
            command.run,
            data,
            drawing=Drawing(pairs=pairs, segment_length=command.segment_length),
            seed=command.seed,
            told=lambda done, of: progress.update(task, completed=done, total=of),
        )
