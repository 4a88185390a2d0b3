"""Messages between the page and the server, as in the OpenAPI description."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

__all__ = [
    "AgentNews",
    "AnswerIn",
    "AnsweredOut",
    "AnswersOut",
    "EventsIn",
    "EventsOut",
    "FirstOut",
    "FlagIn",
    "FlagOut",
    "FlaggedOut",
    "GoldIn",
    "InstructionsOut",
    "InviteIn",
    "InviteOut",
    "ItemOut",
    "MeOut",
    "MineOut",
    "MyRoundOut",
    "PeopleOut",
    "PersonOut",
    "Phase",
    "Problem",
    "ProgressOut",
    "QueueOut",
    "RankingIn",
    "ReleaseIn",
    "ResultOut",
    "RoundOut",
    "SignIn",
    "StandingOut",
    "StandingsOut",
    "TaskOut",
    "TasksIn",
    "TasksOut",
    "UndoIn",
]

# In the store, keys of a ranking's pairs end in /0, /1 ...: those of clients must not.
_Key = Annotated[str, Field(pattern=r"^[A-Za-z0-9-]{8,64}$")]
_TaskId = Annotated[str, Field(min_length=1, max_length=128)]
_Order = Annotated[str, Field(pattern=r"^(left-right|right-left|[0-9]{1,2}(-[0-9]{1,2}){1,19})$")]
_Moment = Annotated[float, Field(ge=0, le=1e14)]
_Duration = Annotated[float, Field(ge=0, le=1e9)]
_Rubric = Annotated[str, Field(max_length=64)]
_Why = Annotated[str, Field(max_length=200)]
_Note = Annotated[str, Field(max_length=500)]
_Rank = Annotated[int, Field(ge=1, le=20)]


Phase = Literal["none", "starting", "training", "stopped", "finished"]
"""Phase of the training; none: nothing learns from the answers while they are given."""


class _In(BaseModel):
    model_config = ConfigDict(extra="forbid")


class SignIn(_In):
    """The token of a sign-in link."""

    token: Annotated[str, Field(min_length=1, max_length=128)]


class TasksIn(_In):
    """How many pairs the page wants, which ones it has, and how large it shows films."""

    n: Annotated[int, Field(ge=0, le=16)] = 4
    have: Annotated[list[_TaskId], Field(max_length=64)] = []
    shown: _TaskId | None = None
    pixels: Annotated[int, Field(ge=0, le=4096)] = 0


class _Shown(_In):
    submission_key: _Key
    task: _TaskId
    order: _Order
    shown_at: _Moment | None = None
    client_ms: _Duration | None = None
    rubric_ver: _Rubric | None = None
    fast: bool = False
    note: _Note = ""


class AnswerIn(_Shown):
    """An answer to a pair, as it was seen on the screen."""

    kind: Literal["answer"]
    answer: Literal["left", "right", "tie", "skip"]
    strength: Literal["slightly", "clearly"] | None = None


class RankingIn(_Shown):
    """Ranks of the items as shown: 1 is best, equal ranks tie; None is "can't tell"."""

    kind: Literal["ranking"]
    ranks: Annotated[list[_Rank], Field(min_length=2, max_length=20)] | None


class UndoIn(_In):
    """Takes an answer or a ranking back."""

    kind: Literal["undo"]
    submission_key: _Key
    undoes: _Key


class FlagIn(_In):
    """Flags a pair as faulty, with a reason, or takes the flag back."""

    kind: Literal["flag"]
    submission_key: _Key
    task: _TaskId
    raised: bool
    why: _Why = ""


class GoldIn(_In):
    """Makes a pair gold, with the answer that others are judged by, or ends that with None."""

    kind: Literal["gold"]
    submission_key: _Key
    task: _TaskId
    order: _Order
    answer: Literal["left", "right", "tie", "none"]


class EventsIn(_In):
    """A person's actions, in order."""

    events: Annotated[
        list[
            Annotated[AnswerIn | RankingIn | UndoIn | FlagIn | GoldIn, Field(discriminator="kind")]
        ],
        Field(max_length=50),
    ]


class ReleaseIn(_In):
    """Pairs that the page returns unanswered."""

    tasks: Annotated[list[_TaskId], Field(max_length=64)]


