"""The report of a benchmark: ``report.md`` with its figures, and the tables for a terminal."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from prefrl.benchmark.outcome import Outcome, short_name
from prefrl.benchmark.statistics import (
    Interval,
    improvement,
    interquartile_mean,
    mean_over_seeds,
)
from prefrl.benchmark.store import BenchmarkFolder
from prefrl.errors import NotEnoughDataError
from prefrl.runtime.rundir.writing import write_atomically

__all__ = ["Cells", "aggregate_table", "task_table", "write_benchmark_report"]

Cells = tuple[Sequence[str], Sequence[Sequence[str]]]
"""A table: column titles, and rows."""

_ABOUT = {
    "by_arm": "Interquartile mean over an arm's trainings, stratified bootstrap interval of 95 %.",
    "by_labels": "The same against the number of comparisons; the dashed line is the true reward.",
    "by_task": "Final return: each training a dot, the mean a bar.",
    "profiles": "Share of an arm's trainings above each score.",
    "by_accuracy": "Return against how well the learned reward ranks what its own agent does.",
}


def write_benchmark_report(folder: BenchmarkFolder) -> Path:
    """Writes report.md and its figures into the folder of a benchmark.

    Args:
        folder: Folder of a benchmark.

    Returns:
        The path of report.md.

    Raises:
        NotEnoughDataError: If no training is finished yet.
    """
    outcome = outcome_of(folder)
    parts = [f"# {outcome.suite.name}", outcome.suite.about, _what_is_there(outcome)]
    if (table := aggregate_table(outcome))[1]:
        parts += ["## Over all tasks", _SCORED, _markdown(table)]
    parts += _left_out(outcome)
    parts += ["## Task by task", _TASK_BY_TASK, _markdown(task_table(outcome))]
    from prefrl.benchmark.figures import FIGURES  # loads matplotlib

    for name, draw in FIGURES.items():
        figure = draw(outcome)
        path = folder.root / f"{name}.png"
        path.unlink(missing_ok=True)
        if figure is not None:
            figure.savefig(path)
            parts.append(f"![{_ABOUT[name]}]({path.name})\n\n{_ABOUT[name]}")
    path = folder.root / "report.md"
    write_atomically(path, ("\n\n".join(part for part in parts if part) + "\n").encode())
    return path


def outcome_of(folder: BenchmarkFolder) -> Outcome:
    """Returns the finished trainings so far.

    Raises:
        NotEnoughDataError: If there are none.
    """
    outcome = Outcome(folder.suite(), folder.rows())
    if not outcome.tasks or not outcome.arms:
        raise NotEnoughDataError(
            f"expected at least one training that is done, but {folder.results} has none; run "
            "prefrl benchmark first."
        )
    return outcome


_SCORED = (
    "A return is normalised so that random play has 0 and the same agent on the true reward, mean "
    "over its seeds, has 1. In brackets 95 % intervals of a stratified bootstrap over seeds, "
    "in which random play and the true reward are taken as known."
)
_TASK_BY_TASK = (
    "Mean return of the final policy's likeliest actions; ± is half of Student's 95 % interval "
    "over seeds. Score is the mean, normalised as above; sampled is the return of actions drawn "
    "from the policy; accuracy is the share of pairs of its segments that the learned reward ranks "
    "rightly."
)


def aggregate_table(outcome: Outcome) -> Cells:
    """Summarises each arm over all tasks that the arms share."""
    titles = ("trained on", "trainings", "interquartile mean", "mean", "beats the true reward")
    shared = outcome.shared_scores()
    rows = []
    for arm, scores in shared.items():
        if not scores:
            continue
        values = np.concatenate(list(scores.values()))
        true = outcome.reference(arm, next(iter(scores)))
        beats = "" if true in (None, arm) else _told(improvement(scores, shared[str(true)]))
        middle = _told(interquartile_mean(scores))
        rows.append((arm, str(values.size), middle, f"{values.mean():.2f}", beats))
    return titles, rows


def task_table(outcome: Outcome) -> Cells:
    """Lists all arms, task by task."""
    titles = (
        "task", "trained on", "return", "per seed", "score", "sampled", "accuracy",
        "wall time",
    )  # fmt: skip
    rows = []
    for task in outcome.tasks:
        for arm in outcome.arms:
            returns = outcome.column(arm, task, "return_mean")
            if not returns.size:
                continue
            mean, scale = mean_over_seeds(returns), outcome.scale(arm, task)
            half = f" ± {_number(mean.high - mean.value)}" if math.isfinite(mean.high) else ""
            share = ""
            if scale is not None and not outcome.suite.is_true(arm):
                share = f"{(mean.value - scale[0]) / (scale[1] - scale[0]):.0%}"
            accuracy = outcome.column(arm, task, "accuracy")
            known = accuracy[np.isfinite(accuracy)]
            rows.append(
                (
                    short_name(task),
                    arm,
                    f"{_number(mean.value)}{half}",
                    ", ".join(map(_number, returns)),
                    share,
                    _number(float(outcome.column(arm, task, "sampled_return_mean").mean())),
                    f"{known.mean():.2f}" if known.size else "",
                    f"{outcome.column(arm, task, 'wall_seconds').mean():,.0f} s",
                )
            )
    return titles, rows


def _what_is_there(outcome: Outcome) -> str:
    done, total = len(outcome.rows), len(outcome.suite.runs())
    seeds = sorted({int(row["seed"]) for row in outcome.rows})
    dates = sorted({row["date"] for row in outcome.rows})
    versions = sorted({row["version"] for row in outcome.rows})
    when = dates[0] if len(dates) == 1 else f"{dates[0]} to {dates[-1]}"
    some = "" if done >= total else " The others are not done yet."
    return (
        f"{done} of {total} trainings, seeds {', '.join(map(str, seeds))}, {when}, "
        f"prefrl {', '.join(versions)}.{some}"
    )


def _left_out(outcome: Outcome) -> list[str]:
    """Says which arms and tasks are left out of the aggregates, and why."""
    shared = outcome.shared_scores()
    said = []
    if arms := [arm for arm in outcome.arms if arm not in shared]:
        said.append(
            f"Not counted: {'; '.join(arms)}. No arm is done that learns from the true reward and "
            "is like these in all else, or it does no better than random play."
        )
    counted = next(iter(shared.values()), {})
    if shared and (tasks := [short_name(t) for t in outcome.tasks if t not in counted]):
        said.append(
            f"Not counted: {', '.join(tasks)}. An arm is not done there, or the agent does no "
            "better on the true reward than random play."
        )
    return said


def _told(interval: Interval) -> str:
    if not math.isfinite(interval.low):
        return f"{interval.value:.2f}"
    return f"{interval.value:.2f} [{interval.low:.2f}, {interval.high:.2f}]"


def _number(value: float) -> str:
    """Formats four digits, or all before the point if there are more; empty for no number."""
    if not math.isfinite(value):
        return ""
    if abs(value) >= 1000 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.4g}"


def _markdown(table: Cells) -> str:
    titles, rows = table
    lines = [titles, ["---"] * len(titles), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
