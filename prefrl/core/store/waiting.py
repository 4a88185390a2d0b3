"""Waits for a database server that is away, in processes that have time to wait.

A role of a run waits, because to end it would cost what it has not saved. A labelling page does
not: it tells the browser to try again. A read is done again, but of a write only the beginning, so
that nothing is ever done twice.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import sqlalchemy as sa

from prefrl.errors import StoreUnavailableError

__all__ = ["WAITING_FOR_STORE", "is_away", "patient", "patiently"]

WAITING_FOR_STORE = "waiting for the label store"
"""What a process says of itself meanwhile."""

_T = TypeVar("_T")
_log = logging.getLogger(__name__)
_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.2, 5.0
_SECONDS_BETWEEN_LOOKS = 0.1
_waiting: Callable[[str], bool] | None = None


@contextmanager
def patient(waiting: Callable[[str], bool]) -> Iterator[None]:
    """Makes all label stores of this process wait for servers that are away, until the block ends.

    Args:
        waiting: Called a few times a second meanwhile, with what is waited for; returns whether to
            give up.
    """
    global _waiting  # the stores of a process are opened in many places
    before, _waiting = _waiting, waiting
    try:
        yield
    finally:
        _waiting = before


def patiently(begin: Callable[[], _T]) -> _T:
    """Calls a function that needs a server, again and again while the server is away.

    Args:
        begin: Connects, begins a transaction, or reads; changes nothing if it fails.

    Returns:
        What it returned.

    Raises:
        StoreUnavailableError: As from the function, if the process does not wait or gave up, or
            to wait is of no use.
        DBAPIError: Likewise.
    """
    pause, is_told = _SHORTEST_PAUSE, False
    while True:
        try:
            return begin()
        except (StoreUnavailableError, sa.exc.DBAPIError) as error:
            cause = error if isinstance(error, sa.exc.DBAPIError) else error.__cause__
            if _waiting is None or not isinstance(cause, sa.exc.DBAPIError) or not is_away(cause):
                raise
            if not is_told:
                _log.warning("%s: %s", WAITING_FOR_STORE, " ".join(str(cause.orig).split()))
                is_told = True
            if _gave_up(_waiting, pause):
                raise
            pause = min(2 * pause, _LONGEST_PAUSE)


def is_away(error: sa.exc.DBAPIError) -> bool:
    """Whether a server cannot be reached, has cut the connection, or is starting or stopping."""
    state = getattr(error.orig, "sqlstate", None)
    is_lost = isinstance(error, sa.exc.OperationalError) and state is None
    return is_lost or str(state).startswith(("08", "57P"))


def _gave_up(waiting: Callable[[str], bool], seconds: float) -> bool:
    """Pauses; returns whether to give up."""
    until = time.monotonic() + seconds
    while not waiting(WAITING_FOR_STORE):
        if time.monotonic() >= until:
            return False
        time.sleep(_SECONDS_BETWEEN_LOOKS)
    return True
