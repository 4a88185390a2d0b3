"""How many comparisons should have been asked for so far."""

from __future__ import annotations

from prefrl.control.preferences import PreferenceConfig
from prefrl.runtime.partners import UsedReward

__all__ = ["LabelBudget"]


class LabelBudget:
    """The label budget of a training: how many labels are due when.

    Args:
        config: How many, and when.
        n_steps: Environment steps of the whole training.
        steps_between: Environment steps between two chances to ask.
        n_taken: Queries that were answered before the training; they do not count towards the
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
        """Queries that should exist by now, including those answered before the training.

        Args:
            step: Environment steps since the training began.
            used: The reward that the agent has.
            shows_endings: Whether any segment so far shows how an episode ended.
        """
        if self._schedule is None or (self._n_taken and not used.version):
            return self._n_taken  # what is known already is fitted first
        due = self._schedule.due(step)
        if used.only_ties and not shows_endings:
            # Nothing tells the clips apart so far: half of the labels wait for what does.
            due = min(due, self._n_labels // 2)
        return self._n_taken + due

    def ahead(self, due: int, *, answered: int, wanted: int) -> int:
        """Queries that should exist by now if people answer faster than queries fall due.

        Args:
            due: As ``due`` says.
            answered: Queries that have an answer.
            wanted: How many without an answer keep people busy.
        """
        in_all = self._n_taken + self._n_labels
        return max(due, min(in_all, answered + wanted)) if self._asks_ahead else due
