"""Runs the server until told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Callable, Iterator

import uvicorn
from starlette.types import ASGIApp

from clip_viewer.app import create_app
from clip_viewer.config import ViewerConfig
from clip_viewer.tally import Presence
from prefrl.errors import ConfigError

__all__ = ["serve", "serve_app"]

_log = logging.getLogger(__name__)
_SECONDS_BETWEEN_TICKS = 0.5
_SECONDS_TO_FINISH = 5


def serve(
    config: ViewerConfig,
    *,
    on_tick: Callable[[int, int], None] = lambda n_people, pixels: None,
    should_stop: Callable[[int], bool] = lambda n_untold: False,
) -> None:
    """Serves the labelling page.

    Args:
        config: What, where, and to whom.
        on_tick: Called about twice a second with the number of people at the page, and the side of
            a film in pixels where it is shown largest; 0 while nobody knows.
        should_stop: Asked as often, with the number of people whose page does not know yet that the
            training is over.

    Raises:
        ConfigError: If the address cannot be listened on, or the instructions cannot be read.
        StoreError: If the label store cannot be opened.
    """
    presence = Presence()
    serve_app(
        create_app(config, presence=presence),
        config,
        on_tick=lambda: on_tick(presence.n_present(), presence.pixels()),
        should_stop=lambda: should_stop(presence.n_untold()),
    )


def serve_app(
    app: ASGIApp,
    config: ViewerConfig,
    *,
    on_tick: Callable[[], None],
    should_stop: Callable[[], bool],
) -> None:
    """Serves an application.

    Args:
        app: Guarded already.
        config: At which address.
        on_tick: Called about twice a second.
        should_stop: Asked as often.

    Raises:
        ConfigError: If the address cannot be listened on.
    """
    if not config.is_local:
        _log.warning(
            "listening on %s:%d: what people send travels in the clear. Safer is an SSH tunnel "
            "(ssh -L %d:127.0.0.1:%d this-machine), or a proxy with TLS in front.",
            *(config.host, config.port, config.port, config.port),
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

    with _listen(config) as listening:
        asyncio.run(run())


class _Server(uvicorn.Server):
    """Leaves signals to whoever called ``serve``."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Captures none."""
        yield


def _listen(config: ViewerConfig) -> socket.socket:
    try:
        return socket.create_server(
            (config.host, config.port),
            family=socket.AF_INET6 if ":" in config.host else socket.AF_INET,
            backlog=256,
        )
    except OSError as error:
        raise ConfigError(
            f"expected to listen on {config.host} port {config.port}, but {error.strerror}; choose "
            "another port with --page.port."
        ) from error
