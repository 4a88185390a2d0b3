"""Several studies on one server: a list, one sign-in for all, and a path for each.

A study is the same application as when it is served alone, with its own guard; only the people are
shared. It is opened at the first request for it, and closed when its folder is gone.
"""

from __future__ import annotations

import contextlib
import logging
import sqlite3
import threading
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from fastapi import FastAPI, Request, Response
from starlette.concurrency import run_in_threadpool
from starlette.types import Receive, Scope, Send

from clip_viewer.app import Entry, add_pages, cookie_at, create_app, explain_refusals
from clip_viewer.config import ViewerConfig
from clip_viewer.guard import Guard, person_of, session_of
from clip_viewer.hub_messages import SignedInOut, StudiesOut, StudyOut
from clip_viewer.messages import SignIn
from clip_viewer.news import RunNews
from clip_viewer.people import People, Person, write_token
from clip_viewer.session import sign_in, sign_out
from clip_viewer.tally import Presence
from prefrl.core.store.glance import glance, is_on_server
from prefrl.core.store.labels import Counts
from prefrl.errors import ConfigError, StoreError

__all__ = ["BELOW", "Found", "Hub", "Shelf"]

BELOW = "/r/"
"""The path below which the studies are."""

_log = logging.getLogger(__name__)
_SECONDS_BETWEEN_LOOKS = 1.0
_SECONDS_AWAY = 60.0
_SECONDS_OF_A_STAMP = 1.0  # within which two changes of a file may have the same time


@dataclass(frozen=True)
class Found:
    """A study that can be served."""

    path: str
    """Its place below ``BELOW``: letters and digits."""
    name: str
    """Its name for the person who serves it: its folder."""
    config: ViewerConfig
    """What is served. Its people are not used, except that their file names the study."""
    elsewhere: str | None = None
    """Its address, if another process serves it already."""


class Shelf(Protocol):
    """Where the studies are found."""

    def look(self) -> list[Found]:
        """The studies that exist now."""
        ...

    def take(self, found: Found) -> bool:
        """Claims a study for this server, unless it has it; False if another process serves it."""
        ...

    def give_back(self, path: str) -> None:
        """Stops serving a study."""
        ...


@dataclass(eq=False)
class _Open:
    app: FastAPI
    presence: Presence
    config: ViewerConfig
    n_inside: int = 0
    """Requests that are being answered; until they are, it cannot be closed."""


_Stamps = tuple[tuple[int, int], ...]
_Glance = tuple[Counts, int] | None


def _stamps(store: Path) -> _Stamps:
    """Modification times in ns and sizes of a store's file and its journal."""
    told = []
    for path in (store, store.with_name(f"{store.name}-journal")):
        with contextlib.suppress(OSError):
            about = path.stat()
            told.append((about.st_mtime_ns, about.st_size))
    return tuple(told)


