"""An asynchronous run, seen from the command that started it: its roles and their progress."""

from __future__ import annotations

import contextlib
import dataclasses
import threading
from collections.abc import Callable, Iterator, Sequence

from prefrl.core.store import Counts, LabelStore
from prefrl.errors import StoreError
from prefrl.runtime.labeller import Labeller
from prefrl.runtime.partners import WAITING_FOR_ANSWERS
from prefrl.runtime.roles.role import RoleStatus, StopSignal, read_status
from prefrl.runtime.roles.supervisor import RoleCommand, Supervisor
from prefrl.runtime.rundir import RunDirectory
from prefrl.runtime.rundir.tables import Metrics, last_row

__all__ = ["OnAgent", "running_beside", "work_side_by_side"]

OnAgent = Callable[[RoleStatus, Counts | None], None]
"""Called with the agent's status and, while it waits for answers, the counts of queries."""


@contextlib.contextmanager
def running_beside(run: RunDirectory, roles: Sequence[RoleCommand]) -> Iterator[None]:
    """Runs roles until the block ends, for example while a run is evaluated.

    Args:
        run: The run directory.
        roles: Roles that the run does not need: if one cannot go on, the run and the others do.
    """
    if not roles:
        yield
        return
    done = threading.Event()
    optional = [dataclasses.replace(role, essential=False) for role in roles]

    def keep() -> None:
        # The thread that starts a process must outlive it: to Linux, this thread is the parent.
        with Supervisor(run, optional) as supervisor:
            supervisor.watch(poll=done.is_set)
            done.wait()

    keeper = threading.Thread(target=keep, name="beside")
    keeper.start()
    try:
        yield
    finally:
        done.set()
        keeper.join()


def work_side_by_side(
    run: RunDirectory,
    store: LabelStore,
    roles: Sequence[RoleCommand],
    *,
    labeller: Labeller | None,
    on_rollout: Callable[[Metrics], None],
    on_agent: OnAgent,
    stop: StopSignal,
) -> bool:
    """Runs one process per role until the agent is done, or until told to stop.

    Args:
        run: The run directory.
        store: Label store of the run.
        roles: The roles, with the agent first.
        labeller: Answers queries in this process; None if no labeller should.
        on_rollout: Called with the newest row of metrics whenever there is a new one.
        on_agent: Called whenever the agent's status has changed.
        stop: Tells it to stop.

    Returns:
        Whether the agent has finished the training.

    Raises:
        RoleError: If a role cannot go on.
    """
    news = _News(run, store, on_rollout=on_rollout, on_agent=on_agent)

    def poll() -> bool:
        news.tell()
        if labeller is not None:
            labeller.step()
        return stop.requested

    with Supervisor(run, roles) as supervisor:
        is_done = supervisor.watch(poll=poll)
    return is_done or supervisor.ended_well


class _News:
    """Reads the progress of a run from its files.

    Args:
        run: The run directory.
        store: Label store of the run.
        on_rollout: Called with the newest row of metrics whenever there is a new one.
        on_agent: Called whenever the agent's status has changed.
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
        """Calls back with what is new since the last call."""
        newest = last_row(self._run.metrics)
        if newest is not None and repr(newest) != self._shown:  # NaN is not equal to itself
            self._shown = repr(newest)
            self._on_rollout(newest)
        status = read_status(self._run, "agent")
        if status is not None and status != self._said:
            self._said = status
            self._on_agent(status, self._counts_if_waiting(status))

    def _counts_if_waiting(self, status: RoleStatus) -> Counts | None:
        """Counts the queries while the agent waits for answers, as no row of metrics does."""
        if status.state == WAITING_FOR_ANSWERS:
            with contextlib.suppress(StoreError):  # the next status will bring newer counts
                return self._store.counts()
        return None
