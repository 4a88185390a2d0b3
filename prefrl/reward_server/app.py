"""The reward server as an application: its routes, its errors, and its guard."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib import metadata
from typing import Any

from fastapi import FastAPI, Request
from starlette.exceptions import HTTPException
from starlette.responses import Response

from prefrl.errors import ConfigError, NonFiniteError
from prefrl.reward_server.batching import Batcher
from prefrl.reward_server.formats import (
    from_openrlhf,
    from_slime,
    ours,
    parsed,
    to_openrlhf,
    to_slime,
)
from prefrl.reward_server.guard import HEALTH, Guard
from prefrl.runtime.scorer import Scorer, Scores
from prefrl.web.requests import Refusal

__all__ = ["ServerConfig", "create_app"]

_LARGEST = {"steps": 16_384, "texts": 32_768}
_READ_AT_ONCE = 8 * 1024  # bytes; larger bodies are read in a thread

Read = Callable[[Mapping[str, Any]], Mapping[str, Any]]
Write = Callable[[Scores], Any]


@dataclass(frozen=True)
class ServerConfig:
    """Settings of a reward server."""

    token: str
    """Token that every request must carry."""
    hosts: frozenset[str]
    """Allowed values of a request's Host header."""
    batch: int | None = None
    """Most steps or tokens in a forward pass, and in a request; by default 16,384 steps or 32,768
    tokens."""
    wait: float = 0.002
    """Seconds for which a batch waits for further requests."""
    largest_body: int = 16 * 2**20
    """Largest body of a request, in bytes."""

    def __post_init__(self) -> None:
        if self.batch is not None and self.batch < 1:
            raise ConfigError(f"batch must be at least 1, got {self.batch}.")
        if not 0 <= self.wait <= 1:
            raise ConfigError(f"expected to wait for 0 to 1,000 ms, got {1000 * self.wait:g}.")
        if self.largest_body < 1024:
            raise ConfigError(f"expected bodies of at least 1,024 bytes, got {self.largest_body}.")


def create_app(scorer: Scorer, config: ServerConfig) -> FastAPI:
    """Creates the reward server as an ASGI application.

    Args:
        scorer: Scores the requests; nothing else may use it meanwhile.
        config: Settings.
    """
    largest = config.batch or _LARGEST[scorer.kind]
    batcher = Batcher(scorer, largest=largest, wait=config.wait)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with batcher:
            yield

    app = FastAPI(
        title="prefrl serve-reward",
        version=metadata.version("prefrl"),
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
    )
    app.state.batcher = batcher

    @app.get(HEALTH)
    async def health() -> Response:
        return _answer({"ok": True, "version": scorer.version})

    @app.get("/about")
    async def about() -> Response:
        limits = {"batch": largest, "body": config.largest_body}
        served = {"requests": batcher.n_requests, "batches": batcher.n_batches}
        told = {"kind": scorer.kind, "version": scorer.version, **scorer.about()}
        return _answer({**told, "limits": limits, "served": served})

    _add(app, batcher, scorer, "/score", dict, ours)
    if scorer.kind == "texts":
        _add(app, batcher, scorer, "/get_reward", from_openrlhf, to_openrlhf)
        _add(app, batcher, scorer, "/slime", from_slime, to_slime)
    _explain_refusals(app)
    app.add_middleware(Guard, token=config.token, hosts=config.hosts, largest=config.largest_body)
    return app


def _add(
    app: FastAPI, batcher: Batcher, scorer: Scorer, path: str, read: Read, write: Write
) -> None:
    """Adds a route that scores.

    Args:
        app: The application.
        batcher: Has requests scored.
        scorer: The scorer behind it.
        path: Path of the route.
        read: Converts a body from the route's format to ours.
        write: Converts scores to the route's format.
    """

    @app.post(path)
    async def score(request: Request) -> Response:
        body = await request.body()
        slowly = scorer.kind == "texts" or len(body) > _READ_AT_ONCE
        return _answer(write(await batcher.ask(lambda: read(parsed(body)), slowly=slowly)))


def _answer(told: Any, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    content = json.dumps(told, allow_nan=False, separators=(",", ":"))
    return Response(content, status, headers, "application/json")


def _explain_refusals(app: FastAPI) -> None:
    """Turns every refusal into one sentence of JSON."""

    @app.exception_handler(ConfigError)
    async def not_as_expected(request: Request, error: ConfigError) -> Response:
        return _answer({"error": str(error)}, status=422)

    @app.exception_handler(Refusal)
    async def refused(request: Request, error: Refusal) -> Response:
        return _answer({"error": str(error)}, status=error.status, headers=error.headers)

    @app.exception_handler(HTTPException)
    async def not_found(request: Request, error: HTTPException) -> Response:
        return _answer({"error": str(error.detail)}, status=error.status_code)

    @app.exception_handler(NonFiniteError)
    async def no_numbers(request: Request, error: NonFiniteError) -> Response:
        return _answer({"error": str(error)}, status=500)

    @app.exception_handler(Exception)
    async def broken(request: Request, error: Exception) -> Response:
        told = f"The request could not be scored: {type(error).__name__}; the server's log has it."
        return _answer({"error": told}, status=500)
