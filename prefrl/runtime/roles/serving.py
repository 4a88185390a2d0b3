"""The loops of the learner's and the labeller's processes."""

from __future__ import annotations

import csv
import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from prefrl.runtime.labeller import Labeller
from prefrl.runtime.people.presence import Attendance
from prefrl.runtime.roles.role import Heartbeat, StopSignal
from prefrl.runtime.rundir import RunDirectory
from prefrl.runtime.rundir.recent import newest_recent, tidy_recent

if TYPE_CHECKING:  # a labeller starts in half a second because it does not load torch
    from prefrl.runtime.learner import Recent, RewardLearner

__all__ = ["serve", "serve_labeller", "serve_learner"]

_log = logging.getLogger(__name__)
_SECONDS_BETWEEN_POLLS = 0.1


def serve(step: Callable[[], bool], stop: StopSignal) -> None:
    """Calls ``step`` until told to stop, and pauses after each step that found no work."""
    while not stop.requested:
        if not step():
            time.sleep(_SECONDS_BETWEEN_POLLS)


def serve_labeller(
    labeller: Labeller,
    heartbeat: Heartbeat,
    stop: StopSignal,
    *,
    people: Attendance | None = None,
) -> None:
    """Answers open queries until told to stop, except while people are at the page."""

    def step() -> bool:
        if people is not None and people.is_somebody_there():
            heartbeat.beat("leaving it to people", answered=labeller.n_answered)
            return False
        acknowledged = labeller.step(heartbeat.beat)
        for event in acknowledged:
            _log.info("acknowledged %s as event %d", event.submission_key, event.id)
        heartbeat.beat("answering" if acknowledged else "idle", answered=labeller.n_answered)
        return bool(acknowledged)

    serve(step, stop)


def serve_learner(
    make_learner: Callable[[Callable[[], bool]], RewardLearner],
    load_recent: Callable[[RunDirectory, int], Recent],
    run: RunDirectory,
    heartbeat: Heartbeat,
    stop: StopSignal,
) -> None:
    """Does due fits until told to stop, and removes the samples that no fit used.

    Args:
        make_learner: Makes the learner, given its ``go_on``.
        load_recent: Reads a sample by its number.
        run: The run.
        heartbeat: Publishes the role's state.
        stop: Tells it to stop.
    """

    def go_on() -> bool:
        heartbeat.beat("fitting")
        return not stop.requested

    learner = make_learner(go_on)
    learner.resume()
    used = _samples_used(run)

    def recent() -> Recent | None:
        heartbeat.beat("fitting")
        number = newest_recent(run)
        return load_recent(run, number) if number else None

    def step() -> bool:
        report = learner.step(recent, wanted=_wanted(run))
        heartbeat.beat("idle", version=learner.n_fits, labels=learner.n_answers)
        if report is not None:
            _log.info("reward version %d: %d labels", learner.n_fits, learner.n_answers)
            used.add(learner.n_sample)
            tidy_recent(run, used)
        return report is not None

    serve(step, stop)


def _wanted(run: RunDirectory) -> int:
    """Returns the number of answers to which the agent wants a fit; 0 before it has asked."""
    if not run.wanted.is_file():
        return 0
    return int(run.read_json(run.wanted)["answers"])


def _samples_used(run: RunDirectory) -> set[int]:
    """Returns the numbers of the samples that fits have used so far."""
    if not run.fits.is_file():
        return set()
    with run.fits.open(newline="") as file:
        return {int(row["recent"]) for row in csv.DictReader(file)}
