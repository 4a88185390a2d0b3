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

__all__ = ["free_port", "listen", "listen_and_serve"]

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
    listening: socket.socket | None = None,
    on_tick: Callable[[], None],
    should_stop: Callable[[], bool],
) -> None:
    """Serves an application until told to stop.

    Args:
        app: The application, already guarded.
        host: Address to listen on.
        port: Port to listen on.
        sent: What is sent unencrypted, with its verb, for the warning if others can reach it.
        option: Name of the option that sets the port, for the error if it is taken.
        listening: A socket that already listens there, if any; it is closed at the end.
        on_tick: Called about twice a second.
        should_stop: Called as often; returns whether to stop.

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
        proxy_headers=False,  # headers must not decide who the client is
        timeout_keep_alive=30,
        limit_concurrency=500,
        timeout_graceful_shutdown=_SECONDS_TO_FINISH,
        ws="none",
    )
    server = _Server(settings)

    async def run() -> None:
        work = asyncio.create_task(server.serve(sockets=[server_socket]))
        while not work.done():
            on_tick()
            server.should_exit = server.should_exit or should_stop()
            await asyncio.wait([work], timeout=_SECONDS_BETWEEN_TICKS)
        await work

    with listening or listen(host, [port], option=option) as server_socket:
        asyncio.run(run())


def listen(host: str, ports: Sequence[int], *, option: str) -> socket.socket:
    """Listens on the first free port, which nobody else can take from now on.

    Args:
        host: Address to listen on.
        ports: Ports to try, in order.
        option: Name of the option that sets the port, for the error.

    Raises:
        ConfigError: If none is free.
    """
    why: str | None = None
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for port in ports:
        try:
            listening = socket.create_server((host, port), family=family, backlog=256)
        except OSError as error:
            why = why or error.strerror
            continue
        # asyncio sets this only for sockets with an explicit protocol, which these lack. Without it
        # the body of a response waits 40 ms for its head to be acknowledged.
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return listening
    raise ConfigError(
        f"expected to listen on {host} port {ports[0]}, but {why}; choose another port with "
        f"{option}."
    )


def free_port(host: str, ports: Sequence[int], *, option: str) -> int:
    """Returns the first port that is free now; arguments and errors as for ``listen``."""
    with listen(host, ports, option=option) as listening:
        return int(listening.getsockname()[1])


class _Server(uvicorn.Server):
    """Leaves signals to the caller of ``listen_and_serve``."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Captures no signals."""
        yield
