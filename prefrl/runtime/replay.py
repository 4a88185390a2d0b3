"""Repeats a run's reward learning from its log: same answers, same samples, same weights."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from prefrl.core.comparisons import Item, Judgement, Query
from prefrl.core.store import LabelStore
from prefrl.core.store.labels import LabelEvent
from prefrl.errors import RunDirectoryError
from prefrl.runtime.fitting import LearnedReward, fit_once, weights_hash
from prefrl.runtime.learner import LearnerConfig, Recent
from prefrl.runtime.people.strengths import Strengths, judgements_from, strengths_of
from prefrl.runtime.rundir import RunDirectory
from prefrl.runtime.rundir.weights import Weights, put_into

__all__ = ["ReplayedFit", "replay_fits"]


@dataclass(frozen=True)
class ReplayedFit:
    """One repeated fit."""

    number: int
    """Version of the reward."""
    labels: int
    """Answers that it was fitted to, skips included."""
    last_event: int
    """Id of the newest answer event that the learner had read."""
    same: bool
    """Whether the weights equal those that the run published."""


@dataclass(frozen=True)
class _LoggedFit:
    """A row of the log of fits."""

    number: int
    last_event: int
    recent: int
    attempt: int
    began_after: int
    weights: str


@dataclass(frozen=True)
class _Answers:
    """All answers in a store."""

    events: list[LabelEvent]
    """Their ids count from 1 without gaps."""
    queries: dict[str, Query]
    said: dict[int, str]
    strengths: Strengths

    def fitted(self, row: _LoggedFit, config: LearnerConfig) -> list[Judgement]:
        """Returns the answers that a fit used."""
        current = judgements_from(
            self.events[: row.last_event],
            self.queries,
            self.said,
            certainties=config.certainties,
            strengths=self.strengths,
        )
        return config.fitted(current)


def replay_fits(
    run: RunDirectory,
    make_reward: Callable[[], LearnedReward],
    items: Mapping[str, Item],
    *,
    config: LearnerConfig,
    seed: int,
    load_recent: Callable[[RunDirectory, int], Recent],
    first: Weights | None = None,
) -> Iterator[ReplayedFit]:
    """Repeats all fits of a run.

    Args:
        run: An asynchronous run, finished or not.
        make_reward: Makes the reward model as it was before any fit.
        items: The compared items by id.
        config: Settings of the learner.
        seed: Seed of every fit.
        load_recent: Reads a sample by its number.
        first: The reward that the run began with, if any.

    Yields:
        Each fit as soon as it is done.

    Raises:
        RunDirectoryError: If the run has no fits, or a sample or an answer that a fit used is
            missing or damaged.
    """
    logged, answers = _log_of(run), _answers_of(run)
    reward, began_after, l2 = make_reward(), 0, None
    for row in logged:
        if first is not None and row.number == 1:
            put_into(reward.module(), first)
            same = weights_hash(reward.module().state_dict()) == row.weights
            yield ReplayedFit(row.number, 0, 0, same)
            continue
        if row.began_after != began_after:
            # A new process began with the weights alone. Whatever else a model caches, such as the
            # features of items, may differ in the last bit, depending on earlier batches.
            weights, reward = reward.module().state_dict(), make_reward()
            reward.module().load_state_dict(weights)
            began_after = row.began_after
        _check_events(run, row, len(answers.events))
        fitted = answers.fitted(row, config)
        report = fit_once(
            reward,
            fitted,
            items,
            load_recent(run, row.recent).items,
            config=config.fit_for(len(fitted), is_first=row.number == 1),
            seed=(seed, row.attempt),
            l2=l2,
            calibrate_on=config.calibrate_on,
            standardize_on=config.standardize_on,
        )
        l2 = report.l2
        same = weights_hash(reward.module().state_dict()) == row.weights
        yield ReplayedFit(row.number, len(fitted), row.last_event, same)


def _check_events(run: RunDirectory, row: _LoggedFit, n: int) -> None:
    if row.last_event > n:
        raise RunDirectoryError(
            f"expected at least {row.last_event} answer events in {run.label_store}, which fit "
            f"{row.number} had read, got {n}; restore the answers from a backup."
        )


def _log_of(run: RunDirectory) -> list[_LoggedFit]:
    rows: list[dict[str, str]] = []
    if run.fits.is_file():
        with run.fits.open(newline="", encoding="utf-8", errors="replace") as file:
            rows = list(csv.DictReader(file))
    if not rows:
        raise RunDirectoryError(
            f"expected fits to repeat in {run.fits}, found none; train until the first fit."
        )
    try:
        return [_logged(row) for row in rows]
    except (KeyError, TypeError, ValueError) as error:
        raise RunDirectoryError(
            f"expected a row for each fit in {run.fits}, but {error}; restore the file from a "
            "backup of the run."
        ) from error


def _logged(row: Mapping[str, str]) -> _LoggedFit:
    return _LoggedFit(
        number=int(row["fit"]),
        last_event=int(row["last_event"]),
        recent=int(row["recent"]),
        attempt=int(row["attempt"]),
        began_after=int(row.get("began_after", 0)),  # unknown for older runs
        weights=row["weights"],
    )


def _answers_of(run: RunDirectory) -> _Answers:
    strengths = strengths_of(run)
    if not run.has_labels:
        return _Answers([], {}, {}, strengths)
    with LabelStore(run.label_store) as store:
        queries = {query.id: query for query in store.queries()}
        return _Answers(store.events(), queries, store.marks.strengths(), strengths)
