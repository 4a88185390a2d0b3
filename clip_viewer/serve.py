"""Runs the server until told to stop."""

from __future__ import annotations

import socket
from collections.abc import Callable

from starlette.types import ASGIApp

from clip_viewer.app import create_app
from clip_viewer.config import ViewerConfig
from clip_viewer.tally import Presence
from prefrl.web.listening import listen_and_serve

__all__ = ["serve", "serve_app"]


def serve(
    config: ViewerConfig,
    *,
    listening: socket.socket | None = None,
    on_tick: Callable[[int, int], None] = lambda n_people, pixels: None,
    should_stop: Callable[[int], bool] = lambda n_untold: False,
) -> None:
    """Serves the labelling page.

    Args:
        config: What, where, and to whom.
        listening: A socket that already listens at that address, if any; it is closed at the end.
        on_tick: Called about twice a second with the number of people at the page, and the largest
            side of a film on their screens in pixels, 0 if unknown.
        should_stop: Called as often, with the number of people whose page does not know yet that
            the training is over; returns whether to stop.

    Raises:
        ConfigError: If the address cannot be listened on, or the instructions cannot be read.
        StoreError: If the label store cannot be opened.
    """
    presence = Presence()
    serve_app(
        create_app(config, presence=presence),
        config,
        listening=listening,
        on_tick=lambda: on_tick(presence.n_present(), presence.pixels()),
        should_stop=lambda: should_stop(presence.n_untold()),
    )


def serve_app(
    app: ASGIApp,
    config: ViewerConfig,
    *,
    listening: socket.socket | None = None,
    on_tick: Callable[[], None],
    should_stop: Callable[[], bool],
) -> None:
    """Serves an application.

    Args:
        app: The application, already guarded.
        config: At which address.
        listening: A socket that already listens there, if any; it is closed at the end.
        on_tick: Called about twice a second.
        should_stop: Called as often; returns whether to stop.

    Raises:
        ConfigError: If the address cannot be listened on.
    """
    listen_and_serve(
        app,
        config.host,
        config.port,
        sent="what people send travels",
        option="--page.port",
        listening=listening,
        on_tick=on_tick,
        should_stop=should_stop,
    )
