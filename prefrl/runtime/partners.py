"""The agent's two partners, labeller and reward learner, in its process or in their own.

After each rollout the agent's loop asks its partners for the newest reward. ``Together`` lets them
work at that moment, which makes a run repeatable. ``Apart`` only reads what they have published in
the run directory: the agent continues while they work.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Protocol

import torch

from prefrl.core.ensemble import RewardModel
from prefrl.core.store import LabelStore
from prefrl.runtime.labeller import Labeller
from prefrl.runtime.learner import LearnerConfig, Recent, RewardLearner
from prefrl.runtime.people.pace import Pace, Patience
from prefrl.runtime.questioner import Questioner
from prefrl.runtime.rundir import RunDirectory
from prefrl.runtime.rundir.recent import newest_recent
from prefrl.runtime.rundir.weights import Weights, latest_weights, newest_version, put_into

__all__ = [
    "WAITING_FOR_ANSWERS",
    "Apart",
    "Partners",
    "Patience",
    "Samples",
    "Together",
    "UsedReward",
]

WAITING_FOR_ANSWERS = "waiting for answers"
"""The agent's state while it waits for people's answers."""

_log = logging.getLogger(__name__)
_WAITING_FOR_THE_LEARNER = "waiting for the reward learner"
_SECONDS_BETWEEN_LOOKS = 0.05
_SECONDS_BETWEEN_COUNTS = 0.25


@dataclass(frozen=True)
class UsedReward:
    """The reward that scores the next rollout."""

    version: int = 0
    """Its version; 0 before the first fit."""
    run_steps: int = 0
    """Steps of the run when the fit took its sample."""
    labels: int = 0
    """Answers that it was fitted to, skips included; in ``Together``, all queries asked by then."""
    fit_steps: int = 0
    """Gradient steps of the fit if it is new since the last update; else 0."""
    holdout_loss: float = math.nan
    """Hold-out loss of the fit."""
    holdout_accuracy: float = math.nan
    """Hold-out accuracy of the fit."""
    only_ties: bool = False
    """Whether all the answers that it was fitted to were ties."""

    @property
    def tells_nothing(self) -> bool:
        """Whether there is no reward yet, or only one that was fitted to nothing but ties.

        Such a reward is random: an agent that learned from it would stop exploring before it finds
        anything worth preferring.
        """
        return self.version == 0 or self.only_ties


class Samples(Protocol):
    """Samples of the agent's recent behaviour, over which the learner normalises."""

    @property
    def seconds_between(self) -> float:
        """Shortest time between two samples for a learner in another process, in seconds."""
        ...

    def take(self) -> Sequence[Any]:
        """Takes a sample; empty if there is no behaviour yet."""
        ...

    def save(self, number: int, items: Sequence[Any], *, run_steps: int) -> None:
        """Writes a sample to the run directory, for a learner in another process."""
        ...


class Partners(Protocol):
    """The two other roles, as the agent's loop uses them."""

    used: UsedReward
    """The reward in the agent's net."""
    pace: Pace | None
    """Estimates how fast people answer; None if nobody does."""

    def update(self, run_steps: int, *, asked: bool) -> UsedReward:
        """Updates the agent's reward net.

        Args:
            run_steps: Steps of the run so far: of environments, or responses.
            asked: Whether queries were just stored.

        Returns:
            The reward that the net holds now.
        """
        ...

    def settle(self, run_steps: int) -> bool:
        """Fits the reward to all answers so far, even if few are new, and loads it.

        Args:
            run_steps: Steps of the run so far: of environments, or responses.

        Returns:
            Whether this succeeded; False if it was told to give up.
        """
        ...

    def state_dict(self) -> dict[str, Any]:
        """The partners' state for the agent's checkpoint."""
        ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores a state, including the net's reward, if there is one."""
        ...


