"""Checks every request: whatever is not explicitly allowed is refused before a route sees it.

A request must name one of our hosts; otherwise a page on another site could reach the server under
its own domain name (DNS rebinding). All but a few public paths need a session. All methods but GET
and HEAD must come from our own page, according to the browser's origin headers, and carry the
session's write token. New routes are guarded by default: only public routes have to be listed.
"""

from __future__ import annotations

import hmac
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import cookie_parser
from starlette.types import ASGIApp, Receive, Scope, Send

from clip_viewer.limits import RateLimit
from clip_viewer.people import People, Person, write_token
from clip_viewer.words import in_words, refused
from prefrl.web.requests import (
    WITHOUT_BODY,
    check_method,
    header_of,
    host_of,
    pass_on,
)

__all__ = ["Guard", "person_of", "session_of"]

_METHODS = WITHOUT_BODY | {"POST", "DELETE"}
_PUBLIC = {"/", "/dashboard", "/healthz", "/favicon.ico", "/sw.js"}
_STATIC = "/static/"
_SIGN_IN = "/api/session"
_FOR_OWNERS = (
    "/api/statistics",
    "/api/labels.jsonl",
    "/api/people",
    "/api/flagged",
    "/api/standings",
)
_LARGEST_BODY = 256 * 1024
_HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "media-src 'self'; connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; "
        "form-action 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
    "x-frame-options": "DENY",
}


class Guard:
    """ASGI middleware around the whole application.

    Args:
        app: The application to guard.
        people: Who may sign in.
        hosts: Allowed values of the Host header: names with ports, in lower case.
        cookie: Name of the session's cookie.
    """

    def __init__(self, app: ASGIApp, people: People, hosts: frozenset[str], cookie: str) -> None:
        self._app = app
        self._people = people
        self._hosts = hosts
        self._cookie = cookie
        self._sign_ins = RateLimit(per_second=0.2, burst=10)
        self._writes = RateLimit(per_second=20, burst=100)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes a request on, or refuses it."""
        private = scope["type"] == "http" and scope["path"].startswith("/api/")
        await pass_on(
            self._app,
            scope,
            receive,
            send,
            check=self._check,
            headers=_HEADERS | ({"cache-control": "no-store"} if private else {}),
            largest=_LARGEST_BODY,
            say=in_words,
        )

    async def _check(self, scope: Scope) -> None:
        method, path = scope["method"], scope["path"]
        host = host_of(scope, self._hosts)
        check_method(scope, _METHODS)
        if method not in WITHOUT_BODY:
            _check_origin(scope, host)
        scope.setdefault("state", {})
        if method in WITHOUT_BODY and (path in _PUBLIC or path.startswith(_STATIC)):
            return
        if path == _SIGN_IN and method == "POST":
            self._check_rate(self._sign_ins, _address(scope))
            return
        session = _cookie(scope, self._cookie)
        person = await run_in_threadpool(self._people.of_session, session) if session else None
        if session is None or person is None:
            raise refused(401, "refused.no-session")
        if method not in WITHOUT_BODY:
            told = header_of(scope, b"x-prefrl-token") or ""
            if not hmac.compare_digest(told.encode(), write_token(session).encode()):
                raise refused(403, "refused.token")
            self._check_rate(self._writes, person.name)
        if path.startswith(_FOR_OWNERS) and person.role != "owner":
            raise refused(403, "refused.owners")
        scope["state"] |= {"person": person, "session": session}

    @staticmethod
    def _check_rate(limit: RateLimit, visitor: str) -> None:
        if seconds := limit.wait(visitor):
            raise refused(429, "refused.too-fast", {"retry-after": str(seconds)}, n=seconds)


def person_of(scope: Any) -> Person:
    """The person who sent a request; it has passed the guard."""
    person: Person = scope["state"]["person"]
    return person


def session_of(scope: Any) -> str:
    """The secret of a request's session; the request has passed the guard."""
    return str(scope["state"]["session"])


def _check_origin(scope: Scope, host: str) -> None:
    """Refuses what another site makes a browser send (OWASP's Fetch Metadata and Origin checks)."""
    site, origin = header_of(scope, b"sec-fetch-site"), header_of(scope, b"origin")
    ours = {f"http://{host}", f"https://{host}"}
    from_here = site == "same-origin" if site is not None else origin is not None
    if not from_here or (origin is not None and origin.lower() not in ours):
        raise refused(403, "refused.origin")


def _cookie(scope: Scope, name: str) -> str | None:
    # http.cookies returns nothing if it cannot parse another program's cookie, and cookies are
    # shared by all ports of a machine.
    return cookie_parser(header_of(scope, b"cookie") or "").get(name)


def _address(scope: Scope) -> str:
    return scope["client"][0] if scope.get("client") else "unknown"
