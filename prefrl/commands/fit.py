"""``prefrl fit``: a reward from existing comparisons, without an agent."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from prefrl.commands.console import console
from prefrl.control.learned.episodes import Drawing
from prefrl.control.learned.folder import check_new_folder
from prefrl.control.learned.offline import fit_reward
from prefrl.control.reward.config import RewardNetConfig
from prefrl.core.oracle import OracleConfig
from prefrl.core.trainer import FitConfig

__all__ = ["FitReward", "fit"]


@dataclass(frozen=True)
class FitReward:
    """Fits a reward to existing comparisons, and saves it as a folder."""

    data: tyro.conf.Positional[str]
    """A run; a file of pairs, .jsonl as prefrl export writes it or .npz with arrays; or
    minari:NAME, a Minari dataset whose rewards answer the drawn pairs."""
    output: Path
    """The folder to write: a new one, with the reward, a card, and a figure of its calibration."""
    env: str | None = None
    """The environment of the segments, such as HalfCheetah-v5; not needed for a run or a Minari
    dataset."""
    members: int = 3
    """Members of the reward ensemble."""
    net: RewardNetConfig = field(default_factory=RewardNetConfig)
    """What the reward nets look like."""
    fit: FitConfig = field(default_factory=FitConfig)
    """How they are fitted."""
    drawing: Annotated[Drawing, tyro.conf.arg(name="")] = field(default_factory=Drawing)
    """Which pairs are drawn from a dataset of Minari; any other source has its pairs."""
    teacher: OracleConfig = field(default_factory=OracleConfig)
    """Errors of the oracle that answers the pairs of a dataset."""
    seed: int = 0
    """Seed of everything random."""


def fit(command: FitReward) -> None:
    """Fits a reward, saves it, and prints how often it is right on held-out comparisons."""
    check_new_folder(command.output)  # before the work
    reward = fit_reward(
        command.data,
        command.env,
        members=command.members,
        net=command.net,
        fit=command.fit,
        drawing=command.drawing,
        teacher=command.teacher,
        seed=command.seed,
    )
    folder = reward.save(command.output)
    assert reward.report is not None  # it was fitted here
    right = reward.about["holdout_accuracy"]
    told = "none that says which side is better was held out"
    if not math.isnan(right):
        told = (
            f"right on {right:.1%} of those held out, calibration error "
            f"{reward.about['calibration_error']:.3f}"
        )
        held_out = reward.report.holdout_probability, reward.report.preference
        from prefrl.report.figures import calibration  # loads matplotlib
        from prefrl.report.tables import Evaluation

        evaluation = Evaluation(holdout_probability=held_out[0], holdout_preference=held_out[1])
        calibration(evaluation).savefig(folder / "calibration.png", dpi=100)
    console.print(
        f"{folder}: a reward from {reward.about['labels']:,} comparisons in "
        f"{reward.about['seconds']:.1f} s; {told}.\n"
        f"Train on it: prefrl train ENV --reward {folder} --labels 0",
        markup=False,
        soft_wrap=True,
    )
