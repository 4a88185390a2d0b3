"""Signing in and out: a link that works once becomes a cookie."""

from __future__ import annotations

from fastapi import Request, Response
from starlette.concurrency import run_in_threadpool

from clip_viewer.guard import session_of
from clip_viewer.people import People, Person
from clip_viewer.words import refused

__all__ = ["sign_in", "sign_out"]

_SECONDS_OF_A_COOKIE = 30 * 86400


async def sign_in(
    people: People, cookie: str, token: str, request: Request, response: Response
) -> tuple[str, Person]:
    """Uses a link up, and gives whoever has it a session.

    Args:
        people: Who may come in.
        cookie: Name of the session's cookie.
        token: Of the link.
        request: Told by this.
        response: Is given the cookie.

    Returns:
        The session's secret, and whose it is.

    Raises:
        Refusal: If the link is not good.
    """
    entered = await run_in_threadpool(people.enter, token)
    if entered is None:
        raise refused(403, "refused.link")
    response.set_cookie(
        cookie,
        entered[0],
        max_age=_SECONDS_OF_A_COOKIE,
        httponly=True,
        samesite="strict",
        secure=request.headers.get("origin", "").startswith("https://"),
    )
    return entered


async def sign_out(people: People, cookie: str, request: Request, response: Response) -> None:
    """Ends the session of whoever asks."""
    await run_in_threadpool(people.leave, session_of(request.scope))
    response.delete_cookie(cookie, httponly=True, samesite="strict")
