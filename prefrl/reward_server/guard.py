"""Checks every request: without the token, only the health check responds.

Clients are programs, so there are no sessions: each request carries the token, as a bearer token
or, from trainers that accept only a URL, as the password in it.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import os
import secrets
from pathlib import Path

from starlette.types import ASGIApp, Receive, Scope, Send

from prefrl.errors import ConfigError
from prefrl.web.requests import (
    WITHOUT_BODY,
    Refusal,
    check_method,
    header_of,
    host_of,
    pass_on,
)

__all__ = ["HEALTH", "Guard", "token_in"]

HEALTH = "/health"
"""Path of the health check, which is public."""

_METHODS = {"GET", "POST"}
_HEADERS = {"x-content-type-options": "nosniff", "cache-control": "no-store"}
_FEWEST_CHARACTERS = 16


class Guard:
    """ASGI middleware around the whole application.

    Args:
        app: The application to guard.
        token: The token that every request must carry.
        hosts: Allowed values of the Host header: names with ports, in lower case.
        largest: Most bytes of a body.
    """

    def __init__(self, app: ASGIApp, token: str, hosts: frozenset[str], largest: int) -> None:
        self._app = app
        self._token = token.encode()
        self._hosts = hosts
        self._largest = largest

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes a request on, or refuses it."""
        await pass_on(
            self._app,
            scope,
            receive,
            send,
            check=self._check,
            headers=_HEADERS,
            largest=self._largest,
        )

    async def _check(self, scope: Scope) -> None:
        host_of(scope, self._hosts)
        check_method(scope, _METHODS)
        if scope["path"] == HEALTH and scope["method"] in WITHOUT_BODY:
            return
        told = _token_of(header_of(scope, b"authorization"))
        if told is None or not hmac.compare_digest(told, self._token):
            got = "none" if told is None else "another one"
            raise Refusal(
                401,
                "expected the server's token, as Authorization: Bearer TOKEN or as the password in "
                f"the URL, http://prefrl:TOKEN@HOST:PORT/…, got {got}; prefrl serve-reward says "
                "where it is.",
            )


def _token_of(authorization: str | None) -> bytes | None:
    """Returns the token in an Authorization header; None if it has none."""
    scheme, _, told = (authorization or "").partition(" ")
    if scheme.lower() == "bearer":
        return told.strip().encode("latin-1")
    if scheme.lower() != "basic":
        return None
    try:
        return base64.b64decode(told, validate=True).partition(b":")[2]
    except (binascii.Error, ValueError):
        return None


def token_in(path: Path) -> str:
    """Reads the token in a file, which is created if absent, readable by its owner only.

    Raises:
        ConfigError: If its content is too short for a token, or not printable ASCII.
        OSError: If the file cannot be read or created.
    """
    try:
        file = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    except FileExistsError:
        token = path.read_text(encoding="utf-8").strip()
    else:
        token = secrets.token_urlsafe(32)
        with os.fdopen(file, "w") as made:
            made.write(f"{token}\n")
    if len(token) < _FEWEST_CHARACTERS or not token.isascii() or not token.isprintable():
        raise ConfigError(
            f"expected a token of at least {_FEWEST_CHARACTERS} characters in {path}, got "
            f"{len(token)}; remove the file, and a new one is made."
        )
    return token
