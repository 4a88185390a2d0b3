"""Repeating the reward learning of a run from its log: same answers, same samples, same weights."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass

import gymnasium as gym

from prefrl.control.config import config_from_json, devices_of
from prefrl.control.items import Items
from prefrl.control.preferences import step_reward
from prefrl.control.recent import load_recent
from prefrl.core.comparisons import Comparison
from prefrl.core.labels import resolve
from prefrl.core.store import LabelStore
from prefrl.errors import RunDirectoryError
from prefrl.runtime.devices import use_cpu
from prefrl.runtime.learner import fit_once, weights_hash
from prefrl.runtime.rundir import RunDirectory

__all__ = ["ReplayedFit", "replay_run"]


@dataclass(frozen=True)
class ReplayedFit:
    """One fit, done again."""

    number: int
    """Version of the reward."""
    labels: int
    """Answers that it was fitted to, skips included."""
    last_event: int
    """Id of the newest answer event that the learner had read."""
    same: bool
    """Whether the weights are those that the run had published."""


def replay_run(run: RunDirectory) -> Iterator[ReplayedFit]:
    """Does all fits of a run again.

    Args:
        run: An asynchronous run, finished or not. Numbers are the same on the same kind of device
            only.

    Yields:
        Each fit as soon as it is done.

    Raises:
        RunDirectoryError: If the run has no fits, or a sample that a fit used is missing.
        ConfigError: If the device that it asked for is not here.
    """
    if not run.fits.is_file():
        raise RunDirectoryError(
            f"expected fits to repeat in {run.fits}, found none; train until the first fit."
        )
    config = config_from_json(run.read_json(run.config))
    use_cpu(config.threads)
    env = gym.make(config.env_id)
    net = step_reward(env, config.preferences).to(devices_of(config)[1])
    env.close()
    learner, items = config.preferences.learner, Items(run, states=False)
    with LabelStore(run.labels) as store:
        events = store.events()
        queries = {query.id: query for query in store.queries()}
    l2: float | None = None
    with run.fits.open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        last_event = int(row["last_event"])
        current = resolve(event for event in events if event.id <= last_event).values()
        comparisons = [
            Comparison(queries[event.query_id], event.answer)
            for event in sorted(current, key=lambda event: event.id)
            if event.answer is not None
        ]
        report = fit_once(
            net,
            comparisons[-learner.newest :],
            items,
            load_recent(run, int(row["recent"])).items,
            config=learner.fit_for(
                len(comparisons[-learner.newest :]), is_first=int(row["fit"]) == 1
            ),
            seed=(config.seed, int(row["attempt"])),
            l2=l2,
        )
        l2 = report.l2
        same = weights_hash(net.state_dict()) == row["weights"]
        yield ReplayedFit(int(row["fit"]), len(comparisons), last_event, same)
