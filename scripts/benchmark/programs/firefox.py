"""Debian's Firefox for the tests of the page, driven by Playwright over WebDriver BiDi.

Playwright's own Firefox is a patched one, which no distribution has. Its channel for Mozilla's own
speaks BiDi, and needs no driver beside it. A command that this Firefox does not know yet (to
pretend that the system is dark) is answered in its place by a small proxy, as which this file runs.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import sys
import tempfile
from collections.abc import AsyncIterable, Awaitable, Callable
from pathlib import Path

from playwright.sync_api import Browser, Playwright
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve

FIREFOX = os.environ.get("PREFRL_TEST_FIREFOX") or shutil.which("firefox-esr") or "none"
"""Its path, or none."""

_LISTENS = re.compile(r"(?<=WebDriver BiDi listening on )ws://\S+")
_UNKNOWN = "emulation.setMediaFeaturesOverride"


def launch_firefox(playwright: Playwright) -> Browser:
    """Starts it without a window."""
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / "firefox"
        program.write_text(f"#!/bin/sh\nexec '{sys.executable}' '{__file__}' \"$@\"\n")
        program.chmod(0o700)
        return playwright.firefox.launch(channel="moz-firefox", executable_path=program)


async def _run(arguments: list[str]) -> int:
    """Runs Firefox; whoever reads where it listens is told the proxy's address."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(FIREFOX, *arguments, stderr=pipe)
    assert process.stderr is not None
    async for line in process.stderr:
        text = line.decode(errors="replace")
        if found := _LISTENS.search(text):
            text = text.replace(found[0], await _proxy(found[0]))
        sys.stderr.write(text)
        sys.stderr.flush()
    return await process.wait()


async def _proxy(address: str) -> str:
    async def handle(client: ServerConnection) -> None:
        assert client.request is not None
        path = client.request.path
        async with connect(f"{address}{path}", max_size=None, compression=None) as firefox:
            there = asyncio.create_task(_pass_on(client, firefox.send, client.send))
            back = asyncio.create_task(_pass_on(firefox, client.send))
            await asyncio.wait([there, back], return_when=asyncio.FIRST_COMPLETED)

    server = await serve(handle, "127.0.0.1", 0, max_size=None, compression=None)
    return f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"


_Send = Callable[[str | bytes], Awaitable[None]]


async def _pass_on(
    source: AsyncIterable[str | bytes], send: _Send, answer: _Send | None = None
) -> None:
    async for message in source:
        told = json.loads(message) if answer else {}
        if answer and told.get("method") == _UNKNOWN:
            await answer(json.dumps({"type": "success", "id": told["id"], "result": {}}))
        else:
            await send(message)


if __name__ == "__main__":
    sys.exit(asyncio.run(_run(sys.argv[1:])))
