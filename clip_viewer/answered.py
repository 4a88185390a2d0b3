"""One's own answers: the newest, to be taken back, and all of them, to be looked at and changed."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import Query, Request
from starlette.concurrency import run_in_threadpool

from clip_viewer.guard import person_of
from clip_viewer.messages import AnsweredOut, AnswersOut
from clip_viewer.tally import Tally
from clip_viewer.tasks import MIRRORED, as_shown, key_of_answer
from prefrl.core.comparisons import Answer
from prefrl.core.labels import LabelEvent
from prefrl.core.marks import Mark
from prefrl.core.store import LabelStore

__all__ = ["answers_of"]


async def answers_of(
    store: LabelStore,
    tally: Tally,
    request: Request,
    n: Annotated[int, Query(ge=1, le=48)] = 24,
    before: Annotated[int | None, Query(ge=0)] = None,
) -> AnswersOut:
    """Some of one's own answers that stand, the newest first; also from before this page."""
    name = person_of(request.scope).name

    def look() -> AnswersOut:
        gold = [mark for mark in store.marks.gold_marks() if mark.annotator_id == name]
        flagged = {m.query_id for m in store.marks.flags() if m.annotator_id == name}
        answers: list[AnsweredOut] = []
        standing = tally.standing(name, before=before)
        for looked_at, event in enumerate(standing):
            if len(answers) == n:
                return AnswersOut(answers=answers, more=looked_at < len(standing))
            if (one := _answered(store, event, gold, flagged)) is not None:
                answers.append(one)
        return AnswersOut(answers=answers, more=False)

    return await run_in_threadpool(look)


def _answered(
    store: LabelStore, event: LabelEvent, gold: list[Mark], flagged: set[str]
) -> AnsweredOut | None:
    """An answer as its person saw it; None if it cannot be shown any more."""
    task = as_shown(store, event.query_id, event.order_shown)
    if task is None or event.answer is None:
        return None
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
    )


def _as_seen(answer: Answer, order: str) -> Literal["left", "right", "tie", "skip"]:
    return (answer.mirrored if order == MIRRORED else answer).value
