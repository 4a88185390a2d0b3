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
"""Called with what the agent says of itself; and while it waits for answers, how many there are."""


@contextlib.contextmanager
def running_beside(run: RunDirectory, roles: Sequence[RoleCommand]) -> Iterator[None]:
    """Runs roles until the block ends, for example while a run is evaluated.

    Args:
        run: Where they work.
        roles: What the run can do without: if one cannot go on, the others and the run do.
    """
    if not roles:
        yield
        return
    done = threading.Event()
    optional = [dataclasses.replace(role, essential=False) for role in roles]

    def keep() -> None:
        # The thread that starts a process must live as long: for the system it is the parent.
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
    """Runs one process per role until the agent is done, or it is told to stop.

    Args:
        run: Where they work.
        store: Its answers.
        roles: The agent first.
        labeller: Answers in this process, if one is to.
        on_rollout: Called with the newest row of metrics, when there is a new one.
        on_agent: Called with the agent's status, when it is new.
        stop: Ends it.

    Returns:
        Whether the training came to its end.

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
        run: Which run.
        store: Its answers.
        on_rollout: Called with the newest row of metrics, when there is a new one.
        on_agent: Called with the agent's status, when it is new.
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
        """Counts the answers while no row of metrics has them yet."""
        if status.state == WAITING_FOR_ANSWERS:
            with contextlib.suppress(StoreError):  # it is about this moment: the next one will do
                return self._store.counts()
        return None
