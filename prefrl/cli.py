"""The command line: the only module that wires parts together."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich.console import Console

from prefrl import doctor as examination
from prefrl.control.config import TrainConfig, config_from_json
from prefrl.control.evaluate import evaluate as run_episodes
from prefrl.control.finish import Result, load_run
from prefrl.control.replay import replay_run
from prefrl.control.train import resume as resume_training
from prefrl.control.train import train as run_training
from prefrl.errors import ConfigError, PrefrlError, RunDirectoryError
from prefrl.progress import TrainingProgress
from prefrl.report import write_report
from prefrl.runtime.rundir import RunDirectory
from prefrl.status import describe_run

__all__ = ["main"]

_console = Console(highlight=False)
_errors = Console(stderr=True, highlight=False)


@dataclass(frozen=True)
class Resume:
    """Goes on with a run that was stopped or killed."""

    run: tyro.conf.Positional[Path]
    """Directory of the run."""


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
    commands: Any = (
        Annotated[TrainConfig, tyro.conf.subcommand("train", description=_TRAIN)]
        | Annotated[Resume, tyro.conf.subcommand("resume")]
        | Annotated[Status, tyro.conf.subcommand("status")]
        | Annotated[Replay, tyro.conf.subcommand("replay")]
        | Annotated[Evaluate, tyro.conf.subcommand("evaluate")]
        | Annotated[Report, tyro.conf.subcommand("report")]
        | Annotated[Doctor, tyro.conf.subcommand("doctor")]
    )
    try:
        command = tyro.cli(
            commands,
            prog="prefrl",
            description="Deep reinforcement learning from human preferences.",
            args=arguments,
        )
        _COMMANDS[type(command)](command)
    except PrefrlError as error:
        _errors.print(f"prefrl: {error}", style="red", markup=False, soft_wrap=True)
        sys.exit(2)
    except KeyboardInterrupt:
        _errors.print("\nprefrl: stopped.", style="red")
        sys.exit(130)


_TRAIN = (
    "Trains an agent from comparisons of clips. It never sees the environment's reward: only the "
    "answers to which of two clips is better."
)


def _train(config: TrainConfig) -> None:
    with TrainingProgress(config.steps, config.preferences.labels, console=_console) as progress:
        result = run_training(config, on_rollout=progress.update)
    _show(config, result)


def _resume(command: Resume) -> None:
    run = RunDirectory.open(command.run)
    config = config_from_json(run.read_json(run.config))
    with TrainingProgress(config.steps, config.preferences.labels, console=_console) as progress:
        result = resume_training(run, on_rollout=progress.update)
    _show(config, result)


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
    config, agent, net = load_run(RunDirectory.open(command.run))
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
    _console.print(str(write_report(RunDirectory(command.run))), soft_wrap=True)


def _doctor(command: Doctor) -> None:
    for finding in examination.examine():
        mark = "[green]ok[/]  " if finding.works else "[yellow]look[/]"
        _console.print(f"{mark} {finding.what:<14} {finding.found}", soft_wrap=True)
        if finding.advice:
            _console.print(f"     {'':<14} {finding.advice}", soft_wrap=True)


_COMMANDS: dict[type, Callable[[Any], None]] = {
    TrainConfig: _train,
    Resume: _resume,
    Status: _status,
    Replay: _replay,
    Evaluate: _evaluate,
    Report: _report,
    Doctor: _doctor,
}
