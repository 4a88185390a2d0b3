"""Signs that a run cannot learn or be saved, from its files: for terminal, report and page."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prefrl.runtime.roles.role import Heartbeat, RoleStatus, read_status
from prefrl.runtime.rundir import RunDirectory
from prefrl.runtime.rundir.saving import unsaved_of

__all__ = ["Trouble", "about_saving", "steps_of", "tell_troubles", "troubles_of"]

_FEW, _SOME = 10, 20
_MOST_TIES = 0.8
_QUIET = 0.3  # share of the training after which missing labels are reported
_CONSTANT = 1e-6
_NO_CORRELATION = 0.05


@dataclass(frozen=True)
class Trouble:
    """A problem that keeps a run from learning, or from being saved."""

    kind: str
    """The kind of problem, without its figures."""
    text: str
    """What is wrong, and what to do about it."""
    is_fatal: bool
    """Whether the agent learns nothing as long as it lasts."""


def troubles_of(run: RunDirectory, *, total_steps: int | None, finished: bool) -> list[Trouble]:
    """Finds the problems that a run's files show, the worst first.

    Args:
        run: The run, which may be in progress.
        total_steps: Environment steps of the whole training; None for a language model, whose
            learning is not checked.
        finished: Whether the training is over, so that nothing that is missing will still come.

    Returns:
        The problems; empty if there are none, or too little is known yet.
    """
    found = [] if finished else about_saving(read_status(run, "agent"))
    found += _about_judge(read_status(run, "judge"), finished=finished)
    found += _about_guard(_rows(run.guard))
    if total_steps is not None:
        found += _about_learning(run, total_steps, finished=finished)
    return sorted(found, key=lambda trouble: not trouble.is_fatal)


def steps_of(config: Mapping[str, Any]) -> int | None:
    """Returns the environment steps of a training from its config; None for a language model."""
    steps = config.get("steps")
    return steps if "env_id" in config and isinstance(steps, int) else None


def about_saving(status: RoleStatus | None) -> list[Trouble]:
    """Finds out from the agent's newest status whether checkpoints cannot be written."""
    unsaved = unsaved_of(status)
    return [Trouble("unsaved", unsaved, is_fatal=False)] if unsaved else []


def _about_judge(status: RoleStatus | None, *, finished: bool) -> list[Trouble]:
    """Finds out from an AI judge's newest status whether it cannot continue."""
    if status is None:
        return []
    about = status.about
    if spent := about.get("spent"):
        left = "Open queries were skipped" if finished else "The run continues"
        return [
            Trouble(
                "judge spent",
                f"The judge's budget is used up: {spent}. {left}, without its answers.",
                is_fatal=False,
            )
        ]
    if (away := about.get("away")) and not finished:
        return [
            Trouble(
                "judge away",
                f"The judge cannot be reached: {away} prefrl keeps trying; meanwhile the agent "
                "uses the reward that it has.",
                is_fatal=False,
            )
        ]
    return []


def _about_guard(rows: list[dict[str, float]]) -> list[Trouble]:
    """Finds out whether the agent seems to over-optimise the learned reward."""
    tripped = [row for row in rows if row.get("tripped")]
    if not tripped:
        return []
    row = tripped[-1]
    told = _about_responses if "length" in row else _about_behaviour
    return [Trouble("guard", f"{told(row)} guard.csv has all checks.", is_fatal=False)]


def _about_responses(row: Mapping[str, float]) -> str:
    return (
        f"The policy may be over-optimising the learned reward: after {row['run_steps']:,.0f} "
        f"responses, the newest ones score {row['gain']:.1f} standard deviations more than the "
        "first ones, while the members of the ensemble disagree about them "
        f"{row['disagreement']:.1f} times as much. Read some of them. Give more labels (--labels, "
        "or --guard ask), or keep the policy closer to its start by a larger KL coefficient."
    )


def _about_behaviour(row: Mapping[str, float]) -> str:
    # An agent that has learned to run shows the same figures as one that exploits the reward.
    return (
        "Does the agent do what you want, or does it exploit the learned reward? After "
        f"{row['run_steps']:,.0f} steps its behaviour scores {row['gain']:.1f} standard deviations "
        "more than at first, while the members of the ensemble disagree about it "
        f"{row['disagreement']:.1f} times as much. Agents that learn well can show this, too: look "
        "at the films. If it does something else, give more labels (--labels, or --guard ask)."
    )