class Hub:
    """An ASGI application.

    Args:
        config: Address and people; its store, media and metrics are not used.
        shelf: The studies.
    """

    def __init__(self, config: ViewerConfig, shelf: Shelf) -> None:
        self._config = config
        self._shelf = shelf
        self._people = People(config.people)
        self._cookie = cookie_at(config.port)
        self._lock = threading.Lock()
        self._found: dict[str, Found] = {}
        self._looked_at = -_SECONDS_BETWEEN_LOOKS
        self._open: dict[str, _Open] = {}
        self._left: list[_Open] = []  # closed to new requests, still answering others
        self._inside = threading.Lock()  # never held for long
        self._presences: dict[str, Presence] = {}
        self._names: dict[str, str] = {}
        self._glances: dict[str, tuple[_Stamps, _Glance]] = {}
        self._server_glances: dict[str, tuple[float, _Glance]] = {}
        self._news: dict[str, tuple[ViewerConfig, RunNews]] = {}
        self._app = self._make_app()

    def present(self) -> dict[str, tuple[int, int]]:
        """Returns who is at the page of each open study, by its path.

        Returns:
            Number of people, and the largest side of a film on their screens in pixels, 0 if
            unknown.
        """
        here = {path: one.presence for path, one in list(self._open.items())}
        return {path: (one.n_present(), one.pixels()) for path, one in here.items()}

    def close(self) -> None:
        """Closes all studies."""
        with self._lock:
            for path in list(self._open):
                self._close(path)
            for one in self._left:
                one.app.state.close()
            self._left = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes a request on to its study, or answers it."""
        if scope["type"] == "http" and scope["path"].startswith(BELOW):
            path, slash, rest = scope["path"].removeprefix(BELOW).partition("/")
            opened = await run_in_threadpool(self._study, path) if slash else None
            if opened is not None:
                try:
                    await opened.app({**scope, "path": f"/{rest}"}, receive, send)
                finally:
                    with self._inside:
                        opened.n_inside -= 1
                return
        await self._app(scope, receive, send)

    def _study(self, path: str) -> _Open | None:
        """Returns the study at a path, opened if necessary; None if it cannot be opened."""
        with self._lock:
            self._look()
            opened = self._open.get(path) or self._opened(path)
            if opened is not None:
                with self._inside:
                    opened.n_inside += 1
            return opened

    def _opened(self, path: str) -> _Open | None:
        found = self._found.get(path)
        if found is None or not self._shelf.take(found):
            return None
        try:
            # It stays known who is there when a study is opened again.
            presence = self._presences.setdefault(path, Presence())
            entry = Entry(self._people, self._cookie, self._name(found))
            app = create_app(found.config, presence=presence, entry=entry)
        except (ConfigError, StoreError, OSError, sqlite3.Error) as error:
            self._shelf.give_back(path)
            _log.warning("%s cannot be served: %s", found.name, error)
            return None
        except BaseException:
            self._shelf.give_back(path)
            raise
        self._open[path] = _Open(app, presence, found.config)
        return self._open[path]

    def _name(self, found: Found) -> str:
        """Returns the name under which browsers keep a study's data; a copy has another one."""
        if found.path not in self._names:
            self._names[found.path] = f"{People(found.config.people).study}-{found.path}"
        return self._names[found.path]

    def _name_of_old(self, found: Found) -> str | None:
        """Returns ``_name``; None for a study without people, of which no browser keeps data."""
        with contextlib.suppress(OSError, sqlite3.Error):  # only that study is broken, not the list
            return self._name(found) if found.config.people.is_file() else None
        return None

    def _close(self, path: str) -> None:
        """Refuses new requests, and waits for those that are being answered."""
        self._left.append(self._open.pop(path))
        self._shelf.give_back(path)

    def _close_what_was_left(self) -> None:
        with self._inside:
            empty = [one for one in self._left if not one.n_inside]
        self._left = [one for one in self._left if one not in empty]
        for one in empty:
            one.app.state.close()

    def _look(self) -> None:
        if time.monotonic() - self._looked_at < _SECONDS_BETWEEN_LOOKS:
            return
        self._found = {found.path: found for found in self._shelf.look()}
        for path, one in list(self._open.items()):
            found = self._found.get(path)
            if found is None or found.config != one.config:  # opened again at the next request
                self._close(path)
        for gone in self._presences.keys() - self._found.keys():
            del self._presences[gone]
        self._close_what_was_left()
        self._looked_at = time.monotonic()

    def _studies(self, person: Person) -> StudiesOut:
        with self._lock:
            self._look()
            found = list(self._found.values())
        rows = [self._row(one, person) for one in found]
        return StudiesOut(studies=sorted(rows, key=lambda row: (row.waiting == 0, row.name)))

    def _row(self, found: Found, person: Person) -> StudyOut:
        config = found.config
        looked = self._glance(config.store)
        told, news = self._news.get(found.path, (None, None))
        if news is None or told != config:
            news = RunNews(None, config.status, finished=config.finished, trains=config.trains)
            self._news[found.path] = config, news
        opened = self._open.get(found.path)
        counts, n_people = looked if looked is not None else (None, 0)
        return StudyOut(
            path=f"{BELOW}{found.path}/",
            study=self._name_of_old(found),
            name=found.name,
            title=config.title,
            goal=config.goal,
            answered=counts.answered + counts.skipped if counts else 0,
            wanted=config.budget if config.trains or counts is None else counts.queries,
            waiting=counts.open if counts else 0,
            people=n_people,
            here=opened.presence.n_present() if opened else 0,
            phase=news.agent(for_owner=False).phase if counts else None,
            elsewhere=found.elsewhere if person.role == "owner" else found.elsewhere and "",
        )

    def _glance(self, store: str) -> _Glance:
        """Returns counts of a store; those of a file are cached until it or its journal changes."""
        if is_on_server(store):
            return self._glance_at_server(store)
        stamps = _stamps(Path(store))
        seen, looked = self._glances.get(store, (None, None))
        if seen != stamps or looked is None:
            looked = glance(store)
            self._glances.pop(store, None)
            # A file written a moment ago may change again within the same time stamp.
            if all(time.time() - changed / 1e9 > _SECONDS_OF_A_STAMP for changed, _ in stamps):
                self._glances[store] = stamps, looked
        return looked

    def _glance_at_server(self, store: str) -> _Glance:
        """Returns counts up to a second old; an unavailable server is left alone for a minute."""
        until, looked = self._server_glances.get(store, (0.0, None))
        if time.monotonic() > until:
            looked = glance(store)
            kept = _SECONDS_AWAY if looked is None else _SECONDS_BETWEEN_LOOKS
            self._server_glances[store] = time.monotonic() + kept, looked
        return looked

    def _make_app(self) -> FastAPI:
        @contextlib.asynccontextmanager
        async def lifespan(app: FastAPI) -> AsyncIterator[None]:
            yield
            self.close()

        app = FastAPI(
            title="prefrl hub", lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None
        )

        def signed_in(person: Person, session: str) -> SignedInOut:
            return SignedInOut(
                annotator=person.name,
                role=person.role,
                token=write_token(session),
                study=self._people.study,
            )

        @app.post("/api/session")
        async def enter(told: SignIn, request: Request, response: Response) -> SignedInOut:
            entered = await sign_in(self._people, self._cookie, told.token, request, response)
            return signed_in(entered[1], entered[0])

        @app.delete("/api/session", status_code=204)
        async def leave(request: Request, response: Response) -> None:
            await sign_out(self._people, self._cookie, request, response)

        @app.get("/api/me")
        async def me(request: Request) -> SignedInOut:
            return signed_in(person_of(request.scope), session_of(request.scope))

        @app.get("/api/studies")
        async def studies(request: Request) -> StudiesOut:
            return await run_in_threadpool(self._studies, person_of(request.scope))

        add_pages(app, {"/": "studies.html"}, self._people.study)
        explain_refusals(app)
        app.add_middleware(
            Guard, people=self._people, hosts=self._config.hosts, cookie=self._cookie
        )
        return app
