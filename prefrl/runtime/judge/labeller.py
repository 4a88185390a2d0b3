"""The judge as a labeller: leases queries, asks in parallel, and stores answers as they come."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from prefrl.core.comparisons import Answer, Query
from prefrl.core.oracle import Oracle
from prefrl.core.store import LabelStore
from prefrl.core.store.labels import ORACLE, LabelEvent, Lease, Submission
from prefrl.errors import FilmError, RunDirectoryError
from prefrl.runtime.judge.asking import (
    Judge,
    JudgeAwayError,
    SpentError,
    UnreadableError,
    Verdict,
    storable,
)
from prefrl.runtime.judge.cache import Cache
from prefrl.runtime.judge.config import Task, judge_name

__all__ = ["JudgeLabeller", "JudgeState"]

_SECONDS_BETWEEN_BEATS = 0.2
_LEASE_SECONDS, _SECONDS_BETWEEN_RENEWALS = 120.0, 40.0
_FIRST_PAUSE, _LONGEST_PAUSE = 2.0, 60.0
_AT_ONCE = 64  # queries that are skipped together, without a call


@dataclass
class JudgeState:
    """State of the judge, for the status and the labelling page."""

    away: str = ""
    """Why it cannot be asked at the moment; empty if it can."""
    spent: str = ""
    """Which budget is used up; empty while there is some left."""
    contradicted: int = 0
    """Pairs to which its answers in the two orders differed, since this process began."""
    skipped: int = 0
    """Pairs that it could not answer, or for which it had no budget."""


class JudgeLabeller:
    """Answers open queries with a judge.

    It skips queries that it cannot answer, so that nothing waits for ever: those that it refuses or
    answers unreadably, with the reason, and all open ones once its budget is used up. While it
    cannot be reached, queries stay open.

    Args:
        store: Label store with the queries, which receives the answers.
        items: The compared items by id.
        judge: Compares two items.
        cache: Its answers so far, and their cost.
        task: The judge's settings and rubric.
        gold: Gives the right answers, which are stored as gold; None if they are unknown.
        stop: Returns whether to stop.
    """

    def __init__(
        self,
        store: LabelStore,
        items: Mapping[str, Any],
        judge: Judge,
        *,
        cache: Cache,
        task: Task,
        gold: Oracle | None = None,
        stop: Callable[[], bool] = lambda: False,
    ) -> None:
        self.n_answered = 0
        """Number of answers that this object has given, skips included."""
        self.state = JudgeState()
        """State of the judge."""
        self._store, self._items, self._judge = store, items, judge
        self._cache, self._task, self._gold, self._stop = cache, task, gold, stop
        self._name = judge_name(task.config)
        self._runner = asyncio.Runner()
        # Limits pairs, not calls: both orders of one pair are asked before another pair is begun.
        self._free = asyncio.Semaphore(task.config.parallel)
        self._next, self._pause = 0.0, _FIRST_PAUSE

    def close(self, closing: Callable[[], Any] | None = None) -> None:
        """Cancels its remaining calls.

        Args:
            closing: Makes a coroutine that closes the connections.
        """
        if closing is not None:
            self._runner.run(closing())
        self._runner.close()

    def step(
        self, beat: Callable[[], None] = lambda: None, *, may_skip: bool = True
    ) -> list[LabelEvent]:
        """Answers the most urgent queries that nobody else holds.

        Args:
            beat: Called a few times a second.
            may_skip: Whether to skip queries once the budget is used up; False if people may still
                answer them.

        Returns:
            The stored answers, as the store has acknowledged them; empty if no query is open, or
            none can be answered now.
        """
        if time.monotonic() < self._next:
            return []
        if self.state.spent:
            return self._skip_open() if may_skip else []
        leases = self._store.lease(
            self._name, n=2 * self._task.config.parallel, seconds=_LEASE_SECONDS
        )
        if not leases:
            return []
        return self._runner.run(self._work(leases, beat))

    async def _work(self, leases: Sequence[Lease], beat: Callable[[], None]) -> list[LabelEvent]:
        """Asks about all of them, as many in parallel as the settings allow."""
        tasks = {asyncio.create_task(self._answer(lease.query)): lease for lease in leases}
        stored: list[LabelEvent] = []
        renewed = time.monotonic()
        waiting = set(tasks)
        self.state.away = ""
        try:
            while waiting and not self._stop():
                done, waiting = await asyncio.wait(waiting, timeout=_SECONDS_BETWEEN_BEATS)
                beat()
                for task in done:
                    if (event := task.result()) is not None:
                        stored.append(event)
                if time.monotonic() - renewed > _SECONDS_BETWEEN_RENEWALS:
                    renewed = time.monotonic()
                    for task in waiting:
                        self._store.renew(tasks[task], _LEASE_SECONDS)
        finally:
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)
            self._store.release(self._name, [tasks[task].query.id for task in tasks])
        self._next = time.monotonic() + self._pause if self.state.away else 0.0
        self._pause = min(2 * self._pause, _LONGEST_PAUSE) if self.state.away else _FIRST_PAUSE
        return stored

    async def _answer(self, query: Query) -> LabelEvent | None:
        try:
            left, right = self._items[query.left], self._items[query.right]
        except RunDirectoryError as error:
            self.state.skipped += 1
            return self._submit(query, Verdict(Answer.SKIP, str(error), None))
        try:
            async with self._free:
                if self.state.away or self.state.spent:  # as another pair has found meanwhile
                    return None
                verdict = await self._judge.compare(left, right)
        except JudgeAwayError as error:
            self.state.away = str(error)
            return None
        except SpentError as error:
            self.state.spent = str(error)
            return None
        except (UnreadableError, FilmError) as error:
            self.state.skipped += 1
            verdict = Verdict(Answer.SKIP, str(error), None)
        else:
            self.state.contradicted += verdict.contradicts
        event = self._submit(query, verdict)
        if self._gold is not None:
            right_answer = self._gold.compare(left, right).value
            self._store.marks.add(
                query.id, ORACLE, "gold", right_answer, submission_key=f"gold/{query.id}"
            )
        return event

    def _submit(self, query: Query, verdict: Verdict) -> LabelEvent:
        key = f"{query.id}/{uuid.uuid4().hex}"
        # The reason is stored first, so that a stored answer always has one.
        reason = storable(verdict.reason)
        self._store.marks.add_reason(query.id, self._name, reason, answer_key=key)
        self.n_answered += 1
        return self._store.submit(
            query.id,
            verdict.answer,
            submission_key=key,
            annotator_id=self._name,
            order_shown=verdict.order_shown,
            rubric_ver=self._task.rubric_ver,
        )

    def _skip_open(self) -> list[LabelEvent]:
        leases = self._store.lease(self._name, n=_AT_ONCE)
        submissions = [
            Submission(
                lease.query.id,
                Answer.SKIP,
                submission_key=f"{lease.query.id}/{uuid.uuid4().hex}",
                annotator_id=self._name,
                rubric_ver=self._task.rubric_ver,
            )
            for lease in leases
        ]
        self.state.skipped += len(submissions)
        self.n_answered += len(submissions)
        return self._store.submit_many(submissions) if submissions else []

    def about(self) -> dict[str, Any]:
        """Returns its status: the number of answers, their cost, and what is wrong."""
        told: dict[str, Any] = {
            "answers": self.n_answered,
            "calls": self._cache.n_calls,
            "tokens": self._cache.n_tokens,
            "errors": sum(self._cache.failures.values()),
            "contradictions": self.state.contradicted,
            "away": self.state.away,
            "spent": self.state.spent,
        }
        return told
