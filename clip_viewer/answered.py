"""A person's own answers: undo takes back the newest, and all of them can be opened and changed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from fastapi import Query, Request
from starlette.concurrency import run_in_threadpool

from clip_viewer.guard import person_of
from clip_viewer.messages import AnsweredOut, AnswersOut, TaskOut
from clip_viewer.tally import Tally
from clip_viewer.tasks import MIRRORED, as_shown, key_of_answer
from prefrl.core.comparisons import Answer
from prefrl.core.store import LabelStore
from prefrl.core.store.labels import LabelEvent
from prefrl.core.store.marks import Mark

__all__ = ["answers_of"]


async def answers_of(
    store: LabelStore,
    tally: Tally,
    request: Request,
    n: Annotated[int, Query(ge=1, le=48)] = 24,
    before: Annotated[int | None, Query(ge=0)] = None,
) -> AnswersOut:
    """A person's answers that have not been undone, newest first, also those of earlier visits."""
    name = person_of(request.scope).name

    def look() -> AnswersOut:
        shown: list[tuple[LabelEvent, TaskOut]] = []
        standing = tally.standing(name, before=before)
        more = False
        for event in standing:
            if more := len(shown) == n:
                break
            # What cannot be shown any more is left out.
            if (task := as_shown(store, event.query_id, event.order_shown)) is not None:
                shown.append((event, task))
        about = {event.query_id for event, _ in shown}
        gold = [mark for mark in store.marks.gold_marks(about) if mark.annotator_id == name]
        flagged = {m.query_id for m in store.marks.flags(about) if m.annotator_id == name}
        notes = {key: mark.why for key, mark in store.marks.notes().items()}
        answers = [_answered(event, task, gold, flagged, notes) for event, task in shown]
        return AnswersOut(answers=answers, more=more)

    return await run_in_threadpool(look)


def _answered(
    event: LabelEvent,
    task: TaskOut,
    gold: list[Mark],
    flagged: set[str],
    notes: Mapping[str, str],
) -> AnsweredOut:
    """An answer as the person saw it on the screen."""
    assert event.answer is not None  # it stands
    # A mark that is older was made with an answer before.
    is_gold = any(m.query_id == event.query_id and m.made_at >= event.answered_at for m in gold)
    return AnsweredOut(
        event=event.id,
        submission_key=key_of_answer(event.submission_key),
        task=task,
        answer=_as_seen(event.answer, task.order) if task.kind == "pair" else "ranking",
        answered_at=event.answered_at,
        gold=is_gold,
        flagged=event.query_id in flagged,
        note=notes.get(key_of_answer(event.submission_key), ""),
    )


def _as_seen(answer: Answer, order: str) -> Literal["left", "right", "tie", "skip"]:
    return (answer.mirrored if order == MIRRORED else answer).value
