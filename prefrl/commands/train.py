"""``prefrl train`` and ``prefrl extend``: agents in environments."""

from __future__ import annotations

import functools
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro

from prefrl.commands.console import console, errors
from prefrl.commands.page import PageConfig, page_for, serving
from prefrl.commands.progress import TrainingProgress
from prefrl.commands.stopping import show_stopped
from prefrl.control.config import TrainConfig, config_from_json, with_settings
from prefrl.control.films.drawing import begin_check
from prefrl.control.finish import Result
from prefrl.control.learned.to_label import check_has_agent
from prefrl.control.process import main as run_role
from prefrl.control.roles import role_command
from prefrl.control.train import extend as extend_training
from prefrl.control.train import extended_config
from prefrl.control.train import resume as resume_training
from prefrl.control.train import train as run_training
from prefrl.errors import ConfigError
from prefrl.runtime.roles.ahead import prepare
from prefrl.runtime.roles.parallel import check_alone
from prefrl.runtime.roles.supervisor import RoleCommand
from prefrl.runtime.rundir import RunDirectory
from prefrl.runtime.rundir.troubles import troubles_of

__all__ = [
    "NOTHING_LEARNED",
    "Extend",
    "Train",
    "extend_train",
    "resume_train",
    "start_train",
]

NOTHING_LEARNED = 3
"""The exit code of a training that finished without anything to learn from."""

_SECONDS_BETWEEN_LOOKS = 5.0


_READ = {
    "action": "observation and action",
    "transition": "observation, action and what came of them, since episodes end here",
}


@dataclass(frozen=True)
class Train:
    """Trains an agent from comparisons of clips."""

    config: Annotated[TrainConfig, tyro.conf.arg(name="")]
    """The training."""
    preset: Literal["auto", "control", "atari", "christiano-atari", "ibarz-atari"] = "auto"
    """Settings to start from; --help then shows them as defaults. auto takes atari if the
    environment shows pictures, else control; christiano-atari and ibarz-atari follow the papers."""
    from_file: Annotated[Path | None, tyro.conf.arg(name="config")] = None
    """A YAML file with options under the names shown here, such as "labels: 100". The command line
    overrides the file, and the file overrides the preset."""
    save_config: Path | None = None
    """Write the given options to a file for --config, and do nothing else."""
    page: PageConfig = field(default_factory=PageConfig)
    """The labelling page, where people answer."""


@dataclass(frozen=True)
class Extend:
    """Continues an agent's finished run for more steps, and if you like with more labels."""

    run: tyro.conf.Positional[Path]
    """Directory of the run."""
    steps: int
    """Environment steps to add."""
    labels: int = 0
    """Comparisons to ask for, beyond those that the run already had."""
    page: PageConfig = field(default_factory=PageConfig)
    """The labelling page, where people answer; options that you do not give stay as they were."""


def start_train(command: Train) -> None:
    """Trains an agent, and shows the result."""
    config = command.config
    if config.asks_people and not config.sync:
        _begin_ahead(config)
    page = page_for(command.page, asks_people=config.asks_people)
    asked = config.preferences
    config, settings = with_settings(config)
    console.print(f"agent: {settings.line}", style="dim", markup=False, soft_wrap=True)
    if asked.segment_length == "auto":
        length = config.preferences.segment_length
        console.print(f"segments: {length} steps each", style="dim", markup=False)
    if asked.net.inputs == "auto":
        console.print(f"reward: of a step's {_READ[config.preferences.net.inputs]}", style="dim")
    if n := config.env.processes:
        console.print(f"environments: in {n} processes", style="dim", markup=False)
    for note in settings.notes:
        errors.print(note, style="yellow", markup=False, soft_wrap=True)
    _work(functools.partial(run_training, config), config, page)


def _begin_ahead(config: TrainConfig) -> None:
    """Starts slow preparations in the background, so that people see the first pair sooner."""
    # Before there are threads. At the first optimiser, torch loads its compiler, for 2 seconds.
    for role, loads in (("agent", ["torch._dynamo"]), ("learner", [])):
        command = role_command(role, RunDirectory(config.run_path)).argv[:-1]
        prepare(command, run_role, loads=loads)
    begin_check(config.env_id, config.env)