def tell_troubles(heartbeat: Heartbeat, run: RunDirectory, *, total_steps: int | None) -> None:
    """Puts the problems of a run into the agent's status, for the labelling page."""
    found = troubles_of(run, total_steps=total_steps, finished=False)
    heartbeat.beat(troubles=[trouble.text for trouble in found])


def _about_learning(run: RunDirectory, total_steps: int, *, finished: bool) -> list[Trouble]:
    rows, fits = _rows(run.metrics), _rows(run.fits)
    if not rows:
        return []
    has_begun = finished or rows[-1]["env_steps"] > _QUIET * total_steps
    found = [*_about_labels(run, rows[-1], fits, has_begun=has_begun), *_about_ties(fits)]
    if fits and not any(trouble.is_fatal for trouble in found):
        found += _about_reward(rows)
    return found


def _about_labels(
    run: RunDirectory, newest: dict[str, float], fits: list[dict[str, float]], *, has_begun: bool
) -> list[Trouble]:
    if fits or not has_begun:
        return []
    if newest["labels"]:
        return [
            Trouble(
                "never fitted",
                f"The reward was never fitted: none of {newest['labels']:.0f} answers prefers a "
                "clip, or the learner did not get to it. The agent has not learned anything. Check "
                "the answers with prefrl status, and learner.log in the run's folder.",
                is_fatal=True,
            )
        ]
    if newest["open"]:
        what = (
            "No answer reached the agent: it was faster than the labeller and the learner, which "
            "work beside it. Use more --steps, or --sync."
            if _is_synthetic(run)
            else f"{newest['open']:.0f} queries wait, and nobody has answered any: open the page "
            "with prefrl label, or use --oracle synthetic."
        )
    else:
        what = (
            "Nothing was asked, because the episodes gave too few segments. Use a shorter "
            "--segment-length, fewer --warmup-segments, or more --steps."
        )
    return [
        Trouble(
            "no labels",
            f"{what} Without labels the agent does not learn.",
            is_fatal=True,
        )
    ]


def _is_synthetic(run: RunDirectory) -> bool:
    """Whether a synthetic oracle answers all queries of a run."""
    return run.config.is_file() and run.read_json(run.config).get("oracle") == "synthetic"


def _about_ties(fits: list[dict[str, float]]) -> list[Trouble]:
    if not fits or "ties" not in fits[-1]:
        return []
    n, ties = fits[-1]["fitted"], fits[-1]["ties"]
    if n < _FEW or ties < _MOST_TIES * n or (ties < n and n < _SOME):
        return []
    everything = ties >= n
    so = "the reward is constant" if everything else "they teach little"
    return [
        Trouble(
            "ties",
            f"{ties:.0f} of {n:.0f} answers are ties, so {so}. Clips that look alike do not "
            "tell good from bad: use longer ones (--segment-length) that show what matters, or "
            "candidates from the whole history (--history-share 0.5).",
            is_fatal=everything,
        )
    ]


def _about_reward(rows: list[dict[str, float]]) -> list[Trouble]:
    scored = [row for row in rows if row["reward_version"]][-_SOME:]
    if len(scored) < _FEW:
        return []
    if all(row["predicted_reward_std"] < _CONSTANT for row in scored):
        return [
            Trouble(
                "constant",
                "The learned reward is the same whatever the agent does, so it has nothing to "
                "learn from. More labels, or longer clips (--segment-length), may show what is "
                "better.",
                is_fatal=True,
            )
        ]
    known = [c for row in scored if math.isfinite(c := row.get("reward_correlation", math.nan))]
    if len(known) >= _FEW and abs(sum(known) / len(known)) < _NO_CORRELATION:
        return [
            Trouble(
                "no correlation",
                "The learned reward has nothing to do with the true one: their correlation over "
                f"the newest {len(known)} rollouts is {sum(known) / len(known):.2f}. If you want "
                "the true reward, give more labels or longer clips. If people want something else, "
                "this is fine.",
                is_fatal=False,
            )
        ]
    return []


def _rows(path: Path) -> list[dict[str, float]]:
    """Returns all complete rows of a table; entries that are not numbers are left out."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError):
        return []
    whole = text[: text.rfind("\n") + 1].splitlines()
    return [
        {name: number for name, told in row.items() if (number := _number(told)) is not None}
        for row in csv.DictReader(whole)
    ]


def _number(told: str | None) -> float | None:
    try:
        return float(told or "")
    except ValueError:
        return None
