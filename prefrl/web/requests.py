"""Requests before any route: whom they name as host, how large they are, how they are refused."""

from __future__ import annotations

import asyncio
import ipaddress
import json
from collections.abc import Collection

from starlette.types import Message, Receive, Scope, Send

__all__ = [
    "Refusal",
    "header_of",
    "host_of",
    "hosts_at",
    "is_loopback",
    "refuse",
    "whole_body",
    "with_headers",
]

_SECONDS_FOR_BODY = 10.0


class Refusal(Exception):
    """A request that goes no further.

    Args:
        status: HTTP's number for why.
        why: One sentence.
        headers: To send along.
        key: What pages that speak several languages call the sentence; None if it has no name.
        values: What is filled into it there.
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
    """Whether only this machine can reach an address that is listened on."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def hosts_at(port: int, names: Collection[str]) -> frozenset[str]:
    """All that may stand in a request's Host: names with ports, in small letters.

    Args:
        port: That is listened on.
        names: By which others call this machine, with or without a port.
    """
    own = {f"{name}:{port}" for name in ("127.0.0.1", "localhost", "[::1]")}
    told = {name.lower().rstrip(".") for name in names}
    # Behind a proxy the port is the proxy's, which a browser leaves out if it is the usual one.
    return frozenset(own | told | {f"{name}:{port}" for name in told})


def host_of(scope: Scope, hosts: Collection[str]) -> str:
    """The host that a request names.

    Raises:
        Refusal: If it is none of ours, or there are several: a page elsewhere may reach us through
            a name of its own (DNS rebinding).
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
    """The only value of a header; with several, one that fits nothing."""
    told = [value for key, value in scope["headers"] if key == name]
    if not told:
        return None
    return told[0].decode("latin-1") if len(told) == 1 else "several"


async def whole_body(scope: Scope, receive: Receive, *, largest: int) -> Receive:
    """Reads the body, within limits of size and time, before any route begins.

    Args:
        scope: Of the request.
        receive: Gives its parts.
        largest: Bytes of it at most.

    Returns:
        What gives it as a whole.

    Raises:
        Refusal: If it is too large, does not come to its end, or is no JSON by its own account.
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


def with_headers(send: Send, headers: dict[str, str]) -> Send:
    """Adds headers to whatever is answered."""
    added = [(name.encode(), value.encode()) for name, value in headers.items()]

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message.get("headers", ()), *added]
        await send(message)

    return sending


async def refuse(send: Send, refusal: Refusal, said: str | None = None) -> None:
    """Answers with one sentence of JSON.

    Args:
        send: Where to.
        refusal: Why.
        said: The sentence in another language; None sends it in English.
    """
    body = json.dumps({"error": said or str(refusal)}).encode()
    headers = {"content-type": "application/json", "content-length": str(len(body))}
    told = [(k.encode(), v.encode()) for k, v in (headers | refusal.headers).items()]
    await send({"type": "http.response.start", "status": refusal.status, "headers": told})
    await send({"type": "http.response.body", "body": body})
