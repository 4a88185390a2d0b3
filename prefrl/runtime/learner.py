"""The reward learner: reads answers, fits, and publishes, whatever the items are.

``RewardLearner.step`` does all the work. In a run with one process, the agent's loop calls it after
each rollout; otherwise a separate process does nothing else. Its state is in the label store and in
what it has published, so it may be killed at any time.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, get_args

from prefrl.core.comparisons import Item, Judgement
from prefrl.core.store import LabelStore
from prefrl.core.trainer import FitConfig, FitReport
from prefrl.errors import ConfigError, FitInterruptedError, NonFiniteError
from prefrl.runtime.answers import CurrentAnswers, n_with_preference
from prefrl.runtime.fitting import (
    CalibrateOn,
    LearnedReward,
    StandardizeOn,
    fit_once,
    weights_hash,
    what_is_not_finite,
)
from prefrl.runtime.people.strengths import strengths_of
from prefrl.runtime.people.votes import majority
from prefrl.runtime.rundir import RunDirectory
from prefrl.runtime.rundir.tables import CsvTable
from prefrl.runtime.rundir.weights import (
    Weights,
    latest_weights,
    newest_version,
    publish_weights,
    put_into,
)
from prefrl.runtime.rundir.writing import write_arrays

__all__ = ["LearnerConfig", "Recent", "RewardLearner"]

_log = logging.getLogger(__name__)
_MOST_FAILURES = 3

Row = dict[str, float | int | str]
"""A row of ``fits.csv``."""


@dataclass(frozen=True)
class LearnerConfig:
    """When the reward is fitted, and to what."""

    refit_growth: float = 0.05
    """Refit when the comparisons have grown by this share since the last fit."""
    newest: int = 10_000
    """Largest number of comparisons to fit to; the newest ones are used."""
    first_labels: int = 1
    """Comparisons before the first fit."""
    pretraining_epochs: int | None = None
    """Passes over the comparisons in the first fit, without an early stop; by default it is a fit
    as any other."""
    fit: FitConfig = field(default_factory=FitConfig)
    """How it is fitted."""
    calibrate_on: CalibrateOn = "newest"
    """What the reward has a mean and a standard deviation of its own over."""
    standardize_on: StandardizeOn = "newest"
    """What the inputs of the reward are standardised over."""
    slightly: float = 0.75
    """P(the chosen side is better) where a person said that it is only slightly better."""
    clearly: float = 1.0
    """The same if they said that it is clearly better."""
    majority: bool = False
    """Fit to what most people said of a pair; else to each answer."""

    def __post_init__(self) -> None:
        if self.calibrate_on not in get_args(CalibrateOn):
            raise ConfigError(
                f"expected calibrate_on to be one of {', '.join(get_args(CalibrateOn))}, got "
                f"{self.calibrate_on!r}."
            )
        if self.standardize_on not in get_args(StandardizeOn):
            raise ConfigError(
                f"expected standardize_on to be one of {', '.join(get_args(StandardizeOn))}, got "
                f"{self.standardize_on!r}."
            )
        for name in ("slightly", "clearly"):
            if not 0.5 <= getattr(self, name) <= 1:
                raise ConfigError(f"{name} must be in [0.5, 1], got {getattr(self, name)}.")
        if self.refit_growth < 0:
            raise ConfigError(f"refit_growth must not be negative, got {self.refit_growth}.")
        for name in ("newest", "first_labels", "pretraining_epochs"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"{name} must be at least 1, got {value}.")

    @property
    def certainties(self) -> dict[str, float]:
        """P(the chosen side is better) for each strength that people may name."""
        return {"slightly": self.slightly, "clearly": self.clearly}

    def fitted(self, current: list[Judgement]) -> list[Judgement]:
        """Selects the answers for a fit from all current ones, given in event order."""
        return self.counted(current)[-self.newest :]

    def counted(self, current: list[Judgement]) -> list[Judgement]:
        """Returns the answers themselves, or the majority's answer to each pair."""
        return majority(current) if self.majority else current

    def is_due(self, n_decided: int, n_fitted: int) -> bool:
        """Whether a fit is due.

        Args:
            n_decided: Number of answers with a preference.
            n_fitted: Number of them when the newest fit began.
        """
        needed = n_fitted + max(1, math.floor(self.refit_growth * n_fitted))
        return n_decided >= max(needed, self.first_labels)

    def fit_for(self, n_comparisons: int, *, is_first: bool) -> FitConfig:
        """Returns settings for a fit; the first may be longer, and starts from fresh parameters."""
        if not is_first:
            return self.fit
        if self.pretraining_epochs is None:
            return replace(self.fit, restart=True, anchor=False)
        steps = self.pretraining_epochs * math.ceil(n_comparisons / self.fit.batch_size)
        config = replace(self.fit, restart=True, anchor=False)
        return replace(config, min_steps=steps, max_steps=steps)