class Together:
    """Labeller and learner in the agent's process: after each rollout they answer and fit.

    Args:
        labeller: Answers the queries; None if others do.
        learner: Fits the same net that the agent's loop scores with.
        questioner: The agent's questioner; the learner uses only answers to its queries.
        samples: The agent's recent behaviour.
        keeps_samples: Whether to keep the samples that fits used in the run directory, so that the
            fits can be repeated.
    """

    def __init__(
        self,
        labeller: Labeller | None,
        learner: RewardLearner,
        questioner: Questioner,
        samples: Samples,
        *,
        keeps_samples: bool = False,
    ) -> None:
        self.labeller = labeller
        self.learner = learner
        self.used = UsedReward()
        """What the net holds."""
        self.pace: Pace | None = None
        """None, as no people answer; a subclass may let them."""
        self._questioner = questioner
        self._samples = samples
        self._keeps_samples = keeps_samples
        self._n_updates = 0

    def resume(self, n_updates: int) -> None:
        """Loads the reward that an earlier process has published, or else the first one.

        Args:
            n_updates: Number of updates of that process, or more; numbers the samples.
        """
        self._n_updates = n_updates
        self._take(self.learner.resume())

    def begin(self) -> None:
        """Loads the reward that the learner begins with, if there is one."""
        self._take(self.learner.begin())

    def _take(self, about: Mapping[str, Any] | None) -> None:
        if about is not None:
            self.used = UsedReward(
                version=self.learner.n_fits,
                run_steps=about["run_steps"],
                labels=about["labels"],
                holdout_loss=about["holdout_loss"],
                holdout_accuracy=about["holdout_accuracy"],
                only_ties=0 < about["labels"] <= about.get("ties", 0),
            )

    def update(self, run_steps: int, *, asked: bool) -> UsedReward:
        """Answers all open queries, and fits if a fit is due."""
        self._n_updates += 1
        while asked and self.labeller is not None and self.labeller.step():
            pass
        self.used = replace(self.used, fit_steps=0)
        return self._fit(run_steps)

    def settle(self, run_steps: int) -> bool:
        """Fits if any answer with a preference is new."""
        self._fit(run_steps, wanted=self.learner.n_fitted + 1)
        return True

    def _fit(self, run_steps: int, *, wanted: int = 0) -> UsedReward:
        taken: list[Any] = []

        def recent() -> Recent | None:
            taken.extend(self._samples.take())
            return Recent(self._n_updates, run_steps, taken) if taken else None

        report = self.learner.step(recent, known=self._questioner.asked, wanted=wanted)
        if report is not None:
            if self._keeps_samples:
                self._samples.save(self._n_updates, taken, run_steps=run_steps)
            self.used = UsedReward(
                version=self.learner.n_fits,
                run_steps=run_steps,
                labels=len(self._questioner.asked),
                fit_steps=report.steps,
                holdout_loss=report.holdout_loss,
                holdout_accuracy=report.holdout_accuracy,
                only_ties=self.learner.only_ties,
            )
        return self.used

    def state_dict(self) -> dict[str, Any]:
        """The state of the learner, and of the reward in use."""
        learner, used = self.learner.state_dict(), asdict(self.used)
        return {"learner": learner, "used": used, "n_updates": self._n_updates}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores a state."""
        self.learner.load_state_dict(state["learner"])
        self.used = UsedReward(**state["used"])
        self._n_updates = state["n_updates"]


class Apart:
    """Labeller and learner in separate processes: the agent reads what they have published.

    Args:
        run: The run directory in which the learner publishes.
        net: The agent's copy of the reward net; newer weights are loaded into it.
        questioner: The agent's questioner, which gets all queries in the store.
        store: Label store with the queries and answers.
        samples: The agent's recent behaviour, for the learner.
        config: The learner's settings, which say when a fit is due.
        patience: How long the agent continues before it waits.
        waiting: Called with the state while the agent waits; returns whether to give up.
    """

    def __init__(
        self,
        run: RunDirectory,
        net: RewardModel,
        questioner: Questioner,
        store: LabelStore,
        samples: Samples,
        *,
        config: LearnerConfig,
        patience: Patience,
        waiting: Callable[[str], bool],
    ) -> None:
        self.used = UsedReward()
        """The reward in the net."""
        self.pace = None if patience.max_unanswered is None else Pace(store)
        """Estimates how fast people answer; None if nobody does."""
        self._run = run
        self._net = net
        self._store = store
        self._samples = samples
        self._config = config
        self._patience = patience
        self._waiting = waiting
        self._n_fitted = 0
        self._due_since: int | None = None
        self._n_samples = newest_recent(run)
        self._next_sample = 0.0
        self._refused = 0
        # The store has the truth about what was asked, whatever a checkpoint says.
        questioner.recall(store.queries())

    def begin(self, first: Weights | None) -> None:
        """Loads the reward that the run begins with, if any, so that the first rollout has it."""
        if first is not None:
            put_into(self._net.module(), first)
            self.used = UsedReward(version=1)

    def state_dict(self) -> dict[str, Any]:
        """Empty: the partners keep their own state."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Loads the newest weights: the agent may need a reward before its first update."""
        self._take_newest()

    def update(self, run_steps: int, *, asked: bool) -> UsedReward:
        """Writes a sample for the learner, and loads the newest weights."""
        if asked or time.monotonic() >= self._next_sample:
            self._leave_sample(run_steps)
        self.used = replace(self.used, fit_steps=0)
        if self._take_newest():
            self._due_since = None
        if self.pace is not None and self._patience.max_unanswered is not None:
            self._hear_people(self.pace.bound(self._patience.max_unanswered))
            self.pace.go_on()
        self._stay_fresh(run_steps)
        return self.used

    def settle(self, run_steps: int) -> bool:
        """Waits until the learner has fitted the reward to all answers, and loads it."""
        self._leave_sample(run_steps)
        self._take_newest()
        counted, n_decided = None, 0
        while True:
            if (counts := self._store.counts()) != counted:
                # Counts as the learner does: every answer, also of several people to one query.
                decided = [c.preference is not None for _, c in self._store.comparisons()]
                counted, n_decided = counts, sum(decided)
                self._run.write_json(self._run.wanted, {"answers": n_decided})
            if n_decided <= self._n_fitted:
                return True
            if not self._take_newest():
                if self._waiting(_WAITING_FOR_THE_LEARNER):
                    return False
                time.sleep(_SECONDS_BETWEEN_LOOKS)

    def _leave_sample(self, run_steps: int) -> None:
        if recent := self._samples.take():
            self._n_samples += 1
            self._samples.save(self._n_samples, recent, run_steps=run_steps)
            self._next_sample = time.monotonic() + self._samples.seconds_between

    def _take_newest(self) -> bool:
        version = newest_version(self._run.reward) or 0
        if version <= max(self.used.version, self._refused):
            return False
        weights = latest_weights(self._run.reward)
        if weights.version <= self.used.version:  # the newer one is damaged
            self._refused = version
            return False
        if not all(bool(torch.isfinite(t).all()) for t in weights.tensors.values()):
            self._refuse(weights.version)
            return False
        put_into(self._net.module(), weights)
        about = weights.about
        self._n_fitted = about["fitted"]
        self.used = UsedReward(
            version=weights.version,
            run_steps=about["run_steps"],
            labels=about["labels"],
            fit_steps=about["steps"],
            holdout_loss=about["holdout_loss"],
            holdout_accuracy=about["holdout_accuracy"],
            # A reward that the run began with was fitted to no answers of this run.
            only_ties=0 < about["fitted"]
            and about.get("ties", 0) >= min(about["fitted"], self._config.newest),
        )
        return True

    def _refuse(self, version: int) -> None:
        """Keeps the reward in use. The learner checks its weights, so only damage leads here."""
        self._refused = version
        kept = self.used.version
        _log.warning("reward version %d is not finite: version %d stays.", version, kept)

    def _hear_people(self, max_unanswered: int) -> None:
        """Waits for people while too many queries are open.

        People take seconds for an answer, so otherwise the agent would finish before them. Before
        the first fit it waits while any query is open: without a reward it learns nothing.
        """
        while self._store.counts().open > (max_unanswered if self.used.version else 0):
            if self._waiting(WAITING_FOR_ANSWERS):
                return
            time.sleep(_SECONDS_BETWEEN_COUNTS)
            if self._take_newest():
                self._due_since = None

    def _stay_fresh(self, run_steps: int) -> None:
        """Waits for the learner if a fit has been due for too long; never waits for an answer."""
        if not self._config.is_due(self._store.counts().answered, self._n_fitted):
            self._due_since = None
            return
        if self._due_since is None:
            self._due_since = run_steps
        if not self._n_samples:
            return  # the learner cannot fit without one
        # Without a reward the agent learns nothing, so it always waits for the first fit.
        patience = self._patience.max_staleness if self.used.version else 0
        stale = run_steps - self._due_since
        if 0 < patience and stale <= patience:
            return
        _log.info("a fit has been due for %d steps: waiting for the reward learner", stale)
        while not self._take_newest():
            if self._waiting(_WAITING_FOR_THE_LEARNER):
                return
            time.sleep(_SECONDS_BETWEEN_LOOKS)
        self._due_since = None
