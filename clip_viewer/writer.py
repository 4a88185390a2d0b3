"""The only thread that writes to the store: answers of several people share one commit.

A commit costs the same for one answer as for fifty, and is most of the cost of an answer. Answers
that arrive during a commit go into the next one.
"""

from __future__ import annotations

import asyncio
import itertools
import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, TypeVar

from prefrl.core.store import LabelStore
from prefrl.core.store.labels import LabelEvent, Submission
from prefrl.errors import StoreError, StoreUnavailableError

__all__ = ["Writer"]

_T = TypeVar("_T")
_MOST_TOGETHER = 64


@dataclass(eq=False)
class _Job:
    """Answers to store, or another operation on the store."""

    submissions: Sequence[Submission] = ()
    function: Callable[[LabelStore], Any] | None = None
    future: Future[Any] = field(default_factory=Future)


class Writer:
    """Writes in the order of the requests.

    Args:
        store: The store.
    """

    def __init__(self, store: LabelStore) -> None:
        self._store = store
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="writer", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Writes what is queued, and stops."""
        self._jobs.put(None)
        self._thread.join()

    async def submit(self, submissions: Sequence[Submission]) -> list[LabelEvent]:
        """Stores all of the answers or none; they are on disk when this returns.

        Raises:
            StoreError: If the store refuses them; answers of others are stored anyway.
        """
        job = _Job(submissions=submissions)
        self._jobs.put(job)
        events: list[LabelEvent] = await asyncio.wrap_future(job.future)
        return events

    async def call(self, function: Callable[[LabelStore], _T]) -> _T:
        """Runs another operation on the store, between two commits."""
        job = _Job(function=function)
        self._jobs.put(job)
        result: _T = await asyncio.wrap_future(job.future)
        return result

    def _run(self) -> None:
        stopping = False
        while not stopping:
            jobs = [self._jobs.get()]
            while len(jobs) < _MOST_TOGETHER and not self._jobs.empty():
                jobs.append(self._jobs.get())
            stopping = None in jobs
            # Jobs that were given up meanwhile, as when a browser was closed, are skipped.
            wanted = [job for job in jobs if job and job.future.set_running_or_notify_cancel()]
            for is_other, run in itertools.groupby(wanted, lambda job: job.function is not None):
                if is_other:
                    for job in run:
                        self._do(job)
                else:
                    self._submit(list(run))

    def _submit(self, jobs: list[_Job]) -> None:
        everything = [submission for job in jobs for submission in job.submissions]
        try:
            events = iter(self._store.submit_many(everything))
        except Exception as error:  # whatever it is, it belongs to those who asked
            if isinstance(error, StoreError) and not isinstance(error, StoreUnavailableError):
                # One of them cannot be stored: the others must not suffer.
                for job in jobs:
                    self._do(job)
                return
            for job in jobs:
                job.future.set_exception(error)
        else:
            for job in jobs:
                job.future.set_result([next(events) for _ in job.submissions])

    def _do(self, job: _Job) -> None:
        function = job.function or (lambda store: store.submit_many(job.submissions))
        try:
            job.future.set_result(function(self._store))
        except Exception as error:  # whatever it is, it belongs to whoever asked
            job.future.set_exception(error)
