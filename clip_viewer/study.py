"""For the owner of a study: its progress, its people, and all labels as a file."""

from __future__ import annotations

import functools
import os
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import FileResponse
from starlette.background import BackgroundTask
from starlette.concurrency import run_in_threadpool

from clip_viewer.labelling import Desk
from clip_viewer.messages import (
    FlaggedOut,
    FlagOut,
    InviteIn,
    InviteOut,
    PeopleOut,
    PersonOut,
    StandingsOut,
)
from clip_viewer.people import LONGEST_NAME, TAKEN
from clip_viewer.standings import Standings
from clip_viewer.statistics import statistics
from clip_viewer.tasks import as_shown
from clip_viewer.words import refused
from prefrl.core.comparisons import Answer
from prefrl.core.store.labels import LabelEvent
from prefrl.core.store.marks import Mark
from prefrl.errors import ConfigError

__all__ = ["study_routes"]

_SECONDS_BETWEEN_COUNTS = 3.0


def study_routes(desk: Desk) -> APIRouter:
    """Creates the routes of the dashboard, which the guard opens to owners only."""
    router = APIRouter(prefix="/api")
    add = router.add_api_route
    counted = _Counted(desk)
    add("/statistics", functools.partial(_statistics, counted), methods=["GET"])
    add(
        "/labels.jsonl",
        functools.partial(_labels, desk),
        methods=["GET"],
        response_class=FileResponse,
    )
    add(
        "/standings",
        functools.partial(_standings, Standings(desk.store, desk.config)),
        methods=["GET"],
    )
    add("/flagged", functools.partial(_flagged, desk), methods=["GET"])
    add("/people", functools.partial(_people, desk), methods=["GET"])
    add("/people", functools.partial(_invite, desk), methods=["POST"])
    add("/people/{name}/admit", functools.partial(_admit, desk), methods=["POST"], status_code=204)
    add("/people/{name}", functools.partial(_revoke, desk), methods=["DELETE"], status_code=204)
    return router


class _Counted:
    """The statistics, counted again when there is something new and some seconds have passed."""

    def __init__(self, desk: Desk) -> None:
        self._store = desk.store
        self._lock = threading.Lock()
        self._events: list[LabelEvent] = []
        self._marks: tuple[list[Mark], list[Mark], frozenset[str], dict[str, Mark]] | None = None
        self._at = -_SECONDS_BETWEEN_COUNTS
        self._counted: dict[str, Any] = {}

    def get(self) -> dict[str, Any]:
        with self._lock:
            if time.monotonic() - self._at >= _SECONDS_BETWEEN_COUNTS:
                self._update()
                self._at = time.monotonic()
            return self._counted

    def _update(self) -> None:
        since = self._events[-1].id if self._events else 0
        new = self._store.events(since=since)
        told = self._store.marks
        marks = told.gold_marks(), told.flags(), told.fast(), told.notes()
        if not new and marks == self._marks:
            return
        events, (gold, flags, fast, notes) = [*self._events, *new], marks
        self._counted = statistics(
            events,
            {mark.query_id: Answer(mark.value) for mark in gold},
            flags,
            gold_by={mark.query_id: mark.annotator_id for mark in gold},
            fast=fast,
            notes=notes,
        )
        self._events, self._marks = events, marks


async def _statistics(counted: _Counted, request: Request) -> dict[str, Any]:
    return await run_in_threadpool(counted.get)


async def _labels(desk: Desk, request: Request) -> FileResponse:
    descriptor, name = tempfile.mkstemp(suffix=".jsonl")
    os.close(descriptor)
    path = Path(name)
    try:
        await run_in_threadpool(desk.store.export_jsonl, path)
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    return FileResponse(
        path,
        media_type="application/x-ndjson",
        filename="labels.jsonl",
        background=BackgroundTask(path.unlink, missing_ok=True),
    )


async def _standings(standings: Standings, request: Request) -> StandingsOut:
    return await run_in_threadpool(standings.get)


async def _flagged(desk: Desk, query: str) -> FlaggedOut:
    """A pair with a flag or a note, to look at."""

    def look() -> FlaggedOut | None:
        task = as_shown(desk.store, query, None)
        flags = [flag for flag in desk.store.marks.flags() if flag.query_id == query]
        told = [FlagOut(annotator=flag.annotator_id, why=flag.why) for flag in flags]
        noted = [note for note in desk.store.marks.notes().values() if note.query_id == query]
        notes = [FlagOut(annotator=note.annotator_id, why=note.why) for note in noted]
        return None if task is None else FlaggedOut(task=task, flags=told, notes=notes)

    if (found := await run_in_threadpool(look)) is None:
        raise refused(404, "refused.pair")
    return found


async def _people(desk: Desk, request: Request) -> PeopleOut:
    everybody = await run_in_threadpool(desk.people.all)
    told = functools.partial(desk.first_round.told, desk.store)
    rounds = [await run_in_threadpool(told, person) for person in everybody]
    return PeopleOut(
        people=[
            PersonOut(
                annotator=person.name,
                role=person.role,
                active_s_ago=desk.presence.seconds_ago(person.name),
                revoked=person.revoked,
                first_round=first_round,
            )
            for person, first_round in zip(everybody, rounds, strict=True)
        ]
    )


async def _invite(desk: Desk, told: InviteIn, request: Request) -> InviteOut:
    try:
        token = await run_in_threadpool(desk.people.invite, told.annotator)
    except ConfigError as error:
        raise refused(422, "refused.name", n=LONGEST_NAME, taken=", ".join(TAKEN)) from error
    return InviteOut(link=f"{_origin(request)}/#enter={token}")


async def _revoke(desk: Desk, name: str, request: Request) -> None:
    if not await run_in_threadpool(desk.people.revoke, name):
        raise refused(404, "refused.nobody")


async def _admit(desk: Desk, name: str, request: Request) -> None:
    """Lets a person continue who has not passed the first round."""
    if all(person.name != name for person in await run_in_threadpool(desk.people.all)):
        raise refused(404, "refused.nobody")
    if not await desk.writer.call(lambda store: desk.first_round.admit(store, name)):
        raise refused(409, "refused.nothing-there")


def _origin(request: Request) -> str:
    """The address at which the sender of a request sees this server; the guard has checked it."""
    return request.headers.get("origin") or f"http://{request.headers['host']}"
