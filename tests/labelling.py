"""Somebody who labels at the page of a run, without a browser."""

import contextlib
import re
import socket
import subprocess
import sys
import time
import uuid

import httpx

LINK = re.compile(r"http://127\.0\.0\.1:(\d+)/#enter=([\w-]+)")


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def wait_for(condition, seconds=60):
    until = time.monotonic() + seconds
    while not (result := condition()):
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.05)
    return result


@contextlib.contextmanager
def prefrl(out, *arguments):
    """A command of the user's, with what it says in a file; told to stop in the end."""
    with out.open("w") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "prefrl", *map(str, arguments)],
            stdout=file,
            stderr=subprocess.STDOUT,
        )
    try:
        yield process
    finally:
        process.terminate()
        assert process.wait(60) == 0, out.read_text()


def link_in(out):
    """The link that a command has printed; it must be whole, on one line."""
    return wait_for(lambda: LINK.search(out.read_text()))


class Browser:
    """Speaks to the server as the page does."""

    def __init__(self, link):
        self.address = f"http://127.0.0.1:{link[1]}"
        self.client = httpx.Client(
            base_url=self.address,
            headers={"Origin": self.address},
            limits=httpx.Limits(max_keepalive_connections=0),  # there is nothing to close later
        )
        self.study = None
        wait_for(self.is_there)
        me = self.client.post("/api/session", json={"token": link[2]}).raise_for_status().json()
        self.client.headers["X-Prefrl-Token"] = me["token"]
        self.me = me
        self.n_stored = 0

    def is_there(self):
        with contextlib.suppress(httpx.TransportError):
            told = self.client.get("/healthz")
            if told.status_code == 200:
                self.study = self.study or told.json()["study"]
                return told.json()["study"] == self.study
        return False

    def is_another_there(self):
        with contextlib.suppress(httpx.TransportError):
            told = self.client.get("/healthz")
            return told.status_code == 200 and told.json().get("study") != self.study
        return False

    @contextlib.contextmanager
    def _unless_another_is_there(self):
        """Where the page has ended, another study may be at its address by now."""
        try:
            yield
        except httpx.HTTPStatusError as error:
            if error.response.status_code != 401 or not self.is_another_there():
                raise

    def tasks(self, n=4, have=()):
        told = {"n": n, "have": list(have), "shown": None}
        return self.client.post("/api/tasks", json=told).raise_for_status().json()["tasks"]

    def answer(self, task):
        event = {"kind": "answer", "submission_key": str(uuid.uuid4()), "task": task["id"]}
        event |= {"order": task["order"], "answer": "left", "shown_at": 1000 * time.time()}
        event |= {"client_ms": 900, "rubric_ver": self.me["rubric_ver"]}
        said = self.client.post("/api/events", json={"events": [event]}).raise_for_status().json()
        self.n_stored += said["results"][0]["stored"]

    def label_while(self, condition):
        """Answers pair after pair; a server that is away is waited for, as the page does."""
        while condition():
            with contextlib.suppress(httpx.TransportError), self._unless_another_is_there():
                for task in self.tasks(n=1):
                    film = self.client.get(f"/media/{task['items'][0]['media']}")
                    film.raise_for_status()
                    assert film.headers["content-type"] == "video/webm"
                    self.answer(task)
            time.sleep(0.05)  # the server takes twenty requests a second
