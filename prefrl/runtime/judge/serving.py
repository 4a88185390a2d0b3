"""The work of the judge's process until it is told to stop, and the check before it starts."""

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
    """What the judge of a run has said so far."""
    return Cache(run.judge / f"{name}.jsonl")


def try_judge(task: Task, parts: Sequence[Part]) -> None:
    """Asks the server one question before work starts; it does not count.

    Args:
        task: How it is asked.
        parts: What it is shown.

    Raises:
        ConfigError: If it does not answer, or not so that it can be read.
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
    except SpentError:  # one call is all that it may make
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
    """Answers what is asked, until told to stop.

    Args:
        chooser: The model.
        task: How it is asked.
        cache: What it has said and cost.
        store: Where queries are, and answers go.
        items: The compared items by id.
        gold: Says what is right, where that is known.
        run: Which run.
        heartbeat: Is told how it is.
        stop: Ends it.
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
            # People at the page may answer what the judge has no budget for.
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