class InviteIn(_In):
    """Whom to invite."""

    annotator: Annotated[str, Field(min_length=1, max_length=64)]


class Problem(BaseModel):
    """Why a request was refused, in one sentence."""

    error: str


class MeOut(BaseModel):
    """Who is signed in."""

    study: str
    is_one_of_many: bool
    annotator: str
    role: Literal["annotator", "owner"]
    token: str
    title: str
    goal: str | None
    strength: bool
    rubric_ver: str
    server_ver: str


class InstructionsOut(BaseModel):
    """The instructions as sanitised HTML."""

    html: str
    rubric_ver: str


class ItemOut(BaseModel):
    """One item of a task."""

    media: str


class TaskOut(BaseModel):
    """A pair, or K items to rank, in the order to show them."""

    id: str
    kind: Literal["pair", "ranking"]
    media_type: str
    items: list[ItemOut]
    order: str


class MineOut(BaseModel):
    """How much the person has done."""

    today: int
    total: int
    per_hour: float | None


class QueueOut(BaseModel):
    """Numbers of pairs that wait, that can be shown, and that are answered."""

    waiting: int
    ready: int
    answered: int


class FirstOut(BaseModel):
    """What is happening before the first pair, and about how many seconds it will take."""

    doing: Literal["beginning", "making", "acting", "drawing"]
    seconds: float | None


class AgentNews(BaseModel):
    """The agent's latest status; its return is for owners only."""

    phase: Phase
    state: str
    waits: bool
    env_steps: int | None
    true_return: Annotated[float | None, Field(serialization_alias="return")]
    troubles: list[str] = []
    first: FirstOut | None = None


class RoundOut(BaseModel):
    """A new person's first round: waiting for gold pairs, in progress, or over."""

    state: Literal["waits", "asked", "passed", "failed", "admitted"]
    answered: int
    right: int
    wanted: int


class MyRoundOut(BaseModel):
    """The person's own first round, without the number of right answers."""

    state: Literal["waits", "asked", "passed", "failed", "admitted"]
    answered: int
    wanted: int


class ProgressOut(BaseModel):
    """The progress."""

    mine: MineOut
    first_round: MyRoundOut | None
    queue: QueueOut
    agent: AgentNews
    people: int
    curve: list[tuple[int, float]]
    budget: int | None


class AnsweredOut(BaseModel):
    """One of the person's own answers that was not undone, as it was on the screen."""

    event: int
    submission_key: str
    task: TaskOut
    answer: Literal["left", "right", "tie", "skip", "ranking"]
    answered_at: float
    gold: bool
    flagged: bool
    note: str


class AnswersOut(BaseModel):
    """Some of the person's answers, newest first, and whether there are earlier ones."""

    answers: list[AnsweredOut]
    more: bool


class FlagOut(BaseModel):
    """Who flagged a pair, and why; or who wrote which note."""

    annotator: str
    why: str


class FlaggedOut(BaseModel):
    """A pair with a flag or a note, to look at."""

    task: TaskOut
    flags: list[FlagOut]
    notes: list[FlagOut]


class StandingOut(BaseModel):
    """An item's probability of winning against an average item of its group, with its interval."""

    item: str
    media: str | None
    media_type: str | None
    chance: float
    low: float
    high: float
    wins: int
    losses: int
    ties: int


class StandingsOut(BaseModel):
    """Groups of items that were compared with each other, each sorted from the best down.

    ``items`` is the total number; of many items, not all are listed.
    """

    groups: list[list[StandingOut]]
    items: int
    compared: int


class TasksOut(BaseModel):
    """New pairs for the page."""

    tasks: list[TaskOut]
    progress: ProgressOut


class ResultOut(BaseModel):
    """The outcome of one event: stored, or refused for good."""

    submission_key: str
    stored: bool
    error: str | None = None


class EventsOut(BaseModel):
    """The outcome of each event."""

    results: list[ResultOut]
    progress: ProgressOut


class PersonOut(BaseModel):
    """Somebody who was invited."""

    annotator: str
    role: Literal["annotator", "owner"]
    active_s_ago: float | None
    revoked: bool
    first_round: RoundOut | None


class PeopleOut(BaseModel):
    """Everybody who was invited."""

    people: list[PersonOut]


class InviteOut(BaseModel):
    """A link that works once."""

    link: str
