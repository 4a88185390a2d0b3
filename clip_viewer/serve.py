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
        listening: What listens at that address already, if anything does; it is closed in the end.
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
        app: Guarded already.
        config: At which address.
        listening: What listens there already, if anything does; it is closed in the end.
        on_tick: Called about twice a second.
        should_stop: Asked as often.

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
