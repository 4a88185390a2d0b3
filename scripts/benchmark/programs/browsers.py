"""The Chromium that the benchmarks and the tests of the page use."""

import contextlib
import os
import shutil
from collections.abc import Iterator

from playwright.sync_api import Browser, Playwright, sync_playwright

CHROMIUM = os.environ.get("PREFRL_TEST_CHROMIUM") or shutil.which("chromium") or "none"
"""Its path; none: Playwright's own, if it has one."""

_ARGUMENTS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
).split()


def launch(playwright: Playwright) -> Browser:
    """Starts it; it asks nobody but the page that it is sent to."""
    path = None if CHROMIUM == "none" else CHROMIUM
    return playwright.chromium.launch(executable_path=path, args=_ARGUMENTS)


@contextlib.contextmanager
def open_browser() -> Iterator[Browser]:
    """Starts it, and ends it at last."""
    with sync_playwright() as playwright, launch(playwright) as browser:
        yield browser
