"""Checks of requests before any route: host, method and size, and how they are refused."""

from __future__ import annotations

import asyncio
import ipaddress
import json
from collections.abc import Awaitable, Callable, Collection, Mapping

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from prefrl.errors import ConfigError

__all__ = [
    "WITHOUT_BODY",
    "Refusal",
    "check_address",
    "check_method",
    "header_of",
    "host_of",
    "hosts_at",
    "is_loopback",
    "pass_on",
]

WITHOUT_BODY = frozenset({"GET", "HEAD"})
"""Methods that change nothing."""

_SECONDS_FOR_BODY = 10.0


class Refusal(Exception):
    """Raised to refuse a request.

    Args:
        status: The HTTP status.
        why: The reason, in one sentence.
        headers: Headers of the response.
        key: Key of that sentence in the words of a page in several languages; None if it has none.
        values: Values to fill into the sentence with that key.
    """

    def __init__(
        self,
        status: int,
        why: str,
        headers: dict[str, str] | None = None,
        *,
        key: str | None = None,
        **values: object,
    ) -> None:
        super().__init__(why)
        self.status = status
        self.headers = headers or {}
        self.key, self.values = key, values


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a server that listens on an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def hosts_at(port: int, names: Collection[str]) -> frozenset[str]:
    """Returns all allowed values of the Host header: names with ports, in lower case.

    Args:
        port: Port of the server.
        names: Names by which other machines call this one, with or without a port.
    """
    own = {f"{name}:{port}" for name in ("127.0.0.1", "localhost", "[::1]")}
    told = {name.lower().rstrip(".") for name in names}
    # Behind a proxy the port is the proxy's, which a browser leaves out if it is the default.
    return frozenset(own | told | {f"{name}:{port}" for name in told})


def check_address(
    host: str, port: int, *, expose: bool, names: Collection[str], options: str, example: str
) -> None:
    """Refuses an address that others can reach without ``expose``, and ``expose`` without names.

    Args:
        host: Address to listen on.
        port: Port to listen on.
        expose: Whether other machines may reach it.
        names: Names by which they call this machine.
        options: Prefix of the names of the options, such as ``--page.``.
        example: Example of a name, for the error.

    Raises:
        ConfigError: If the address is refused, or the port is out of range.
    """
    if not 0 < port < 65536:
        raise ConfigError(f"port must be between 1 and 65535, got {port}.")
    if not is_loopback(host) and not expose:
        raise ConfigError(
            f"expected a loopback address to listen on, got {host}; other machines can reach that "
            f"one. If they are to, say {options}expose; safer is an SSH tunnel: "
            f"ssh -L {port}:127.0.0.1:{port} this-machine"
        )
    if expose and not names:
        raise ConfigError(
            f"expected the names by which other machines call this one, as in {options}hosts "
            f"{example}; requests under any other name are refused."
        )


async def pass_on(
    app: ASGIApp,
    scope: Scope,
    receive: Receive,
    send: Send,
    *,
    check: Callable[[Scope], Awaitable[None]],
    headers: Mapping[str, str],
    largest: int,
    say: Callable[[Refusal, str | None], str] = lambda refusal, language: str(refusal),
) -> None:
    """Checks a request and passes it on with its whole body, or refuses it with one sentence.

    Args:
        app: The application to guard.
        scope: ASGI scope of the request.
        receive: ASGI function that receives the request's body.
        send: ASGI function that sends the response.
        check: Raises ``Refusal`` for a request to refuse.
        headers: Headers of every response.
        largest: Most bytes of a body.
        say: Returns the sentence of a refusal, given the request's Accept-Language header.
    """
    if scope["type"] == "lifespan":
        await app(scope, receive, send)
        return
    if scope["type"] != "http":
        return  # there are no WebSockets here
    send = _with_headers(send, headers)
    try:
        await check(scope)
        if scope["method"] not in WITHOUT_BODY:
            receive = await _whole_body(scope, receive, largest=largest)
    except Refusal as refusal:
        await _refuse(send, refusal, say(refusal, header_of(scope, b"accept-language")))
        return
    await app(scope, receive, send)


def check_method(scope: Scope, methods: Collection[str]) -> None:
    """Refuses all but some methods.

    Raises:
        Refusal: If the request has another method.
    """
    method = scope["method"]
    if method not in methods:
        raise Refusal(
            405,
            f"{method} is not used here.",
            {"allow": ", ".join(sorted(methods))},
            key="refused.method",
            method=method,
        )


def host_of(scope: Scope, hosts: Collection[str]) -> str:
    """Returns the host that a request names.

    Raises:
        Refusal: If it is not one of ours, or there are several: a page on another site could reach
            us under its own domain name (DNS rebinding).
    """
    told = [value for name, value in scope["headers"] if name == b"host"]
    host = told[0].decode("latin-1").lower() if len(told) == 1 else ""
    name, colon, port = host.rpartition(":")
    if colon and not port.endswith("]"):
        host = f"{name.rstrip('.')}:{port}"
    else:
        host = host.rstrip(".")
    if host not in hosts:
        raise Refusal(
            400,
            "This server is not called that. Use the address that it printed at its start.",
            key="refused.host",
        )
    return host


def header_of(scope: Scope, name: bytes) -> str | None:
    """Returns the value of a header; None if absent, "several" if it is repeated."""
    told = [value for key, value in scope["headers"] if key == name]
    if not told:
        return None
    return told[0].decode("latin-1") if len(told) == 1 else "several"


async def _whole_body(scope: Scope, receive: Receive, *, largest: int) -> Receive:
    """Reads the body, within limits of size and time, before any route begins.

    Args:
        scope: ASGI scope of the request.
        receive: ASGI function that receives the body in parts.
        largest: Most bytes of the body.

    Returns:
        An ASGI function that receives the body as a whole.

    Raises:
        Refusal: If the body is too large, arrives too slowly, or is not declared as JSON.
    """
    length = header_of(scope, b"content-length") or "0"
    if not length.isdecimal() or int(length) > largest:
        raise Refusal(413, f"At most {largest} bytes at once.", key="refused.size", n=largest)
    body = bytearray()
    more = True
    while more:
        try:
            message = await asyncio.wait_for(receive(), _SECONDS_FOR_BODY)
        except TimeoutError:
            raise Refusal(408, "The request did not come to its end.", key="refused.slow") from None
        body += message.get("body", b"")
        more = message.get("more_body", False) and message["type"] == "http.request"
        if len(body) > largest:
            raise Refusal(413, f"At most {largest} bytes at once.", key="refused.size", n=largest)
    kind = (header_of(scope, b"content-type") or "").split(";")[0].strip().lower()
    if body and kind != "application/json":
        raise Refusal(415, "Expected application/json.", key="refused.type")
    sent = False

    async def again() -> Message:
        nonlocal sent
        if sent:
            return await receive()
        sent = True
        return {"type": "http.request", "body": bytes(body), "more_body": False}

    return again


def _with_headers(send: Send, headers: Mapping[str, str]) -> Send:
    """Wraps ``send`` to add headers to the response."""
    added = [(name.encode(), value.encode()) for name, value in headers.items()]

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message.get("headers", ()), *added]
        await send(message)

    return sending


async def _refuse(send: Send, refusal: Refusal, said: str) -> None:
    """Responds with one sentence as JSON."""
    body = json.dumps({"error": said}).encode()
    headers = {"content-type": "application/json", "content-length": str(len(body))}
    told = [(k.encode(), v.encode()) for k, v in (headers | refusal.headers).items()]
    await send({"type": "http.response.start", "status": refusal.status, "headers": told})
    await send({"type": "http.response.body", "body": body})
