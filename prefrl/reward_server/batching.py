"""Scores requests that arrive at about the same time in one forward pass, in its own thread."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from prefrl.errors import ConfigError, NonFiniteError
from prefrl.runtime.scorer import Asked, Scorer, Scores
from prefrl.web.requests import Refusal

__all__ = ["Batcher"]

_log = logging.getLogger(__name__)
_BATCHES_THAT_MAY_WAIT = 64


@dataclass(frozen=True, eq=False)
class _Waiting:
    asked: Asked
    answer: asyncio.Future[Scores]


class Batcher:
    """Collects requests into batches for the scorer.

    Requests that arrive while a batch is scored go together into the next one. A batch also waits a
    moment while other requests are being read, or while it has fewer than the last batch. So a
    client that is alone does not wait.

    Args:
        scorer: Scores the batches.
        largest: Most steps, or tokens, of a batch; a request must not be larger.
        wait: Most seconds for which a batch waits for other requests.
    """

    def __init__(self, scorer: Scorer, *, largest: int, wait: float) -> None:
        self.n_batches = 0
        """Number of batches so far."""
        self.n_requests = 0
        """Number of requests in them."""
        self._scorer = scorer
        self._largest = largest
        self._wait = wait
        self._line: deque[_Waiting] = deque()
        self._arrived = asyncio.Event()
        self._n_reading = 0
        self._cost = 0  # of all requests that wait or are being scored
        self._n_last = 1
        # One thread scores, another one reads texts and large requests: the event loop stays free.
        self._scores = ThreadPoolExecutor(1, "scores")
        self._reads = ThreadPoolExecutor(1, "reads")
        self._work: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Batcher:
        """Starts scoring."""
        self._work = asyncio.create_task(self._go())
        return self

    async def __aexit__(self, *error: object) -> None:
        """Stops scoring; requests that still wait are refused."""
        if self._work is not None:
            self._work.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._work
        for waiting in self._line:
            if not waiting.answer.done():
                waiting.answer.set_exception(Refusal(503, "The server ends."))
        self._scores.shutdown()
        self._reads.shutdown()

    async def ask(self, read: Callable[[], Mapping[str, Any]], *, slowly: bool) -> Scores:
        """Reads a request and has it scored.

        Args:
            read: Returns the request in the form that ``Scorer.read`` expects.
            slowly: Whether reading takes long enough to be done in a thread.

        Raises:
            ConfigError: If the request cannot be scored, or is too large.
            Refusal: If too much is waiting already.
            NonFiniteError: If the reward gives scores that are not finite.
        """
        self._n_reading += 1
        try:
            if slowly:
                loop = asyncio.get_running_loop()
                asked = await loop.run_in_executor(self._reads, self._read, read)
            else:
                asked = self._read(read)
        finally:
            self._n_reading -= 1
            self._arrived.set()  # a batch may have waited for this one
        if self._cost + asked.cost > _BATCHES_THAT_MAY_WAIT * self._largest:
            raise Refusal(503, "Too much waits already; again in 1 s.", {"retry-after": "1"})
        return await self._scored(asked)

    def _read(self, read: Callable[[], Mapping[str, Any]]) -> Asked:
        asked = self._scorer.read(read())
        if asked.cost > self._largest:
            unit = {"steps": "steps", "texts": "tokens"}[self._scorer.kind]
            raise ConfigError(
                f"expected at most {self._largest} {unit} in a request, got {asked.cost}; send "
                "fewer at once, or serve with a larger --batch."
            )
        return asked

    async def _scored(self, asked: Asked) -> Scores:
        waiting = _Waiting(asked, asyncio.get_running_loop().create_future())
        self._cost += asked.cost
        self._line.append(waiting)
        self._arrived.set()
        try:
            return await waiting.answer
        finally:
            self._cost -= asked.cost

    async def _go(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            while not self._line:
                self._arrived.clear()
                await self._arrived.wait()
            await self._wait_for_others()
            batch = self._next()
            asked = [waiting.asked for waiting in batch]
            found = await loop.run_in_executor(self._scores, self._score, asked)
            self._n_last = len(batch)
            self.n_batches += 1
            self.n_requests += len(batch)
            for waiting, answer in zip(batch, found, strict=True):
                if waiting.answer.done():  # nobody waits for it any more
                    continue
                if isinstance(answer, Scores):
                    waiting.answer.set_result(answer)
                else:
                    waiting.answer.set_exception(answer)

    async def _wait_for_others(self) -> None:
        loop = asyncio.get_running_loop()
        until = loop.time() + self._wait
        bell = loop.call_at(until, self._arrived.set)
        try:
            while loop.time() < until and (self._n_reading or len(self._line) < self._n_last):
                if sum(waiting.asked.cost for waiting in self._line) >= self._largest:
                    return
                self._arrived.clear()
                await self._arrived.wait()
        finally:
            bell.cancel()

    def _next(self) -> list[_Waiting]:
        """Takes as many requests from the front of the queue as fit into a batch."""
        batch, cost = [self._line.popleft()], 0
        cost = batch[0].asked.cost
        while self._line and cost + self._line[0].asked.cost <= self._largest:
            cost += self._line[0].asked.cost
            batch.append(self._line.popleft())
        return batch

    def _score(self, asked: Sequence[Asked]) -> list[Scores | Exception]:
        """Scores in one pass; if that fails, one by one, so that only faulty requests fail."""
        self._scorer.refresh()
        try:
            return [_checked(scores) for scores in self._scorer.score(asked)]
        except Exception as error:
            _log.exception("a batch of %d requests could not be scored", len(asked))
            if len(asked) == 1:
                return [error]
        return [answer for one in asked for answer in self._score([one])]


def _checked(scores: Scores) -> Scores | Exception:
    if np.isfinite(scores.score).all() and np.isfinite(scores.members).all():
        return scores
    return NonFiniteError(
        f"expected finite scores, but the reward of version {scores.version} gives others for this "
        "request; look at its fit with prefrl report RUN."
    )
