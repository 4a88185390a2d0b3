"""The labelling page's requests: who is signed in, the next pairs, and the answers."""

from __future__ import annotations

import functools
import random
from dataclasses import dataclass

from fastapi import APIRouter, Request, Response
from starlette.concurrency import run_in_threadpool

from clip_viewer.answered import answers_of
from clip_viewer.config import ViewerConfig
from clip_viewer.first_round import FirstRound
from clip_viewer.guard import person_of, session_of
from clip_viewer.instructions import read_instructions
from clip_viewer.messages import (
    AnswerIn,
    EventsIn,
    EventsOut,
    FlagIn,
    GoldIn,
    InstructionsOut,
    MeOut,
    MyRoundOut,
    ProgressOut,
    RankingIn,
    ReleaseIn,
    ResultOut,
    SignIn,
    TaskOut,
    TasksIn,
    TasksOut,
    UndoIn,
)
from clip_viewer.news import RunNews
from clip_viewer.people import People, Person, write_token
from clip_viewer.session import sign_in, sign_out
from clip_viewer.tally import Presence, Tally
from clip_viewer.tasks import MIRRORED, hand_out, ranked
from clip_viewer.words import language_of
from clip_viewer.writer import Writer
from prefrl.core.comparisons import Answer
from prefrl.core.store import LabelStore
from prefrl.core.store.labels import Submission
from prefrl.errors import StoreError, StoreUnavailableError

__all__ = ["Desk", "labelling_routes"]

_Event = AnswerIn | RankingIn | UndoIn | FlagIn | GoldIn


@dataclass(frozen=True)
class Desk:
    """Everything that the routes need."""

    config: ViewerConfig
    store: LabelStore
    people: People
    study: str
    is_one_of_many: bool
    writer: Writer
    tally: Tally
    presence: Presence
    news: RunNews
    first_round: FirstRound
    cookie: str
    rng: random.Random
    version: str

    def progress(self, person: Person) -> ProgressOut:
        """Returns the progress, from a few reads. Annotators are not told how good the agent is."""
        for_owner = person.role == "owner"
        queue = self.tally.queue()
        # Until a pair can be shown, somebody is waiting for the first one.
        asked = None if queue.answered or queue.ready else queue.waiting
        agent = self.news.agent(for_owner=for_owner, asked=asked)
        self.presence.note_told(person.name, is_over=agent.phase == "finished")
        told = self.first_round.told(self.store, person)
        return ProgressOut(
            mine=self.tally.mine(person.name),
            first_round=None if told is None else MyRoundOut(**told.model_dump(exclude={"right"})),
            queue=queue,
            agent=agent,
            people=self.presence.n_present(),
            curve=self.news.curve() if for_owner else [],
            budget=self.config.budget,
        )

    def instructions(self, request: Request) -> InstructionsOut:
        """Returns the study's own instructions, or the general ones in the reader's language."""
        language = language_of(request.headers.get("accept-language"))
        return read_instructions(self.config.instructions, language)

    def me(self, person: Person, session: str, request: Request) -> MeOut:
        """Describes who is signed in, and the study."""
        return MeOut(
            study=self.study,
            is_one_of_many=self.is_one_of_many,
            annotator=person.name,
            role=person.role,
            token=write_token(session),
            title=self.config.title,
            goal=self.config.goal,
            strength=self.config.strength,
            rubric_ver=self.instructions(request).rubric_ver,
            server_ver=self.version,
        )


def labelling_routes(desk: Desk) -> APIRouter:
    """Creates the routes of the labelling page."""
    router = APIRouter(prefix="/api")
    router.add_api_route("/session", functools.partial(_sign_in, desk), methods=["POST"])
    router.add_api_route(
        "/session", functools.partial(_sign_out, desk), methods=["DELETE"], status_code=204
    )
    get, post = functools.partial(router.add_api_route, methods=["GET"]), router.add_api_route
    get("/me", functools.partial(_me, desk))
    get("/instructions", functools.partial(_instructions, desk))
    get("/progress", functools.partial(_progress, desk))
    get("/answers", functools.partial(answers_of, desk.store, desk.tally))
    post("/tasks", functools.partial(_tasks, desk), methods=["POST"])
    post("/events", functools.partial(_events, desk), methods=["POST"])
    post("/release", functools.partial(_release, desk), methods=["POST"], status_code=204)
    return router


async def _sign_in(desk: Desk, told: SignIn, request: Request, response: Response) -> MeOut:
    session, person = await sign_in(desk.people, desk.cookie, told.token, request, response)
    return desk.me(person, session, request)


async def _sign_out(desk: Desk, request: Request, response: Response) -> None:
    await sign_out(desk.people, desk.cookie, request, response)
    desk.presence.leave(person_of(request.scope).name)


async def _me(desk: Desk, request: Request) -> MeOut:
    return desk.me(person_of(request.scope), session_of(request.scope), request)


async def _instructions(desk: Desk, request: Request) -> InstructionsOut:
    return desk.instructions(request)


async def _progress(desk: Desk, request: Request) -> ProgressOut:
    return await run_in_threadpool(desk.progress, person_of(request.scope))


