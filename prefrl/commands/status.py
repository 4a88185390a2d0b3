"""``prefrl status``: what a run's roles are doing, how old its reward is, how many labels wait."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import tyro
from rich.markup import escape
from rich.table import Table

from prefrl.commands.console import console
from prefrl.runtime.remote.courier import FINISHED
from prefrl.runtime.remote.places import media_url
from prefrl.runtime.roles.role import RoleStatus, read_status
from prefrl.runtime.rundir import RunDirectory
from prefrl.runtime.rundir.tables import last_row
from prefrl.runtime.rundir.tally import Tally, tally_of
from prefrl.runtime.rundir.troubles import steps_of, troubles_of

__all__ = ["Status", "describe_run", "status"]

_ROLES = {
    "synthetic": ("agent", "learner", "labeller"),
    "human": ("agent", "learner", "renderer", "viewer"),
    "mixed": ("agent", "learner", "labeller", "renderer", "viewer"),
    "ai": ("agent", "learner", "judge"),
}
_ALL_ROLES = (
    "agent", "learner", "labeller", "judge", "renderer", "viewer", "pages", "courier",
)  # fmt: skip
_NOT_FITTED = "not fitted yet: the agent does not learn"
_SAID_ELSEWHERE = {
    "answered", "away", "labels", "reward_version", "spent", "troubles", "unsaved", "version",
}  # fmt: skip
"""Values in the roles' status that have a line of their own, which may be newer."""
_SERVE_PEOPLE = ("renderer", "viewer", "judge", "pages", "courier")  # also after training has ended


@dataclass(frozen=True)
class Status:
    """Shows what each process of a run does, how fresh the reward is, and how many labels wait."""

    run: tyro.conf.Positional[Path]
    """Directory of the run."""


def status(command: Status) -> None:
    """Shows what a run is doing."""
    console.print(describe_run(RunDirectory.open(command.run, may_be_page=True)))


def describe_run(run: RunDirectory) -> Table:
    """Returns a table of a run's current state, from its files."""
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold")
    table.add_column()
    roles = _roles(run)
    for role, status in roles.items():
        is_over = run.summary.is_file() or (run.status / FINISHED).is_file()
        finished = is_over and role not in _SERVE_PEOPLE
        table.add_row(role, _describe(status, finished=finished))
    row, tally = last_row(run.metrics), tally_of(run)
    if row and "eval_loss" in row:
        table.add_row("loss", _describe_loss(row))
    elif "agent" in roles and "oracle" in run.read_json(run.config):
        method = run.read_json(run.config).get("method")
        learns_rewards = method in (None, "ppo", "grpo", "rloo", "raft", "best-of-n")
        if learns_rewards or tally.reward_version:
            table.add_row("reward", _describe_reward(row, tally))
        else:
            table.add_row(str(method), _describe_tuning(row))
    if run.has_labels:
        counts = tally.counts
        dropped = f", {row['dropped']:.0f} dropped" if row and row.get("dropped") else ""
        table.add_row(
            "labels",
            f"{counts.answered} answered, {counts.skipped} skipped, {counts.open} waiting{dropped}",
        )
    for text in _troubles(run):
        table.add_row("[yellow]trouble[/]", f"[yellow]{escape(text)}[/]")
    return table


def _troubles(run: RunDirectory) -> list[str]:
    """Returns what keeps a run from being saved, or its agent from learning."""
    steps = steps_of(run.read_json(run.config))
    found = troubles_of(run, total_steps=steps, finished=run.summary.is_file())
    return [trouble.text for trouble in found]


def _describe_reward(row: Mapping[str, float | int | str] | None, tally: Tally) -> str:
    if not tally.reward_version:
        return "no rollout has ended yet" if row is None else _NOT_FITTED
    told = f"version {tally.reward_version}"
    if row is None:
        return told
    steps = float(row.get("env_steps", row.get("responses", 0)))
    # An agent that was reset to a checkpoint may be behind the newest fit.
    told += f", {max(0, steps - tally.reward_steps):,.0f} steps old"
    if "reward_correlation" not in row:
        accuracy = float(row["holdout_accuracy"])
        return told if math.isnan(accuracy) else f"{told}, hold-out accuracy {accuracy:.2f}"
    return f"{told}, correlation with the true reward {float(row['reward_correlation']):.2f}"


def _describe_tuning(row: Mapping[str, float | int | str] | None) -> str:
    """Describes a method that learns from the answers directly, without a reward."""
    if row is None or math.isnan(float(row["update"])):
        return "learns from the answers themselves, once all are there"
    margin = row.get("rewards/margins")  # older runs have none
    told = f"loss {float(row['loss']):.3f}"
    told += "" if margin is None else f", margin {float(margin):.3f}"
    return f"{told} after {row['update']:,.0f} gradient steps on the answers themselves"


def _describe_loss(row: Mapping[str, float | int | str]) -> str:
    if not row["step"]:
        return "no step has been taken yet"
    return f"{float(row['loss']):.3f} after {row['examples']:,.0f} demonstrations"


def _roles(run: RunDirectory) -> dict[str, RoleStatus | None]:
    """Returns the latest status of a run's roles, and of others that were started beside it."""
    config = run.read_json(run.config)
    oracle = config.get("oracle", "")
    expected = set(_ROLES.get(oracle, _ROLES["synthetic"] if ":" in oracle else ()))
    if config.get("sync"):  # all in the agent's process
        expected &= {"agent"}
    if run.script.is_file():  # the script learns the reward itself
        expected.discard("learner")
    if "method" in config:  # texts are not filmed
        expected.discard("renderer")
    if media_url(run) is not None:
        expected.add("courier")
        if not run.page.is_file():  # people label elsewhere
            expected.discard("viewer")
    said = {role: read_status(run, role) for role in _ALL_ROLES}
    return {role: status for role, status in said.items() if status or role in expected}


def _describe(status: RoleStatus | None, *, finished: bool) -> str:
    if status is None:
        return "never started"
    numbers = {name: v for name, v in status.about.items() if name not in _SAID_ELSEWHERE}
    about = "  ".join(f"{name} {_plain(value)}" for name, value in numbers.items())
    silent = time.time() - status.beat_at
    if finished:
        state = "finished"
    elif not _alive(status.pid):
        state = f"[yellow]not running[/]; {silent:,.0f} s ago it was {status.state}"
    else:
        state = f"[green]{status.state}[/]"
        if silent > 5:
            state += f", silent for {silent:,.0f} s"
    return f"{state}  {about}".rstrip()


def _plain(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
