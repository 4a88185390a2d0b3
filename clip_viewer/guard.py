"""Every request passes here: what is not known to be allowed is refused before any route sees it.

A request must name a host that is ours, or a page elsewhere could reach us through a name of its
own (DNS rebinding). All but a few public paths need a session. All but GET and HEAD must come from
our own page, by what the browser says of its origin, and carry the session's write token. What is
new is guarded by default: a route has to be listed to be public, not to be closed.
"""

from __future__ import annotations

import asyncio
import hmac
import json
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import cookie_parser
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from clip_viewer.limits import RateLimit
from clip_viewer.people import People, Person, write_token
from clip_viewer.words import language_of, say

__all__ = ["Guard", "Refusal", "person_of", "session_of"]

_SAFE = {"GET", "HEAD"}
_METHODS = _SAFE | {"POST", "DELETE"}
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
_SECONDS_FOR_BODY = 10.0
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


class Refusal(Exception):
    """A request that goes no further.

    Args:
        status: HTTP's number for why.
        key: Which of the words says why.
        headers: To send along.
        values: For what stands in braces there.
    """

    def __init__(
        self, status: int, key: str, headers: dict[str, str] | None = None, **values: object
    ) -> None:
        super().__init__(key)
        self.status = status
        self.headers = headers or {}
        self._key, self._values = key, values

    def said_in(self, accepted: str | None) -> str:
        """Why, in one sentence of a language that an Accept-Language names."""
        return say(language_of(accepted), self._key, **self._values)


class Guard:
    """ASGI middleware around the whole application.

    Args:
        app: What is guarded.
        people: Who may come in.
        hosts: What may stand in Host: names with ports, in small letters.
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
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            return  # there are no WebSockets here
        send = _with_headers(send, private=scope["path"].startswith("/api/"))
        try:
            await self._check(scope)
            if scope["method"] not in _SAFE:
                receive = await _whole_body(scope, receive)
        except Refusal as refusal:
            await _refuse(send, refusal, _header(scope, b"accept-language"))
            return
        await self._app(scope, receive, send)

    async def _check(self, scope: Scope) -> None:
        method, path = scope["method"], scope["path"]
        host = self._host(scope)
        if method not in _METHODS:
            raise Refusal(
                405, "refused.method", {"allow": ", ".join(sorted(_METHODS))}, method=method
            )
        if method not in _SAFE:
            _check_origin(scope, host)
        scope.setdefault("state", {})
        if method in _SAFE and (path in _PUBLIC or path.startswith(_STATIC)):
            return
        if path == _SIGN_IN and method == "POST":
            self._check_rate(self._sign_ins, _address(scope))
            return
        session = _cookie(scope, self._cookie)
        person = await run_in_threadpool(self._people.of_session, session) if session else None
        if session is None or person is None:
            raise Refusal(401, "refused.no-session")
        if method not in _SAFE:
            told = _header(scope, b"x-prefrl-token") or ""
            if not hmac.compare_digest(told.encode(), write_token(session).encode()):
                raise Refusal(403, "refused.token")
            self._check_rate(self._writes, person.name)
        if path.startswith(_FOR_OWNERS) and person.role != "owner":
            raise Refusal(403, "refused.owners")
        scope["state"] |= {"person": person, "session": session}

    def _host(self, scope: Scope) -> str:
        told = [value for name, value in scope["headers"] if name == b"host"]
        host = told[0].decode("latin-1").lower() if len(told) == 1 else ""
        name, colon, port = host.rpartition(":")
        if colon and not port.endswith("]"):
            host = f"{name.rstrip('.')}:{port}"
        else:
            host = host.rstrip(".")
        if host not in self._hosts:
            raise Refusal(400, "refused.host")
        return host

    @staticmethod
    def _check_rate(limit: RateLimit, visitor: str) -> None:
        if seconds := limit.wait(visitor):
            raise Refusal(429, "refused.too-fast", {"retry-after": str(seconds)}, n=seconds)


def person_of(scope: Any) -> Person:
    """Who sent a request that passed the guard."""
    person: Person = scope["state"]["person"]
    return person


def session_of(scope: Any) -> str:
    """The secret of the session in which a request was sent that passed the guard."""
    return str(scope["state"]["session"])


def _check_origin(scope: Scope, host: str) -> None:
    """Refuses what another page makes a browser send (OWASP's Fetch Metadata and Origin checks)."""
    site, origin = _header(scope, b"sec-fetch-site"), _header(scope, b"origin")
    ours = {f"http://{host}", f"https://{host}"}
    from_here = site == "same-origin" if site is not None else origin is not None
    if not from_here or (origin is not None and origin.lower() not in ours):
        raise Refusal(403, "refused.origin")


async def _whole_body(scope: Scope, receive: Receive) -> Receive:
    """Reads the body, within limits of size and time, before any route begins."""
    length = _header(scope, b"content-length") or "0"
    if not length.isdecimal() or int(length) > _LARGEST_BODY:
        raise Refusal(413, "refused.size", n=_LARGEST_BODY)
    body = bytearray()
    more = True
    while more:
        try:
            message = await asyncio.wait_for(receive(), _SECONDS_FOR_BODY)
        except TimeoutError:
            raise Refusal(408, "refused.slow") from None
        body += message.get("body", b"")
        more = message.get("more_body", False) and message["type"] == "http.request"
        if len(body) > _LARGEST_BODY:
            raise Refusal(413, "refused.size", n=_LARGEST_BODY)
    kind = (_header(scope, b"content-type") or "").split(";")[0].strip().lower()
    if body and kind != "application/json":
        raise Refusal(415, "refused.type")
    sent = False

    async def again() -> Message:
        nonlocal sent
        if sent:
            return await receive()
        sent = True
        return {"type": "http.request", "body": bytes(body), "more_body": False}

    return again


def _with_headers(send: Send, *, private: bool) -> Send:
    """Adds the headers that every answer has."""
    headers = _HEADERS | ({"cache-control": "no-store"} if private else {})
    added = [(name.encode(), value.encode()) for name, value in headers.items()]

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message.get("headers", ()), *added]
        await send(message)

    return sending


async def _refuse(send: Send, refusal: Refusal, accepted: str | None) -> None:
    body = json.dumps({"error": refusal.said_in(accepted)}).encode()
    headers = {"content-type": "application/json", "content-length": str(len(body))}
    told = [(k.encode(), v.encode()) for k, v in (headers | refusal.headers).items()]
    await send({"type": "http.response.start", "status": refusal.status, "headers": told})
    await send({"type": "http.response.body", "body": body})


def _header(scope: Scope, name: bytes) -> str | None:
    """The only value of a header; with several, one that fits nothing."""
    told = [value for key, value in scope["headers"] if key == name]
    if not told:
        return None
    return told[0].decode("latin-1") if len(told) == 1 else "several"


def _cookie(scope: Scope, name: str) -> str | None:
    # http.cookies gives nothing at all if another program's cookie is not to its taste, and cookies
    # are shared by all ports of a machine.
    return cookie_parser(_header(scope, b"cookie") or "").get(name)


def _address(scope: Scope) -> str:
    return scope["client"][0] if scope.get("client") else "unknown"
