"""The loop of the judge's process, and the check before it starts."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from typing import Any

from prefrl.core.oracle import Oracle
from prefrl.core.store import LabelStore
from prefrl.errors import ConfigError
from prefrl.runtime.judge.asking import (
    Chooser,
    Judge,
    JudgeAwayError,
    Part,
    SpentError,
    UnreadableError,
)
from prefrl.runtime.judge.cache import Cache
from prefrl.runtime.judge.config import Task
from prefrl.runtime.judge.labeller import JudgeLabeller
from prefrl.runtime.judge.server import Server
from prefrl.runtime.people.presence import Attendance
from prefrl.runtime.roles.role import Heartbeat, StopSignal
from prefrl.runtime.roles.serving import serve
from prefrl.runtime.rundir import RunDirectory

__all__ = ["cache_of", "serve_judge", "try_judge"]

_log = logging.getLogger(__name__)


def cache_of(run: RunDirectory, name: str = "answers") -> Cache:
    """Opens the cache with the judge's answers in a run so far."""
    return Cache(run.judge / f"{name}.jsonl")


def try_judge(task: Task, parts: Sequence[Part]) -> None:
    """Asks the server one question before work starts, which does not count towards the budget.

    Args:
        task: The judge's settings and rubric.
        parts: What the judge is shown.

    Raises:
        ConfigError: If it does not answer, or its answer cannot be read.
    """

    async def ask() -> None:
        server = Server(task, lambda first, second: parts, Cache(None))
        try:
            await server.choose(None, None)
        finally:
            await server.close()

    try:
        asyncio.run(ask())
    except (JudgeAwayError, UnreadableError) as error:
        raise ConfigError(
            f"expected the model {task.config.model} at {task.config.url} to answer a first "
            f"question, but {error}; start the server, or look at --judge.url and --judge.model."
        ) from error
    except SpentError:  # the budget allows only one call, and the answer was unreadable
        pass


def serve_judge(
    chooser: Chooser,
    task: Task,
    cache: Cache,
    store: LabelStore,
    items: Mapping[str, Any],
    *,
    gold: Oracle | None,
    run: RunDirectory,
    heartbeat: Heartbeat,
    stop: StopSignal,
) -> None:
    """Answers queries with the judge until told to stop.

    Args:
        chooser: The model.
        task: The judge's settings and rubric.
        cache: Its answers so far, and their cost.
        store: Label store with the queries, which receives the answers.
        items: The compared items by id.
        gold: Gives the right answers; None if they are unknown.
        run: The run.
        heartbeat: Publishes the judge's state.
        stop: Tells it to stop.
    """
    labeller = JudgeLabeller(
        store,
        items,
        Judge(chooser, both=task.config.orders == "both"),
        cache=cache,
        task=task,
        gold=gold,
        stop=lambda: stop.requested,
    )
    people = Attendance(run, store)
    told: set[str] = set()

    def step() -> bool:
        state = labeller.state
        acknowledged = labeller.step(
            lambda: heartbeat.beat("asking", **labeller.about()),
            # People at the page may answer the queries for which the judge has no budget.
            may_skip=not (state.spent and people.is_somebody_there()),
        )
        for sentence in filter(None, (state.away, state.spent)):
            if sentence not in told:
                told.add(sentence)
                _log.warning("%s", sentence)
        word = "budget spent" if state.spent else "cannot reach the judge" if state.away else "idle"
        heartbeat.beat("asking" if acknowledged and word == "idle" else word, **labeller.about())
        return bool(acknowledged)

    try:
        serve(step, stop)
    finally:
        labeller.close(chooser.close if isinstance(chooser, Server) else None)
