"""How many comparisons should have been asked for at any step."""

from __future__ import annotations

from prefrl.control.preferences import PreferenceConfig
from prefrl.runtime.partners import UsedReward

__all__ = ["LabelBudget"]


class LabelBudget:
    """The label budget of a training: how many labels are due at which step.

    Args:
        config: Settings with the number of labels and their schedule.
        n_steps: Environment steps of the whole training.
        steps_between: Environment steps between two chances to ask.
        n_taken: Number of queries answered before the training, which do not count towards the
            budget.
    """

    def __init__(
        self, config: PreferenceConfig, n_steps: int, *, steps_between: int, n_taken: int
    ) -> None:
        self._n_labels, self._n_taken = config.labels, n_taken
        self._asks_ahead = config.ask_ahead
        self._schedule = (
            config.label_schedule(n_steps, steps_between=steps_between) if config.labels else None
        )

    def due(self, step: int, used: UsedReward, *, shows_endings: bool) -> int:
        """Returns how many queries should exist, including those answered before the training.

        Args:
            step: Environment steps since the training began.
            used: The agent's present reward.
            shows_endings: Whether any segment so far shows how an episode ended.
        """
        if self._schedule is None or (self._n_taken and not used.version):
            return self._n_taken  # the existing answers are fitted first
        due = self._schedule.due(step)
        if used.only_ties and not shows_endings:
            # Nothing has told clips apart so far, so half of the labels wait until something does.
            due = min(due, self._n_labels // 2)
        return self._n_taken + due

    def ahead(self, due: int, *, answered: int, wanted: int) -> int:
        """Returns how many queries should exist if people answer faster than queries fall due.

        Args:
            due: Number of queries that are due, from ``due``.
            answered: Number of queries with an answer.
            wanted: Number of open queries that keeps people busy.
        """
        in_all = self._n_taken + self._n_labels
        return max(due, min(in_all, answered + wanted)) if self._asks_ahead else due