async def _tasks(desk: Desk, told: TasksIn, request: Request) -> TasksOut:
    person = person_of(request.scope)

    def give(store: LabelStore) -> tuple[list[TaskOut], bool]:
        if not (is_held := desk.first_round.holds(store, person)):
            have, config = told.have, desk.config
            tasks = hand_out(store, person.name, n=told.n, have=have, config=config, rng=desk.rng)
        else:
            n, have = told.n, told.have
            tasks = desk.first_round.tasks(store, person, n=n, have=have, rng=desk.rng)
        return tasks, is_held

    tasks, is_held = await desk.writer.call(give)
    desk.presence.note(person.name, pixels=told.pixels, counts=not is_held)
    return TasksOut(tasks=tasks, progress=await run_in_threadpool(desk.progress, person))


async def _release(desk: Desk, told: ReleaseIn, request: Request) -> None:
    person = person_of(request.scope)
    desk.presence.leave(person.name)

    def release(store: LabelStore) -> None:
        store.release(person.name, [query.id for query in store.find(told.tasks)])

    await desk.writer.call(release)


async def _events(desk: Desk, told: EventsIn, request: Request) -> EventsOut:
    person = person_of(request.scope)
    desk.presence.note(person.name, counts=None)
    results = []
    for event in told.events:  # in order: an undo comes after what it undoes
        try:
            await _store(desk, person, event)
        except StoreUnavailableError:
            raise  # the page keeps this event and those after it, and tries again
        except (StoreError, ValueError) as error:
            results.append(
                ResultOut(submission_key=event.submission_key, stored=False, error=str(error))
            )
        else:
            results.append(ResultOut(submission_key=event.submission_key, stored=True))
    return EventsOut(results=results, progress=await run_in_threadpool(desk.progress, person))


async def _store(desk: Desk, person: Person, event: _Event) -> None:
    """Stores one event, which is on disk when this returns."""
    name, key = person.name, event.submission_key
    if await _is_of_first_round(desk, person, event):
        pass
    elif isinstance(event, AnswerIn):
        if (strength := event.strength) is not None and event.answer in ("left", "right"):
            await desk.writer.call(
                lambda store: store.marks.add_strength(
                    _first_query(store, event.task), name, strength, answer_key=key
                )
            )
        desk.tally.note(await desk.writer.submit([_answer(name, event)]))
    elif isinstance(event, RankingIn):
        pairs = await run_in_threadpool(desk.store.find, [event.task])
        if not pairs or pairs[0].group != event.task:
            raise StoreError(f"expected a group of pairs to rank, got {event.task!r}.")
        common = _submission(name, event, Answer.SKIP, event.order)
        said = ranked(pairs, event.order, event.ranks, common)
        desk.tally.note(await desk.writer.submit(said))
    elif isinstance(event, UndoIn):
        undoes = event.undoes
        undone = await desk.writer.call(
            lambda store: store.undo_submission(undoes, annotator_id=name, submission_key=key)
        )
        desk.tally.note(undone)
    else:
        kind, value = _mark(person, event)
        why = event.why.strip() if isinstance(event, FlagIn) and event.raised else ""
        await desk.writer.call(
            lambda store: store.marks.add(
                _first_query(store, event.task), name, kind, value, submission_key=key, why=why
            )
        )
    if isinstance(event, AnswerIn | RankingIn) and (note := event.note.strip()):
        await desk.writer.call(
            lambda store: store.marks.add_note(
                _first_query(store, event.task), name, note, answer_key=key
            )
        )
    if isinstance(event, AnswerIn | RankingIn) and event.fast:
        await desk.writer.call(
            lambda store: store.marks.add_fast(
                _first_query(store, event.task), name, answer_key=key
            )
        )


async def _is_of_first_round(desk: Desk, person: Person, event: _Event) -> bool:
    """Stores the event if the person's answers do not count yet; returns whether it did."""
    if isinstance(event, AnswerIn):
        _check_order(event)
    if not desk.first_round.is_asked_for:
        return False
    if isinstance(event, AnswerIn | RankingIn):
        return await desk.writer.call(lambda s: desk.first_round.keep(s, person, event))
    if isinstance(event, UndoIn):
        undoes, key = event.undoes, event.submission_key
        return await desk.writer.call(
            lambda s: s.trials.undo(undoes, person.name, submission_key=key)
        )
    return False


def _check_order(event: AnswerIn) -> None:
    if event.order not in ("left-right", MIRRORED):
        raise StoreError(f"expected the order of a pair, got {event.order!r}; reload the page.")


def _answer(annotator_id: str, event: AnswerIn) -> Submission:
    seen = Answer(event.answer)
    answer = seen.mirrored if event.order == MIRRORED else seen
    return _submission(annotator_id, event, answer, event.order)


def _submission(
    annotator_id: str, event: AnswerIn | RankingIn, answer: Answer, order: str
) -> Submission:
    return Submission(
        query_id=event.task,
        answer=answer,
        submission_key=event.submission_key,
        annotator_id=annotator_id,
        shown_at=None if event.shown_at is None else event.shown_at / 1000,
        client_ms=event.client_ms,
        order_shown=order,
        rubric_ver=event.rubric_ver,
    )


def _mark(person: Person, event: FlagIn | GoldIn) -> tuple[str, str]:
    if isinstance(event, FlagIn):
        return "flag", "raised" if event.raised else "lowered"
    if person.role != "owner":
        raise StoreError("Only whoever runs the study can say which pairs are gold.")
    if event.answer == "none":
        return "gold", "none"
    seen = Answer(event.answer)
    return "gold", (seen.mirrored if event.order == MIRRORED else seen).value


def _first_query(store: LabelStore, task: str) -> str:
    found = store.find([task])
    if not found:
        raise StoreError(f"expected a task of this study, got {task!r}.")
    return found[0].id
