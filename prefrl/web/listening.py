"""Serves an application at an address until told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Callable, Iterator, Sequence

import uvicorn
from starlette.types import ASGIApp

from prefrl.errors import ConfigError
from prefrl.web.requests import is_loopback

__all__ = ["free_port", "listen_and_serve"]

_log = logging.getLogger(__name__)
_SECONDS_BETWEEN_TICKS = 0.5
_SECONDS_TO_FINISH = 5


def listen_and_serve(
    app: ASGIApp,
    host: str,
    port: int,
    *,
    sent: str,
    option: str,
    on_tick: Callable[[], None],
    should_stop: Callable[[], bool],
) -> None:
    """Serves an application.

    Args:
        app: Guarded already.
        host: Address to listen on.
        port: Port to listen on.
        sent: What travels, for the warning where others can reach it.
        option: That sets the port, for the error where it is taken.
        on_tick: Called about twice a second.
        should_stop: Asked as often.

    Raises:
        ConfigError: If the address cannot be listened on.
    """
    if not is_loopback(host):
        _log.warning(
            "listening on %s:%d: %s in the clear. Safer is an SSH tunnel "
            "(ssh -L %d:127.0.0.1:%d this-machine), or a proxy with TLS in front.",
            *(host, port, sent, port, port),
        )
    settings = uvicorn.Config(
        app,
        access_log=False,
        log_config=None,
        log_level="warning",
        server_header=False,
        proxy_headers=False,  # whoever forwards must not be able to say who asks
        timeout_keep_alive=30,
        limit_concurrency=500,
        timeout_graceful_shutdown=_SECONDS_TO_FINISH,
        ws="none",
    )
    server = _Server(settings)

    async def run() -> None:
        work = asyncio.create_task(server.serve(sockets=[listening]))
        while not work.done():
            on_tick()
            server.should_exit = server.should_exit or should_stop()
            await asyncio.wait([work], timeout=_SECONDS_BETWEEN_TICKS)
        await work

    with _listen(host, port, option) as listening:
        asyncio.run(run())


def free_port(host: str, ports: Sequence[int], *, option: str) -> int:
    """The first port that is free.

    Args:
        host: Address to listen on.
        ports: To try.
        option: That sets it.

    Raises:
        ConfigError: If none is.
    """
    why: str | None = None
    for port in ports:
        try:
            socket.create_server((host, port), family=_family(host)).close()
        except OSError as error:
            why = why or error.strerror
            continue
        return port
    raise ConfigError(
        f"expected to listen on {host} port {ports[0]}, but {why}; choose another with "
        f"{option}, or leave that out."
    )


class _Server(uvicorn.Server):
    """Leaves signals to whoever called ``listen_and_serve``."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Captures none."""
        yield


def _listen(host: str, port: int, option: str) -> socket.socket:
    try:
        listening = socket.create_server((host, port), family=_family(host), backlog=256)
        # asyncio does so only for sockets that name their protocol, which these do not. Without it
        # the body of an answer waits 40 ms for the head to be acknowledged.
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return listening
    except OSError as error:
        raise ConfigError(
            f"expected to listen on {host} port {port}, but {error.strerror}; choose another port "
            f"with {option}."
        ) from error


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET
