"""``prefrl evaluate``: an agent's episodes, or a language model's responses against others'."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich.table import Table

from prefrl.commands.align import is_text
from prefrl.commands.console import console, errors
from prefrl.commands.sft import is_sft
from prefrl.commands.train import open_agent_run
from prefrl.control.finish import load_run
from prefrl.control.policies.evaluate import evaluate as run_episodes
from prefrl.control.policies.kept import choose_policy
from prefrl.errors import ConfigError
from prefrl.report.text_page import write_text_report
from prefrl.runtime.judge.config import JudgeConfig
from prefrl.runtime.rundir import RunDirectory
from prefrl.text.config import align_config_from_json
from prefrl.text.evaluation import Comparing, compare_models
from prefrl.text.judging import responses_task

__all__ = ["Evaluate", "evaluate"]


@dataclass(frozen=True)
class Evaluate:
    """Evaluates an agent by episodes, or a language model by comparing it with others."""

    run: tyro.conf.Positional[Path]
    """Directory of the run; an agent's run may be unfinished."""
    checkpoint: str | None = None
    """Which policy of an agent. best: the best one evaluated during training (--evaluate-every).
    latest: the newest checkpoint, also of a stopped or running training. A number: the one kept at
    that step. By default the final policy, or if there is none the latest."""
    episodes: int = 10
    """Number of episodes, for an agent."""
    seed: int = 0
    """Seed of the environments, or of the responses."""
    stochastic: bool = False
    """Let the agent sample its actions instead of taking the most likely ones."""
    against: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    """For a language model: a model or a run to compare it with. Repeat the option for several. By
    default the model that the run started from."""
    gold: str | None = None
    """For a language model: what decides which response is better, as in prefrl align. By default
    the run's gold, or the judge."""
    judge: JudgeConfig = field(default_factory=JudgeConfig)
    """For a language model: the model that decides which response is better."""


def evaluate(command: Evaluate) -> None:
    """Evaluates a run of either kind, and prints the result."""
    run = RunDirectory.open(command.run)
    if is_sft(run):
        raise ConfigError(
            f"expected a run of prefrl train or align, but {run.root} learns from demonstrations; "
            "its evaluation is in its summary.json and report."
        )
    if is_text(run):
        _compare(command, run)
    else:
        if command.against or command.gold or command.judge.used:
            raise ConfigError(
                f"expected no --against, --gold or judge, as {run.root} is of an agent: it is "
                "evaluated on the true reward."
            )
        _run_agent(command)


def _compare(command: Evaluate, run: RunDirectory) -> None:
    config = align_config_from_json(run.read_json(run.config))
    task, gold = None, None
    if command.judge.used:
        if command.gold is not None:
            raise ConfigError("expected --gold or a judge, got both.")
        task = responses_task(command.judge, config.goal)
    else:
        gold = command.gold or config.gold_name
        if gold is None:
            raise ConfigError(
                "expected something that says which response is better, got nothing; give --gold, "
                "or --judge.url and --judge.model, or --judge.local."
            )
    comparing = Comparing(command.against, task, gold, command.seed)
    results = compare_models(
        run, comparing, told=lambda words: errors.print(words, style="dim", markup=False)
    )
    console.print(_table(results))
    console.print(f"  results  {run.root / 'comparison' / 'results.json'}", soft_wrap=True)
    console.print(f"  report   {write_text_report(run)}", soft_wrap=True)


def _table(results: Mapping[str, Any]) -> Table:
    by = results["config"]["judge"]
    table = Table(title=f"by {by}", title_justify="left", box=None, pad_edge=False)
    for name in ("", "win rate", "length-controlled", "n", "reward right", "ECE"):
        table.add_column(name)
    for task, n in results["n-samples"].items():
        told = results["results"][task]
        figures = [_interval(told, name) for name in ("win_rate", "length_controlled_win_rate")]
        ece = told.get("reward_ece,none")
        right = _interval(told, "reward_acc") if ece is not None else "-"
        n_kept = f"{n['effective']}" + (
            "" if n["effective"] == n["original"] else f" of {n['original']}"
        )
        table.add_row(
            task.removeprefix("win_rate_"),
            *figures,
            n_kept,
            right,
            "-" if ece is None else f"{ece:.2f}",
        )
    for task, told in results["results"].items():
        if task.startswith("elo_"):
            elo, low, high = (told[f"elo{end},none"] for end in ("", "_low", "_high"))
            table.add_row(f"Elo {task[4:]}", f"{elo:,.0f} [{low:,.0f}, {high:,.0f}]")
    return table


def _interval(told: Mapping[str, float], name: str) -> str:
    value, low, high = (told[f"{name}{end},none"] for end in ("", "_low", "_high"))
    return f"{value:.2f} ({low:.2f} to {high:.2f})"


def _run_agent(command: Evaluate) -> None:
    """Runs some episodes, and prints their returns."""
    if command.episodes < 1:
        raise ConfigError(f"episodes must be at least 1, got {command.episodes}.")
    run = open_agent_run(command.run, instead="compare it with others by --against")
    policy = choose_policy(run, command.checkpoint)
    config, agent, net = load_run(run, policy=policy)
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
    judged = "no reward has been learned yet."
    if net is not None:
        judged = f"correlation of predicted with true reward {evaluation.correlation:.2f}."
    console.print(
        f"{config.env_id}, {policy.name}: true return {returns.mean():,.1f} ± {returns.std():,.1f} "
        f"over {len(returns)} episodes{cut} (lowest {returns.min():,.1f}, highest "
        f"{returns.max():,.1f}); {judged}"
    )
