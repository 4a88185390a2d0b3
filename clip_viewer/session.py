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
    """Redeems a link and starts a session.

    Args:
        people: Who may sign in.
        cookie: Name of the session's cookie.
        token: The link's token.
        request: The request with the link.
        response: Gets the cookie.

    Returns:
        The session's secret, and the person.

    Raises:
        Refusal: If the link is invalid.
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
    """Ends the session of a request."""
    await run_in_threadpool(people.leave, session_of(request.scope))
    response.delete_cookie(cookie, httponly=True, samesite="strict")
