"""A study with films and texts, its real server in a process of its own, and a real browser."""

import contextlib
import functools
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx
import pytest
from browsers import CHROMIUM, launch
from playwright.sync_api import sync_playwright

from clip_viewer.people import People, write_token
from prefrl.commands.page import PageConfig, invite, open_page
from prefrl.commands.samples import make_samples
from prefrl.core.comparisons import Query
from prefrl.core.store import LabelStore
from prefrl.runtime.rundir import RunDirectory

needs_chromium = pytest.mark.skipif(
    CHROMIUM == "none", reason="there is no Chromium; scripts/test installs Debian's"
)
PLAIN = PageConfig(overlap_share=0.0, repeat_share=0.0, gold_share=0.0)


def wait_for(condition, seconds=30):
    until = time.monotonic() + seconds
    while not (result := condition()):
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.02)
    return result


@functools.cache
def _samples():
    folder = tempfile.TemporaryDirectory()
    return folder, make_samples(Path(folder.name) / "samples")


def samples():
    """What all studies begin with: its films are drawn once."""
    return _samples()[1]


def picture(page, name):
    """Keeps a picture of a page, for somebody to look at, where PREFRL_PICTURES names a folder."""
    if folder := os.environ.get("PREFRL_PICTURES"):
        page.screenshot(path=f"{folder}/{name}.png")


class Served:
    """A run directory, and the process that serves its page."""

    def __init__(self, run, page=PLAIN, port=None):
        self.run = run
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = port or free.getsockname()[1]
        self.owner_link = open_page(self.run, PageConfig(**{**vars(page), "port": self.port}))
        self.address = f"http://127.0.0.1:{self.port}"
        self.cookie = f"prefrl_session_{self.port}"
        self.people = People(self.run.people)
        self.process = None

    def link(self, name):
        return invite(self.run, name)

    def session(self, name, role="annotator"):
        """The secret of a new session."""
        return self.people.enter(self.people.invite(name, role=role))[0]

    def headers(self, name, role="annotator"):
        """What the page sends along for somebody who is signed in."""
        session = self.session(name, role)
        signed_in = {"Cookie": f"{self.cookie}={session}", "X-Prefrl-Token": write_token(session)}
        return {"Origin": self.address} | signed_in

    def client(self, name=None, role="annotator", origin=None):
        """A client that sends what the page does, for nobody if there is no name."""
        client = httpx.Client(base_url=self.address, headers={"Origin": origin or self.address})
        if name is not None:
            session = self.session(name, role)
            client.cookies.set(self.cookie, session)
            client.headers["X-Prefrl-Token"] = write_token(session)
        return client

    def raw(self, *lines):
        """Sends a request as it is, and gives the first line of the answer."""
        with socket.create_connection(("127.0.0.1", self.port), 5) as connection:
            connection.sendall("\r\n".join([*lines, "", ""]).encode("latin-1"))
            return connection.recv(65536).split(b"\r\n")[0].decode()

    def serve(self):
        command = [sys.executable, "-m", "prefrl.commands.page", "viewer", str(self.run.root)]
        self.process = subprocess.Popen(command, stderr=subprocess.DEVNULL)

        def is_there():
            assert self.process.poll() is None, "the server has ended"
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return True

        wait_for(is_there)

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def events(self):
        with LabelStore(self.run.labels) as store:
            return store.events()

    def answers(self):
        return [event for event in self.events() if event.answer is not None]


class Study(Served):
    """One with things to compare."""

    def __init__(self, folder, page=PLAIN, port=None):
        shutil.copytree(samples().root, folder)
        super().__init__(RunDirectory.open(folder), page, port)

    def add_pairs(self, n, kind="clip"):
        """More pairs than the samples have, of the same films or texts."""
        with LabelStore(self.run.labels) as store:
            there = store.media.of(f"{kind}{i}{side}" for i in range(4) for side in "ab")
            media = list(there.values())
            queries = [Query(f"{kind}-more{i}", f"{kind}l{i}", f"{kind}r{i}") for i in range(n)]
            for i, query in enumerate(queries):
                for item, medium in ((query.left, media[i % 8]), (query.right, media[(i + 1) % 8])):
                    store.media.add(item, medium.media_id, medium.media_type)
            store.add_queries(queries, priorities=[9.0 - i / n for i in range(n)])


@contextlib.contextmanager
def serving(folder, page=PLAIN):
    study = Study(RunDirectory(folder / "study").root, page)
    study.serve()
    try:
        yield study
    finally:
        study.kill()


@contextlib.contextmanager
def chromium():
    with sync_playwright() as playwright:
        browser = launch(playwright)
        yield browser
        browser.close()


class Visitor:
    """Somebody at the page, in a browser profile of their own."""

    def __init__(self, browser, link, *, begins=True, **options):
        self.context = browser.new_context(
            **({"viewport": {"width": 1280, "height": 800}} | options)
        )
        self.faults = []
        self.page = self.tab()
        self.page.goto(link)
        if begins and "/dashboard" not in link:
            self.begin()

    def tab(self):
        page = self.context.new_page()
        page.on("pageerror", lambda error: self._note_error(str(error)))
        page.on("console", lambda message: self._note(message))
        return page

    def _note_error(self, text):
        # Of a request that a reload cuts off Firefox says so, where a service worker passed it on.
        if "A ServiceWorker intercepted the request" not in text:
            self.faults.append(text)

    def _note(self, message):
        if "Content Security Policy" in message.text or "Refused to" in message.text:
            self.faults.append(message.text)

    def begin(self):
        self.page.wait_for_selector("#instructions[open]")
        self.page.click("#instructions-close")
        self.wait("showing")

    def wait(self, state):
        self.page.wait_for_selector(f"body[data-state={state}]")

    @property
    def task(self):
        return self.page.locator("#stage").get_attribute("data-task")

    @property
    def order(self):
        return self.page.locator("#stage").get_attribute("data-order")

    def look(self):
        """Waits until what is shown takes an answer."""
        self.page.wait_for_selector(
            "body[data-takes=yes][data-busy=no], body:not([data-state=showing])"
        )

    def press(self, key):
        """Presses a key, and waits for what comes next."""
        self.look()
        seen = self.page.evaluate("performance.getEntriesByName('prefrl:shown').length")
        shown = (self.task, self.order)
        self.page.keyboard.press(key)
        self.page.wait_for_function(
            "n => performance.getEntriesByName('prefrl:shown').length > n"
            " || document.body.dataset.state === 'empty'",
            arg=seen,
        )
        return shown

    def next(self, key):
        """Waits until there is something to answer, and presses a key."""
        self.wait("showing")
        return self.press(key)

    def wait_until_saved(self):
        self.page.wait_for_selector("body[data-outbox='0']")
