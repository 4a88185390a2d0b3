"""Limits each visitor's rate of requests with a token bucket, refilled at a steady rate."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

__all__ = ["RateLimit"]

_MOST_VISITORS = 10_000


class RateLimit:
    """Refuses visitors who send requests too often.

    Args:
        per_second: Requests per second in the long run.
        burst: Requests at once.
        clock: Returns seconds.
    """

    def __init__(
        self, per_second: float, burst: int, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._per_second = per_second
        self._burst = burst
        self._clock = clock
        self._buckets: dict[str, tuple[float, float]] = {}

    def wait(self, visitor: str) -> int:
        """Takes a token.

        Args:
            visitor: Who sends the request.

        Returns:
            0 if there was one, else the whole seconds until there will be.
        """
        now = self._clock()
        tokens, since = self._buckets.pop(visitor, (float(self._burst), now))
        tokens = min(self._burst, tokens + (now - since) * self._per_second)
        allowed = tokens >= 1
        # Put at the end: the first is the least recently seen visitor, who may be forgotten.
        self._buckets[visitor] = (tokens - allowed, now)
        if len(self._buckets) > _MOST_VISITORS:
            del self._buckets[next(iter(self._buckets))]
        return 0 if allowed else math.ceil((1 - tokens) / self._per_second)
