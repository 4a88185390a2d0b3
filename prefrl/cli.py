"""The command line: the only module that wires parts together."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from rich.console import Console

from prefrl import doctor as examination
from prefrl.align import Align, is_text, resume_align, start_align
from prefrl.control.config import TrainConfig, config_from_json
from prefrl.control.evaluate import evaluate as run_episodes
from prefrl.control.finish import Result, load_run
from prefrl.control.presets import PRESETS, preset_for
from prefrl.control.replay import replay_run
from prefrl.control.train import resume as resume_training
from prefrl.control.train import role_command
from prefrl.control.train import train as run_training
from prefrl.errors import ConfigError, PrefrlError, RunDirectoryError
from prefrl.label import (
    PageConfig,
    check_page,
    invite,
    is_served,
    open_page,
    page_of,
    serve_page,
    viewer_command,
)
from prefrl.progress import TrainingProgress
from prefrl.report import write_report
from prefrl.report.text_page import write_text_report
from prefrl.runtime.rundir import RunDirectory
from prefrl.runtime.supervisor import RoleCommand
from prefrl.samples import make_samples
from prefrl.status import describe_run
from prefrl.text.presets import ALIGN_PRESETS, align_preset_for

__all__ = ["main"]

_console = Console(highlight=False)
_errors = Console(stderr=True, highlight=False)


@dataclass(frozen=True)
class Train:
    """Trains an agent from comparisons of clips."""

    config: Annotated[TrainConfig, tyro.conf.arg(name="")]
    """The training."""
    preset: Literal["auto", "control", "atari", "christiano-atari", "ibarz-atari"] = "auto"
    """Settings to start from, which --help shows then: auto takes atari where the environment shows
    pictures, else control; christiano-atari and ibarz-atari are those papers' own."""
    page: PageConfig = field(default_factory=PageConfig)
    """The labelling page, where people answer."""


@dataclass(frozen=True)
class Resume:
    """Goes on with a run that was stopped or killed."""

    run: tyro.conf.Positional[Path]
    """Directory of the run."""
    page: PageConfig = field(default_factory=PageConfig)
    """The labelling page, where people answer; as it was before if nothing is said."""


@dataclass(frozen=True)
class Label:
    """Serves the labelling page of a run, finished or not; if it is served, prints a new link."""

    run: tyro.conf.Positional[Path]
    """Directory of the run."""
    invite: str | None = None
    """Print a sign-in link for somebody of this name, and do no more."""
    sample: bool = False
    """Make the directory, with a few things to compare, to try the page."""
    page: PageConfig = field(default_factory=PageConfig)
    """Where the page is served; as it was before if nothing is said."""


@dataclass(frozen=True)
class Status:
    """Says what each role of a run is doing, how fresh the reward is, how many labels wait."""

    run: tyro.conf.Positional[Path]
    """Directory of the run."""


@dataclass(frozen=True)
class Replay:
    """Repeats the reward learning of a run from its log, and compares the weights."""

    run: tyro.conf.Positional[Path]
    """Directory of the run."""


@dataclass(frozen=True)
class Evaluate:
    """Runs a trained agent again and compares predicted with true reward."""

    run: tyro.conf.Positional[Path]
    """Directory of a finished run."""
    episodes: int = 10
    """How many episodes."""
    seed: int = 0
    """Of the environments."""
    stochastic: bool = False
    """Let the agent draw its actions instead of taking the most likely ones."""


@dataclass(frozen=True)
class Report:
    """Draws the report of a run, finished or not."""

    run: tyro.conf.Positional[Path]
    """Directory of the run."""