def resume_train(run: RunDirectory, told: PageConfig) -> None:
    """Continues a training that was stopped, and shows the result."""
    config = config_from_json(run.read_json(run.config))
    run.check_unfinished()  # else its page would be prepared, and a link printed
    page = page_for(told, asks_people=config.asks_people, run=run)
    _work(functools.partial(resume_training, run), config, page)


def extend_train(command: Extend) -> None:
    """Extends a finished training, and shows the result."""
    run = open_agent_run(command.run, instead="begin another alignment with --init")
    config = extended_config(run, steps=command.steps, labels=command.labels)
    page = page_for(command.page, asks_people=config.asks_people, run=run)
    begin = functools.partial(extend_training, run, steps=command.steps, labels=command.labels)
    _work(begin, config, page)


def _work(begin: Callable[..., Result], config: TrainConfig, page: PageConfig | None) -> None:
    check_alone("prefrl train")
    asked = config.preferences
    budget = None if asked.labels_from else asked.labels  # there are others besides
    with TrainingProgress(config.steps, budget, console=console) as progress:

        def beside(run: RunDirectory) -> Sequence[RoleCommand]:
            roles = serving(page, run)  # prints its link, above the progress
            progress.start()
            return roles

        if page is None:
            progress.start()
        watch = _Watch(config, progress)
        result = begin(on_rollout=watch.update, on_agent=progress.hear, beside=beside)
    _show(config, result, progress)


class _Watch:
    """Shows progress, and warns once of each thing that keeps an agent from learning."""

    def __init__(self, config: TrainConfig, progress: TrainingProgress) -> None:
        self._config, self._progress = config, progress
        self._looked = time.monotonic()

    def update(self, row: Mapping[str, float | int | str]) -> None:
        """Shows a new row of metrics, and now and then looks for troubles."""
        self._progress.update(row)
        if time.monotonic() - self._looked < _SECONDS_BETWEEN_LOOKS:
            return
        self._looked = time.monotonic()
        run = RunDirectory.open(self._config.run_path)
        found = troubles_of(run, total_steps=self._config.steps, finished=False)
        self._progress.warn(found)


def _show(config: TrainConfig, result: Result, progress: TrainingProgress) -> None:
    if not result.finished:
        show_stopped(result.run)
        return
    from prefrl.report import write_report

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
    if config.evaluate_every is not None:
        shown.append(("policies", result.run.policies))
    shown += [(f"film {p.stem}", p) for p in sorted(result.run.films.glob("*.webm"), reverse=True)]
    for what, path in shown:
        console.print(f"  {what:<12} {path}", soft_wrap=True)
    console.print(
        f"\nNext: open the report in a browser; [bold]prefrl evaluate {root}[/]; "
        f"[bold]tensorboard --logdir {result.run.tensorboard}[/]; continue, or train another "
        "agent on the same answers, for example\n"
        f"  prefrl extend {root} --steps {config.steps} --labels 100\n"
        f"  prefrl train {config.env_id}{config.env.options} --labels-from {root} --labels 0 "
        f"--seed {config.seed + 1}",
        soft_wrap=True,
    )
    progress.warn(result.troubles)
    if not result.learned:
        errors.print("prefrl: nothing was learned.", style="red")
        sys.exit(NOTHING_LEARNED)


def open_agent_run(path: Path, *, instead: str) -> RunDirectory:
    """Opens the run of an agent.

    Args:
        path: Its directory.
        instead: Advice for the error if the run is of a language model.

    Raises:
        RunDirectoryError: If there is no run, or only pairs to label.
        ConfigError: If it is of a language model.
    """
    run = RunDirectory.open(path)
    config = run.read_json(run.config)
    check_has_agent(config)
    if "env_id" not in config:
        raise ConfigError(
            f"expected a run of an agent in an environment, but {run.root} is of a language model; "
            f"{instead}."
        )
    return run
