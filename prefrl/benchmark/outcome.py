"""The rows of a benchmark by arm and task, normalised where possible."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from prefrl.benchmark.statistics import Scores, normalised
from prefrl.benchmark.store import Row
from prefrl.benchmark.suite import Suite

__all__ = ["Outcome", "short_name"]


def short_name(task: str) -> str:
    """Returns a task's name without its module and namespace."""
    return task.rsplit("/", 1)[-1].rsplit(":", 1)[-1]


@dataclass(frozen=True)
class Outcome:
    """The finished trainings of a suite."""

    suite: Suite
    """The suite."""
    rows: Sequence[Row]
    """One per finished training."""

    @property
    def arms(self) -> list[str]:
        """Arms with a finished training, in the suite's order."""
        there = {row["arm"] for row in self.rows}
        return [arm for arm in self.suite.arms if arm in there]

    @property
    def tasks(self) -> list[str]:
        """Tasks with a finished training, in the suite's order."""
        there = {row["task"] for row in self.rows}
        return [task for task in self.suite.tasks if task in there]

    def of(self, arm: str, task: str) -> list[Row]:
        """Returns the rows of an arm on a task, sorted by seed."""
        found = [row for row in self.rows if row["arm"] == arm and row["task"] == task]
        return sorted(found, key=lambda row: int(row["seed"]))

    def column(self, arm: str, task: str, name: str) -> NDArray[np.float64]:
        """Returns a column of these rows, NaN where it is empty, shape (N,)."""
        return np.array([float(row[name] or "nan") for row in self.of(arm, task)])

    def reference(self, arm: str, task: str) -> str | None:
        """Finds the finished arm on the true reward that otherwise equals an arm; None without."""
        for other in self.arms:
            if self.suite.is_true(other) and self.of(other, task):
                if self.suite.agent_options(other) == self.suite.agent_options(arm):
                    return other
        return None

    def scale(self, arm: str, task: str) -> tuple[float, float] | None:
        """Mean returns of random play and of the reference.

        None if the reference is missing, or no better than random play: then nothing can be said.
        """
        reference = self.reference(arm, task)
        if reference is None:
            return None
        random = float(self.column(reference, task, "random_return").mean())
        true = float(self.column(reference, task, "return_mean").mean())
        return (random, true) if true > random else None

    def scores(self, arm: str) -> Scores:
        """Returns the normalised returns of an arm, on the tasks that have a scale."""
        found = {}
        for task in self.tasks:
            returns, scale = self.column(arm, task, "return_mean"), self.scale(arm, task)
            if returns.size and scale is not None:
                found[task] = normalised(returns, random=scale[0], true=scale[1])
        return found

    def shared_scores(self) -> dict[str, Scores]:
        """Scores of each arm on the tasks that all arms share; else easy tasks would decide."""
        all_scores = {arm: self.scores(arm) for arm in self.arms}
        all_scores = {arm: scores for arm, scores in all_scores.items() if scores}
        shared = [
            task for task in self.tasks if all(task in scores for scores in all_scores.values())
        ]
        return {arm: {task: scores[task] for task in shared} for arm, scores in all_scores.items()}

    def labels(self, arm: str) -> int:
        """Returns the number of comparisons of an arm; 0 on the true reward."""
        return max(int(row["labels"]) for row in self.rows if row["arm"] == arm)

    def curve(self, arm: str) -> str:
        """Name of an arm's curve: the options in which arms differ, except the number of labels."""
        options = {**self.suite.options, **self.suite.arms[arm]}
        varied = sorted(self._varied & set(options))
        return ", ".join(f"{name} {options[name]}" for name in varied)

    @property
    def _varied(self) -> set[str]:
        """Names of options that arms set, except labels and true_reward."""
        names = {name for options in self.suite.arms.values() for name in options}
        return names - {"labels", "true_reward"}