@dataclass(frozen=True)
class Recent:
    """A sample of the agent's recent behaviour."""

    number: int
    """Number of the sample, as in the log of fits."""
    run_steps: int
    """Steps of the run when it was taken: of environments, or responses."""
    items: Sequence[Item]
    """The items of the sample."""


class RewardLearner:
    """Fits the reward to the answers in a store and publishes it.

    Args:
        model: The ensemble; changed in place.
        store: Label store with the answers.
        items: The compared items by id.
        config: Settings.
        seed: Seed of every fit, so that the reward changes with the answers and not by chance.
        run: The run directory for weights and tables; ``resume`` continues from what was published
            there. None keeps everything in memory.
        first: A reward to begin with, which becomes version 1.
        go_on: Called after each gradient step; False ends the fit, which is then not published.
    """

    def __init__(
        self,
        model: LearnedReward,
        store: LabelStore,
        items: Mapping[str, Item],
        *,
        config: LearnerConfig,
        seed: int,
        run: RunDirectory | None = None,
        first: Weights | None = None,
        go_on: Callable[[], bool] = lambda: True,
    ) -> None:
        self.model = model
        self.report: FitReport | None = None
        """Report of the newest fit in this process."""
        self.n_fits = 0
        """Number of fits so far, which is the version of the reward."""
        self.n_fitted = 0
        """Number of answers with a preference when the newest fit began."""
        self.n_sample = 0
        """Number of the sample that the newest fit used."""
        self.only_ties = False
        """Whether the newest fit had only ties."""
        self._items = items
        self._config = config
        self._seed = seed
        self._run = run
        self._first = first
        self._go_on = go_on
        self._answers = CurrentAnswers(
            store,
            newest=config.newest,
            by_query=config.majority,
            certainties=config.certainties,
            strengths=strengths_of(run),
        )
        self._nothing_due = False
        self._l2: float | None = None
        self._n_failures = 0
        self._began_after = 0
        self._fits: CsvTable | None = None

    @property
    def n_answers(self) -> int:
        """Number of current answers read from the store, skips included."""
        return len(self._answers)

    def begin(self) -> Mapping[str, Any] | None:
        """Loads the reward that the run begins with and returns its row; None if there is none.

        Publishes it unless an earlier process has already published a reward.
        """
        if self._first is None:
            return None
        put_into(self.model.module(), self._first)
        self.n_fits = 1
        row: Row = {
            "fit": self.n_fits,
            "run_steps": 0,
            "labels": 0,
            "fitted": 0,
            "ties": 0,
            "steps": 0,
            "train_loss": math.nan,
            "holdout_loss": math.nan,
            "holdout_accuracy": math.nan,
            "l2": self._config.fit.l2,
            "seconds": 0.0,
            "last_event": 0,
            "recent": 0,
            "attempt": 0,
            "began_after": 0,
            "weights": weights_hash(self.model.module().state_dict()),
        }
        if self._run is not None and newest_version(self._run.reward) is None:
            self._publish(row, None)
        return row

    def resume(self) -> Mapping[str, Any] | None:
        """Loads the newest published reward, or the first one; returns its row, if there is one."""
        if self._run is None or newest_version(self._run.reward) is None:
            return self.begin()
        weights = latest_weights(self._run.reward)
        put_into(self.model.module(), weights)
        row = weights.about
        self.n_fits, self.n_fitted, self._l2 = weights.version, row["fitted"], row["l2"]
        self._began_after = self.n_fits
        # Weights are published before their row is written, so only this row may be missing.
        self._fits = CsvTable(self._run.fits, keep=self.n_fits - 1)
        self._fits.append(row)
        return row

    def step(
        self,
        recent: Callable[[], Recent | None],
        *,
        known: Container[str] | None = None,
        wanted: int = 0,
    ) -> FitReport | None:
        """Reads new answers, and fits if there are enough of them.

        Args:
            recent: Returns a sample of the agent's recent behaviour; None if there is none yet.
            known: Ids of the queries that exist at this moment of the run; None takes all. Answers
                to others are left for later: after a resume, the store may have answers to queries
                that the run has yet to ask again.
            wanted: Fits also once there are this many answers with a preference, if the newest fit
                had fewer, even if few are new.

        Returns:
            The report of the fit; None if there was none.

        Raises:
            NonFiniteError: If several fits in a row give NaN or infinite numbers.
        """
        is_quiet = self._nothing_due and wanted <= self.n_fitted
        if not self._answers.read() and known is None and is_quiet:
            return None  # so that the cost of a poll does not grow with the number of answers
        comparisons = self.comparisons(known)
        n_decided = self._answers.n_forgotten + n_with_preference(comparisons)
        self._nothing_due = not self._config.is_due(n_decided, self.n_fitted)
        if self._nothing_due and not self.n_fitted < wanted <= n_decided:
            return None
        sample = recent()
        if sample is None:
            return None
        return self._fit(self._config.fitted(comparisons), n_decided, sample)

    def comparisons(self, known: Container[str] | None = None) -> list[Judgement]:
        """Returns the current answers to known queries, in the order of their events."""
        return self._answers.judgements(known)

    def _fit(
        self, comparisons: Sequence[Judgement], n_decided: int, sample: Recent
    ) -> FitReport | None:
        started = time.monotonic()
        before = {name: t.clone() for name, t in self.model.module().state_dict().items()}
        try:
            report = fit_once(
                self.model,
                comparisons,
                self._items,
                sample.items,
                config=self._config.fit_for(len(comparisons), is_first=self.n_fits == 0),
                seed=(self._seed, self._n_failures),
                l2=self._l2,
                go_on=self._go_on,
                calibrate_on=self._config.calibrate_on,
                standardize_on=self._config.standardize_on,
            )
        except FitInterruptedError:
            self.model.module().load_state_dict(before)
            return None
        if trouble := what_is_not_finite(self.model, report):
            self.model.module().load_state_dict(before)
            self._fail(trouble, sample)
            return None
        self.n_fits += 1
        self.n_fitted, self.n_sample = n_decided, sample.number
        self._l2, self.report = report.l2, report
        self.only_ties = all(c.preference in (None, 0.5) for c in comparisons)
        row: Row = {
            "fit": self.n_fits,
            "run_steps": sample.run_steps,
            "labels": len(comparisons),
            "fitted": n_decided,
            "ties": sum(c.preference == 0.5 for c in comparisons),
            "steps": report.steps,
            "train_loss": report.train_loss,
            "holdout_loss": report.holdout_loss,
            "holdout_accuracy": report.holdout_accuracy,
            "l2": report.l2,
            "seconds": time.monotonic() - started,
            "last_event": self._answers.cursor,
            "recent": sample.number,
            "attempt": self._n_failures,
            "began_after": self._began_after,
            "weights": weights_hash(self.model.module().state_dict()),
        }
        self._n_failures = 0
        self._publish(row, report)
        return report

    def _publish(self, row: Row, report: FitReport | None) -> None:
        if self._run is None:
            return
        if report is not None:
            write_arrays(
                self._run.holdout,
                {"probability": report.holdout_probability, "preference": report.preference},
            )
        publish_weights(self._run.reward, self.n_fits, self.model.module().state_dict(), about=row)
        if self._fits is None:
            self._fits = CsvTable(self._run.fits, keep=self.n_fits - 1)
        self._fits.append(row)

    def _fail(self, trouble: str, sample: Recent) -> None:
        self._n_failures += 1
        _log.warning("fit %d: %s; the reward stays as it was.", self.n_fits + 1, trouble)
        if self._n_failures == _MOST_FAILURES:
            if self._run is not None:
                told = {"role": "learner", "fit": self.n_fits + 1, "trouble": trouble}
                told |= {"recent": sample.number, "last_event": self._answers.cursor}
                self._run.write_json(self._run.dump("learner"), told)
            raise NonFiniteError(
                f"expected finite numbers from fit {self.n_fits + 1}, but {_MOST_FAILURES} times "
                f"{trouble}; look for huge or missing numbers in observations, or lower "
                "fit.learning_rate."
            )

    def state_dict(self) -> dict[str, Any]:
        """The state for a checkpoint of a run in one process."""
        return {
            "model": dict(self.model.module().state_dict()),
            "n_fits": self.n_fits,
            "n_fitted": self.n_fitted,
            "n_failures": self._n_failures,
            "l2": self._l2,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores a state; the next step reads all answers from the store again."""
        self.model.module().load_state_dict(state["model"])
        self.n_fits, self.n_fitted = state["n_fits"], state["n_fitted"]
        self._began_after = self.n_fits
        self._n_failures, self._l2 = state["n_failures"], state["l2"]
        self._answers.clear()
        self._fits, self._nothing_due = None, False
