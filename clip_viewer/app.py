"""Puts the application together: the routes, and the guard around them."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException
from starlette.responses import Response

from clip_viewer.config import ViewerConfig
from clip_viewer.first_round import FirstRound
from clip_viewer.guard import Guard
from clip_viewer.instructions import read_instructions
from clip_viewer.labelling import Desk, labelling_routes
from clip_viewer.media import media_routes
from clip_viewer.messages import Problem
from clip_viewer.news import RunNews
from clip_viewer.people import People
from clip_viewer.study import study_routes
from clip_viewer.tally import Presence, Tally
from clip_viewer.words import in_words
from clip_viewer.writer import Writer
from prefrl.core.store import LabelStore
from prefrl.errors import ConfigError, StoreError, StoreUnavailableError
from prefrl.web.requests import Refusal

__all__ = ["Entry", "add_pages", "cookie_at", "create_app", "explain_refusals"]

_STATIC = Path(__file__).with_name("static")
_REFUSALS: dict[int | str, dict[str, Any]] = {
    status: {"model": Problem}
    for status in (400, 401, 403, 404, 405, 408, 409, 413, 415, 416, 422, 429, 503)
}


@dataclass(frozen=True)
class Entry:
    """How people sign in to one of several studies on one server."""

    people: People
    """Who may come in, to all of them."""
    cookie: str
    """Name of the session's cookie."""
    study: str
    """The name of this study, for what browsers keep for it."""


def create_app(
    config: ViewerConfig, *, presence: Presence | None = None, entry: Entry | None = None
) -> FastAPI:
    """Creates the labelling page as an ASGI application.

    Args:
        config: What is served, where, and to whom.
        presence: Records who is at the page.
        entry: How people sign in, if this is one of several studies; by default the study has
            people of its own. The caller must then call the application's ``state.close`` at the
            end.

    Raises:
        ConfigError: If the instructions cannot be read.
        StoreError: If the label store cannot be opened.
    """
    read_instructions(config.instructions)  # before anything starts
    desk = _desk(config, presence or Presence(), entry)

    def close() -> None:
        desk.writer.close()
        desk.store.close()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        close()

    app = FastAPI(
        title="prefrl clip_viewer",
        version=desk.version,
        lifespan=lifespan,
        # The description is for tests; a page for it would need scripts from other sites.
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        responses=_REFUSALS,
    )
    app.state.close = close
    app.include_router(labelling_routes(desk))
    app.include_router(study_routes(desk))
    app.include_router(media_routes(desk.store, desk.writer, config.media, fetch=config.fetch))
    pages = {"/": "index.html", "/dashboard": "dashboard.html", "/sw.js": "sw.js"}
    add_pages(app, pages, desk.study)
    explain_refusals(app)
    app.add_middleware(Guard, people=desk.people, hosts=config.hosts, cookie=desk.cookie)
    return app


def _desk(config: ViewerConfig, presence: Presence, entry: Entry | None) -> Desk:
    store = LabelStore(config.store)
    try:
        return _desk_with(store, config, presence, entry)
    except BaseException:
        store.close()
        raise


def _desk_with(
    store: LabelStore, config: ViewerConfig, presence: Presence, entry: Entry | None
) -> Desk:
    is_one_of_many = entry is not None
    if entry is None:
        people = People(config.people)
        # Cookies ignore ports, and there may be several servers on one machine.
        entry = Entry(people, cookie_at(config.port), people.study)
    return Desk(
        config=config,
        store=store,
        people=entry.people,
        study=entry.study,
        is_one_of_many=is_one_of_many,
        writer=Writer(store),
        tally=Tally(store),
        presence=presence,
        news=RunNews(config.metrics, config.status, finished=config.finished, trains=config.trains),
        first_round=FirstRound(config),
        cookie=entry.cookie,
        rng=random.SystemRandom(),
        version=metadata.version("prefrl"),
    )


def cookie_at(port: int) -> str:
    """Returns the name of the session cookie of the server at a port."""
    return f"prefrl_session_{port}"


def add_pages(app: FastAPI, pages: Mapping[str, str], study: str) -> None:
    """Adds the public routes: the pages, their static files, and the health check.

    Args:
        app: The application.
        pages: The file of each path.
        study: Name of the study.
    """

    def page(name: str) -> Any:
        async def send(request: Request) -> FileResponse:
            return FileResponse(_STATIC / name, headers={"cache-control": "no-cache"})

        return send

    for path, name in {**pages, "/favicon.ico": "favicon.svg"}.items():
        app.add_api_route(path, page(name), include_in_schema=False)

    @app.get("/healthz")
    async def health() -> dict[str, bool | str]:
        """Tells that the server is up, and for which study: a page may belong to another one."""
        return {"ok": True, "study": study}

    app.mount("/static", _Fresh(directory=_STATIC), name="static")


class _Fresh(StaticFiles):
    """Makes browsers check whether a file has changed, so that page and server match."""

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        response = super().file_response(*args, **kwargs)
        response.headers["cache-control"] = "no-cache"
        return response


def explain_refusals(app: FastAPI) -> None:
    """Turns every refusal into one sentence of JSON."""

    def say(status: int, why: str, headers: Any = None) -> JSONResponse:
        return JSONResponse({"error": why}, status_code=status, headers=headers)

    @app.exception_handler(Refusal)
    async def refused(request: Request, error: Refusal) -> JSONResponse:
        why = in_words(error, request.headers.get("accept-language"))
        return say(error.status, why, error.headers)

    @app.exception_handler(HTTPException)
    async def not_found(request: Request, error: HTTPException) -> JSONResponse:
        return say(error.status_code, str(error.detail), error.headers)

    @app.exception_handler(RequestValidationError)
    async def not_as_expected(request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        where = " ".join(str(part) for part in first["loc"])
        return say(422, f"{where}: {first['msg']}.")

    @app.exception_handler(StoreUnavailableError)
    async def try_again(request: Request, error: StoreUnavailableError) -> JSONResponse:
        return say(503, str(error), {"retry-after": "1"})

    @app.exception_handler(ConfigError)
    async def not_readable(request: Request, error: ConfigError) -> JSONResponse:
        return say(503, str(error))  # the instructions were moved away meanwhile

    @app.exception_handler(StoreError)
    async def cannot(request: Request, error: StoreError) -> JSONResponse:
        return say(409, str(error))
