"""What is new in an asynchronous run, for whoever started it: metrics, and what the agent says."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from prefrl.core.store import Counts, LabelStore
from prefrl.errors import StoreError
from prefrl.runtime.partners import WAITING_FOR_ANSWERS
from prefrl.runtime.role import RoleStatus, read_status
from prefrl.runtime.rundir import RunDirectory, last_row

__all__ = ["News", "OnAgent"]

Metrics = dict[str, float | int | str]
OnAgent = Callable[[RoleStatus, Counts | None], None]
"""Called with what the agent says of itself; and while it waits for answers, how many there are."""


class News:
    """Looks at a run from outside.

    Args:
        run: Which run.
        store: Its answers.
        on_rollout: Called with the newest row of metrics, when there is a new one.
        on_agent: Called with what the agent says of itself, when that is new.
    """

    def __init__(
        self,
        run: RunDirectory,
        store: LabelStore,
        *,
        on_rollout: Callable[[Metrics], None],
        on_agent: OnAgent,
    ) -> None:
        self._run = run
        self._store = store
        self._on_rollout = on_rollout
        self._on_agent = on_agent
        self._shown = ""
        self._said: RoleStatus | None = None

    def tell(self) -> None:
        """Calls with what is new since the last time."""
        newest = last_row(self._run.metrics)
        if newest is not None and repr(newest) != self._shown:  # NaN is not equal to itself
            self._shown = repr(newest)
            self._on_rollout(newest)
        status = read_status(self._run, "agent")
        if status is not None and status != self._said:
            self._said = status
            self._on_agent(status, self._counts_if_waiting(status))

    def _counts_if_waiting(self, status: RoleStatus) -> Counts | None:
        """How many answers there are while no row of metrics says so."""
        if status.state == WAITING_FOR_ANSWERS:
            with contextlib.suppress(StoreError):  # it is about this moment: the next one will do
                return self._store.counts()
        return None
