"""The agent's partners where people answer and the reward is learned in the agent's process."""

from __future__ import annotations

import time
from collections.abc import Callable

from prefrl.core.store import LabelStore
from prefrl.runtime.learner import RewardLearner
from prefrl.runtime.partners import WAITING_FOR_ANSWERS, Samples, Together, UsedReward
from prefrl.runtime.people.pace import Pace
from prefrl.runtime.questioner import Questioner

__all__ = ["WithPeople"]

_SECONDS_BETWEEN_LOOKS = 0.25


class WithPeople(Together):
    """Waits while too many queries are open, as ``Apart`` does, and does due fits meanwhile.

    Args:
        learner: Fits the same net that the agent's loop scores with.
        questioner: Chooses what to ask.
        samples: The agent's recent behaviour.
        store: Label store with people's answers.
        max_unanswered: Number of open queries above which the agent waits. Before the first fit it
            waits while any query is open: without a reward it learns nothing.
        waiting: Called at each update, and a few times a second while it waits, with what it waits
            for; None if it does not wait.
    """

    def __init__(
        self,
        learner: RewardLearner,
        questioner: Questioner,
        samples: Samples,
        *,
        store: LabelStore,
        max_unanswered: int,
        waiting: Callable[[str | None], None],
    ) -> None:
        super().__init__(None, learner, questioner, samples, keeps_samples=True)
        self.pace = self._pace = Pace(store)
        self._store = store
        self._max_unanswered = max_unanswered
        self._waiting = waiting

    def update(self, run_steps: int, *, asked: bool) -> UsedReward:
        """Does due fits, and waits for people if necessary."""
        self._waiting(None)
        used = super().update(run_steps, asked=asked)
        most = self._pace.bound(self._max_unanswered)
        while self._store.counts().open > (most if used.version else 0):
            self._waiting(WAITING_FOR_ANSWERS)
            time.sleep(_SECONDS_BETWEEN_LOOKS)
            used = self._fit(run_steps)
        self._pace.go_on()
        return used
