"""``prefrl reward``: a run's learned reward, as a folder to use elsewhere."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tyro

from prefrl.commands.align import is_text
from prefrl.commands.console import console
from prefrl.control.learned.reward import load_reward
from prefrl.runtime.rundir import RunDirectory
from prefrl.text.saving import save_text_reward

__all__ = ["SaveReward", "save_reward"]


@dataclass(frozen=True)
class SaveReward:
    """Saves the newest reward of a run as a folder with tensors, their description, and a card.

    For a language model, each member is a subfolder for AutoModelForSequenceClassification.
    """

    run: tyro.conf.Positional[Path]
    """Directory of the run, finished or not."""
    output: Path
    """The folder to write: a new one."""


def save_reward(command: SaveReward) -> None:
    """Writes the folder, and prints how to use it."""
    run = RunDirectory(command.run)
    if run.config.is_file() and is_text(run):
        _save_text(run, command.output)
        return
    reward = load_reward(command.run)
    folder = reward.save(command.output)
    about = reward.about
    right = about.get("holdout_accuracy")  # None if it was never fitted
    accuracy = "" if right is None else f", right on {right:.0%} of those held out"
    console.print(
        f"{folder}: the reward of {about.get('env_id')}, from {about.get('labels')} comparisons"
        f"{accuracy}.\nUse it in Python: prefrl.load_reward({str(folder)!r})",
        markup=False,
        soft_wrap=True,
    )


def _save_text(run: RunDirectory, output: Path) -> None:
    members, about = save_text_reward(run, output)
    right = about.get("holdout_accuracy")
    is_known = isinstance(right, float) and right == right  # NaN if it was never fitted
    accuracy = f", right on {right:.0%} of those held out" if is_known else ""
    names = " ".join(map(str, members))
    console.print(
        f"{output}: {len(members)} reward models, from {about.get('labels', 0)} comparisons"
        f"{accuracy}.\nUse them with AutoModelForSequenceClassification, or as\n"
        f"  prefrl align MODEL --prompts FILE --labels 0 --reward-model {names}",
        markup=False,
        soft_wrap=True,
    )
