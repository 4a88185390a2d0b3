"""``prefrl train`` and ``evaluate``: agents in environments."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro

from prefrl.commands.console import console, errors
from prefrl.commands.page import PageConfig, page_for, serving
from prefrl.commands.progress import TrainingProgress
from prefrl.control.config import TrainConfig, config_from_json, with_settings
from prefrl.control.evaluate import evaluate as run_episodes
from prefrl.control.finish import Result, load_run
from prefrl.control.train import resume as resume_training
from prefrl.control.train import train as run_training
from prefrl.errors import ConfigError
from prefrl.report import write_report
from prefrl.runtime.parallel import check_alone
from prefrl.runtime.rundir import RunDirectory
from prefrl.runtime.supervisor import RoleCommand

__all__ = ["Evaluate", "Train", "evaluate_agent", "resume_train", "start_train"]


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


def start_train(command: Train) -> None:
    """Trains an agent, and shows what it came to."""
    config = command.config
    page = page_for(command.page, asks_people=config.asks_people)
    config, settings = with_settings(config)
    console.print(f"agent: {settings.line}", style="dim", markup=False, soft_wrap=True)
    for note in settings.notes:
        errors.print(note, style="yellow", markup=False, soft_wrap=True)
    _work(functools.partial(run_training, config), config, page)


def resume_train(run: RunDirectory, told: PageConfig) -> None:
    """Goes on with a training that was stopped, and shows what it came to."""
    config = config_from_json(run.read_json(run.config))
    page = page_for(told, asks_people=config.asks_people, run=run)
    _work(functools.partial(resume_training, run), config, page)


def _work(begin: Callable[..., Result], config: TrainConfig, page: PageConfig | None) -> None:
    check_alone("prefrl train")
    with TrainingProgress(config.steps, config.preferences.labels, console=console) as progress:

        def beside(run: RunDirectory) -> Sequence[RoleCommand]:
            roles = serving(page, run)  # its link stands above the progress, which begins then
            progress.start()
            return roles

        if page is None:
            progress.start()
        result = begin(on_rollout=progress.update, on_agent=progress.hear, beside=beside)
    _show(config, result)


def _show(config: TrainConfig, result: Result) -> None:
    if not result.finished:
        console.print(
            f"\nSaved and stopped. Go on with [bold]prefrl resume {result.run.root}[/].",
            soft_wrap=True,
        )
        return
    page = write_report(result.run)
    for note in result.notes:
        errors.print(note, style="yellow", markup=False, soft_wrap=True)
    summary, root = result.summary, result.run.root
    console.print(
        f"\n[bold]{summary['env_id']}[/]: true return "
        f"{round(summary['eval_return_before_mean']):,} before, "
        f"[bold green]{summary['eval_return_mean']:,.0f} ± "
        f"{summary['eval_return_std']:,.0f}[/] after, from {summary['labels']} labels and "
        f"{summary['env_steps']:,} steps in {summary['wall_seconds']:.0f} s.\n"
    )
    shown = [("report", page), ("policy", result.run.policy)]
    shown += [(f"film {p.stem}", p) for p in sorted(result.run.films.glob("*.webm"), reverse=True)]
    for what, path in shown:
        console.print(f"  {what:<12} {path}", soft_wrap=True)
    console.print(
        f"\nNext: open the report in a browser; [bold]prefrl evaluate {root}[/]; "
        f"[bold]tensorboard --logdir {result.run.tensorboard}[/]; or train longer, as in\n"
        f"  prefrl train {config.env_id}{config.env.options} --labels 700 --steps 1000000 "
        "--run runs/longer",
        soft_wrap=True,
    )


def evaluate_agent(command: Evaluate) -> None:
    """Runs some episodes, and says what they came to."""
    if command.episodes < 1:
        raise ConfigError(f"episodes must be at least 1, got {command.episodes}.")
    run = RunDirectory.open(command.run)
    if "env_id" not in run.read_json(run.config):
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
        max_steps=config.eval_max_steps,
        env=config.env,
    )
    returns = evaluation.returns
    cut = f", {evaluation.n_cut} of them cut" if evaluation.n_cut else ""
    console.print(
        f"{config.env_id}: true return {returns.mean():,.1f} ± {returns.std():,.1f} over "
        f"{len(returns)} episodes{cut} (lowest {returns.min():,.1f}, highest {returns.max():,.1f});"
        f" correlation of predicted with true reward {evaluation.correlation:.2f}."
    )
