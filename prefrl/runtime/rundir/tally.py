"""Number of labels and newest reward version of a run: one count for status, page and report."""

from __future__ import annotations

from dataclasses import dataclass

from prefrl.core.store import Counts, LabelStore
from prefrl.runtime.rundir import RunDirectory
from prefrl.runtime.rundir.weights import newest_published

__all__ = ["Tally", "tally_of"]


@dataclass(frozen=True)
class Tally:
    """Counts from the label store and the published weights at one moment.

    The run's tables are older: each row has what the agent knew at the end of a rollout.
    """

    counts: Counts
    """Counts of open, answered and other queries."""
    reward_version: int
    """Version of the newest reward; 0 before the first fit."""
    reward_steps: int
    """Steps of the run when that reward was fitted: of environments, or responses."""

    @property
    def labels(self) -> int:
        """Number of queries with an answer, skips included."""
        return self.counts.answered + self.counts.skipped


def tally_of(run: RunDirectory) -> Tally:
    """Counts the labels of a run, even while it is running.

    Raises:
        StoreError: If the label store cannot be read.
    """
    counts = Counts(queries=0, answered=0, skipped=0, open=0)
    if run.has_labels:
        with LabelStore(run.label_store) as store:
            counts = store.counts()
    version, about = newest_published(run.reward)
    return Tally(counts, version, int(about.get("run_steps", 0)))
