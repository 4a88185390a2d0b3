"""Announces the address of a run's page, once it can be opened."""

from __future__ import annotations

import contextlib
import http.client
import itertools
import json
import threading
import time
from collections.abc import Callable

from prefrl.commands.page_config import PageConfig, page_of
from prefrl.runtime.rundir import RunDirectory

__all__ = ["announce", "link_at"]

_SECONDS_BETWEEN_LOOKS = 0.1
_SECONDS_BETWEEN_LATER_LOOKS = 1.0
_MANY_LOOKS = 300
_SECONDS_TO_ANSWER = 2.0
_LOOPBACK = {"0.0.0.0": "127.0.0.1", "::": "::1"}


def link_at(page: PageConfig, token: str) -> str:
    """Returns a sign-in link.

    Args:
        page: Where the page is served.
        token: Token of the link.
    """
    if not (page.expose and page.hosts):
        return f"http://127.0.0.1:{page.port}/#enter={token}"
    host = page.hosts[0]
    return f"http://{host if ':' in host else f'{host}:{page.port}'}/#enter={token}"


def announce(run: RunDirectory, link: str, tell: Callable[[str], None]) -> None:
    """Announces a link once it can be opened, because people try it at once; runs in a thread.

    Args:
        run: The run, for which ``open_page`` was called.
        link: A sign-in link to its page.
        tell: Called with the link, which has another port if that one was taken meanwhile.
    """
    from clip_viewer.people import People

    study, (_, _, token) = People(run.people).study, link.partition("#enter=")

    def wait() -> None:
        for n_looks in itertools.count():
            page = page_of(run)
            if _study_at(page) == study:
                return tell(link_at(page, token))
            is_slow = n_looks > _MANY_LOOKS
            time.sleep(_SECONDS_BETWEEN_LATER_LOOKS if is_slow else _SECONDS_BETWEEN_LOOKS)

    threading.Thread(target=wait, name="announce", daemon=True).start()


def _study_at(page: PageConfig) -> str | None:
    """Asks for the name of the study at a page's address; None if none is served there."""
    assert page.port is not None  # check_page has chosen one
    host = _LOOPBACK.get(page.host, page.host)
    connection = http.client.HTTPConnection(host, page.port, timeout=_SECONDS_TO_ANSWER)
    with contextlib.closing(connection), contextlib.suppress(OSError, http.client.HTTPException):
        connection.request("GET", "/healthz", headers={"Host": f"127.0.0.1:{page.port}"})
        told = connection.getresponse().read(4096)
        with contextlib.suppress(ValueError, AttributeError):
            return str(json.loads(told).get("study"))
    return None