@dataclass(frozen=True)
class Doctor:
    """Says what works on this machine, and what to do about what does not."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of ``prefrl``. Exits with 2 on bad input, after one clear sentence."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    try:
        command = _parse(arguments, _named_preset(arguments))
        name = _automatic_preset(command)
        if name is not None:
            _console.print(f"preset {name}", style="dim")
            command = _parse(arguments, name)
        _COMMANDS[type(command)](command)
    except PrefrlError as error:
        _errors.print(f"prefrl: {error}", style="red", markup=False, soft_wrap=True)
        sys.exit(2)
    except KeyboardInterrupt:
        _errors.print("\nprefrl: stopped.", style="red")
        sys.exit(130)


def _automatic_preset(command: Any) -> str | None:
    """The preset that suits what is to be trained; None where it is the one already taken."""
    if isinstance(command, Train) and command.preset == "auto":
        name = preset_for(command.config.env_id)
        return None if name == "control" else name
    if isinstance(command, Align) and command.preset == "auto":
        name = align_preset_for(command.config.model)
        return None if name == "default" else name
    return None


def _named_preset(arguments: Sequence[str]) -> str:
    """The preset that the command line names, before it is parsed with it."""
    for flag, value in zip(arguments, [*arguments[1:], ""], strict=True):
        name = value if flag == "--preset" else flag.removeprefix("--preset=")
        if flag.startswith("--preset") and name in {**PRESETS, **ALIGN_PRESETS}:
            return name
    return ""


def _parse(arguments: Sequence[str], preset: str) -> Any:
    """The command, with defaults of a preset."""
    training = PRESETS.get(preset, PRESETS["control"])
    alignment = ALIGN_PRESETS.get(preset, ALIGN_PRESETS["default"])
    start = Train(config=replace(training, env_id=tyro.MISSING))
    start_text = Align(config=replace(alignment, model=tyro.MISSING, prompts=tyro.MISSING))
    commands: Any = (
        Annotated[Train, tyro.conf.subcommand("train", description=_TRAIN, default=start)]
        | Annotated[Align, tyro.conf.subcommand("align", description=_ALIGN, default=start_text)]
        | Annotated[Resume, tyro.conf.subcommand("resume")]
        | Annotated[Label, tyro.conf.subcommand("label")]
        | Annotated[Status, tyro.conf.subcommand("status")]
        | Annotated[Replay, tyro.conf.subcommand("replay")]
        | Annotated[Evaluate, tyro.conf.subcommand("evaluate")]
        | Annotated[Report, tyro.conf.subcommand("report")]
        | Annotated[Doctor, tyro.conf.subcommand("doctor")]
    )
    return tyro.cli(
        commands,
        prog="prefrl",
        description="Deep reinforcement learning from human preferences.",
        args=arguments,
    )


_TRAIN = (
    "Trains an agent from comparisons of clips. It never sees the environment's reward: only the "
    "answers to which of two clips is better."
)

_ALIGN = (
    "Aligns a language model with comparisons of its responses: by PPO on a reward that is learned "
    "from them, by DPO and its relatives, or by taking the best of n."
)


def _align(command: Align) -> None:
    start_align(command, _console, _serving)


def _train(command: Train) -> None:
    config = command.config
    page = check_page(command.page) if config.asks_people else None
    with TrainingProgress(config.steps, config.preferences.labels, console=_console) as progress:
        result = run_training(
            config,
            on_rollout=progress.update,
            on_agent=progress.hear,
            beside=_beside(page, progress),
        )
    _show(config, result)


def _resume(command: Resume) -> None:
    run = RunDirectory.open(command.run)
    if is_text(run):
        resume_align(run, command.page, _console, _serving)
        return
    config = config_from_json(run.read_json(run.config))
    page = None
    if config.asks_people and not run.summary.is_file():
        page = page_of(run) if is_served(run) else check_page(command.page, run)
    with TrainingProgress(config.steps, config.preferences.labels, console=_console) as progress:
        result = resume_training(
            run,
            on_rollout=progress.update,
            on_agent=progress.hear,
            beside=_beside(page, progress),
        )
    _show(config, result)


def _beside(
    page: PageConfig | None, progress: TrainingProgress
) -> Callable[[RunDirectory], Sequence[RoleCommand]]:
    """The labelling page, if there is one to be served; the progress begins below its address."""
    serve = _serving(page)

    def begin(run: RunDirectory) -> Sequence[RoleCommand]:
        roles = serve(run)
        progress.start()
        return roles

    if page is None:
        progress.start()
    return begin


def _serving(page: PageConfig | None) -> Callable[[RunDirectory], Sequence[RoleCommand]]:
    """What serves the labelling page of a run, if there is to be one; prints its address."""

    def serve(run: RunDirectory) -> Sequence[RoleCommand]:
        if page is None:
            return ()
        _print_link("To label, open", open_page(run, page))
        return [viewer_command(run)]

    return serve


def _label(command: Label) -> None:
    if command.sample and not RunDirectory(command.run).config.is_file():
        make_samples(command.run)
    run = RunDirectory.open(command.run)
    if command.invite is not None:
        _print_link(f"For {command.invite}", invite(run, command.invite))
        if not is_served(run):
            _console.print(f"Serve the page with prefrl label {run.root}", soft_wrap=True)
        return
    if is_served(run):
        link = invite(run, page_of(run).name, role="owner")
        _print_link("The page is served already. To label, open", link)
        return
    link = open_page(run, check_page(command.page, run))
    is_control = "env_id" in run.read_json(run.config)
    films = [role_command("renderer", run, essential=False)] if is_control else []
    serve_page(run, films, on_start=lambda: _print_link("To label, open", link))
    _console.print(f"The page is closed; prefrl label {run.root} opens it again.", soft_wrap=True)


def _print_link(what: str, link: str) -> None:
    """On a line of its own, whole, so that it can be clicked or copied."""
    _console.print(f"{what}\n  {link}", soft_wrap=True, markup=False)


def _show(config: TrainConfig, result: Result) -> None:
    if not result.finished:
        _console.print(
            f"\nSaved and stopped. Go on with [bold]prefrl resume {result.run.root}[/].",
            soft_wrap=True,
        )
        return
    page = write_report(result.run)
    for note in result.notes:
        _errors.print(note, style="yellow", markup=False, soft_wrap=True)
    summary, root = result.summary, result.run.root
    _console.print(
        f"\n[bold]{summary['env_id']}[/]: true return "
        f"{round(summary['eval_return_before_mean']):,} before, "
        f"[bold green]{summary['eval_return_mean']:,.0f} ± "
        f"{summary['eval_return_std']:,.0f}[/] after, from {summary['labels']} labels and "
        f"{summary['env_steps']:,} steps in {summary['wall_seconds']:.0f} s.\n"
    )
    shown = [("report", page), ("policy", result.run.policy)]
    shown += [(f"film {p.stem}", p) for p in sorted(result.run.films.glob("*.webm"), reverse=True)]
    for what, path in shown:
        _console.print(f"  {what:<12} {path}", soft_wrap=True)
    _console.print(
        f"\nNext: open the report in a browser; [bold]prefrl evaluate {root}[/]; "
        f"[bold]tensorboard --logdir {result.run.tensorboard}[/]; or train longer, as in\n"
        f"  prefrl train {config.env_id} --labels 700 --steps 1000000 --run runs/longer",
        soft_wrap=True,
    )


def _status(command: Status) -> None:
    _console.print(describe_run(RunDirectory.open(command.run)))


def _replay(command: Replay) -> None:
    run = RunDirectory.open(command.run)
    n_fits, different = 0, []
    for fit in replay_run(run):
        n_fits += 1
        _console.print(
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
    _console.print(f"{n_fits} of {n_fits} fits repeated exactly.")


def _evaluate(command: Evaluate) -> None:
    if command.episodes < 1:
        raise ConfigError(f"episodes must be at least 1, got {command.episodes}.")
    run = RunDirectory.open(command.run)
    if is_text(run):
        raise ConfigError(
            f"expected a run of an agent in an environment, but {run.root} is of a language model; "
            "its evaluation is in its summary.json and report."
        )
    config, agent, net = load_run(run)
    evaluation = run_episodes(
        agent,
        config.env_id,
        episodes=command.episodes,
        seed=command.seed,
        net=net,
        deterministic=not command.stochastic,
    )
    returns = evaluation.returns
    _console.print(
        f"{config.env_id}: true return {returns.mean():,.1f} ± {returns.std():,.1f} over "
        f"{len(returns)} episodes (lowest {returns.min():,.1f}, highest {returns.max():,.1f}); "
        f"correlation of predicted with true reward {evaluation.correlation:.2f}."
    )


def _report(command: Report) -> None:
    run = RunDirectory(command.run)
    write = write_text_report if run.config.is_file() and is_text(run) else write_report
    _console.print(str(write(run)), soft_wrap=True)


def _doctor(command: Doctor) -> None:
    for finding in examination.examine():
        mark = "[green]ok[/]  " if finding.works else "[yellow]look[/]"
        _console.print(f"{mark} {finding.what:<14} {finding.found}", soft_wrap=True)
        if finding.advice:
            _console.print(f"     {'':<14} {finding.advice}", soft_wrap=True)


_COMMANDS: dict[type, Callable[[Any], None]] = {
    Train: _train,
    Align: _align,
    Resume: _resume,
    Label: _label,
    Status: _status,
    Replay: _replay,
    Evaluate: _evaluate,
    Report: _report,
    Doctor: _doctor,
}
