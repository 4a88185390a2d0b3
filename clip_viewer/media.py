"""Serves films and texts by the hash of their content, and nothing else on the disk."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from fastapi import APIRouter, Request
from fastapi.responses import FileResponse
from starlette.concurrency import run_in_threadpool

from clip_viewer.words import refused
from clip_viewer.writer import Writer
from prefrl.core.store import LabelStore
from prefrl.core.store.media import SUFFIXES
from prefrl.errors import MediaUnavailableError

__all__ = ["media_routes"]

_NAME = re.compile(r"[0-9a-f]{32}")
_FOR_GOOD = {"cache-control": "private, max-age=31536000, immutable"}


def media_routes(
    store: LabelStore,
    writer: Writer,
    folder: Path,
    *,
    fetch: Callable[[str], bool] | None = None,
) -> APIRouter:
    """Creates the route of films and texts.

    Args:
        store: Label store with the existing media and their types.
        writer: Tells the store which files are missing, so that they are made again.
        folder: Folder of the media.
        fetch: Brings a file there by its name, as ``ViewerConfig`` has it.
    """
    router = APIRouter()
    root = folder.resolve()

    @router.get("/media/{media_id}", response_class=FileResponse)
    async def medium(media_id: str, request: Request) -> FileResponse:
        """A film or a text."""
        if "," in request.headers.get("range", ""):
            raise refused(416, "refused.range")
        media_type = None
        if _NAME.fullmatch(media_id):
            media_type = await run_in_threadpool(store.media.type_of, media_id)
        if media_type not in SUFFIXES:
            raise refused(404, "refused.medium")
        path = root / f"{media_id}{SUFFIXES[media_type]}"
        if fetch is not None and not path.is_symlink() and not path.exists():
            try:
                await run_in_threadpool(fetch, path.name)
            except MediaUnavailableError as error:
                raise refused(503, "refused.medium-away", {"retry-after": "2"}) from error
        if path.is_symlink() or path.resolve().parent != root or not path.is_file():
            if not path.is_symlink() and not path.exists():
                await writer.call(lambda store: store.media.forget(media_id))
            raise refused(404, "refused.medium-lost")
        return FileResponse(path, media_type=media_type, headers=_FOR_GOOD)

    return router
