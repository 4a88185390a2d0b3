"""Messages between the page that lists several studies and the server."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel

from clip_viewer.messages import Phase

__all__ = ["SignedInOut", "StudiesOut", "StudyOut"]


class SignedInOut(BaseModel):
    """Who is signed in, on a server with several studies."""

    annotator: str
    role: Literal["annotator", "owner"]
    token: str
    study: str


class StudyOut(BaseModel):
    """One of several studies, and how many of its pairs are waiting for answers."""

    path: str
    study: str | None
    name: str
    title: str
    goal: str | None
    answered: int
    wanted: int | None
    waiting: int
    people: int
    here: int
    phase: Phase | None
    elsewhere: str | None


class StudiesOut(BaseModel):
    """The current studies, first those with pairs waiting for answers."""

    studies: list[StudyOut]
