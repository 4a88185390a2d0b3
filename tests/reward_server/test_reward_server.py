"""The server around the scores: who may ask, how much at once, and how it ends."""

import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np
import pytest
from reward_serving import TOKEN, box, random_reward, serving, text_run

from prefrl.cli import main
from prefrl.errors import ConfigError
from prefrl.reward_server.guard import token_in
from prefrl.runtime.scorer import Asked, Scores

ONE = {"n": 1}


class Counts:
    """A scorer whose score of n is n, and which takes its time."""

    kind = "steps"

    def __init__(self, seconds=0.0):
        self.version, self.seconds, self.batches = 1, seconds, []

    def about(self):
        return {"members": 2}

    def read(self, told):
        if not isinstance(told.get("n"), int):
            raise ConfigError("expected n.")
        return Asked(told["n"], (), abs(told["n"]))

    def score(self, asked):
        self.batches.append([one.content for one in asked])
        time.sleep(self.seconds)
        if any(one.content < 0 for one in asked):
            raise RuntimeError("out of memory")
        return [
            Scores(np.float32(one.content), np.float32([one.content] * 2), self.version)
            for one in asked
        ]

    def refresh(self):
        pass


@pytest.fixture(scope="module")
def counts():
    with serving(Counts(), largest_body=1024) as served:
        yield served


ROUTES = [("GET", "/about"), ("POST", "/score"), ("POST", "/health"), ("GET", "/nothing")]


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_every_route_wants_the_token(counts, method, path):
    wrong = ["", "Bearer", f"Bearer {TOKEN[:-1]}", f"Bearer {TOKEN}x", f"Token {TOKEN}"]
    wrong += ["Basic !", "Basic cHJlZnJsOg==", "Bearer \xe9"]
    with counts.client(token=None) as nobody:
        refused = nobody.request(method, path, json=ONE)
        assert refused.status_code == 401
        assert "expected the server's token" in refused.json()["error"]
        assert "got none" in refused.json()["error"]
        for told in wrong:
            headers = {"Authorization": told.encode("latin-1")}
            refused = nobody.request(method, path, json=ONE, headers=headers)
            assert refused.status_code == 401, told
            assert TOKEN not in refused.text
        assert "www-authenticate" not in refused.headers  # no browser is to keep it
        twice = [("Authorization", f"Bearer {TOKEN}"), ("Authorization", "Bearer x")]
        assert nobody.request(method, path, json=ONE, headers=twice).status_code == 401


def test_without_a_token_only_that_it_is_there_is_told(counts):
    with counts.client(token=None) as nobody:
        health = nobody.get("/health")
    assert (health.status_code, health.json()) == (200, {"ok": True, "version": 1})
    assert "access-control-allow-origin" not in health.headers
    with counts.client() as client:
        about = client.get("/about").json()
        assert client.get("/nothing").status_code == 404
        assert client.get("/score").status_code == 405
        assert client.post("/get_reward", json=ONE).status_code == 404  # it scores no texts
    assert (about["kind"], about["members"]) == ("steps", 2)
    assert about["limits"] == {"batch": 16384, "body": 1024}


def test_hosts_methods_sizes_and_types(counts):
    with counts.client() as client:
        for host in ("evil.example", f"evil.example:{counts.port}", ""):
            refused = client.post("/score", json=ONE, headers={"Host": host})
            assert refused.status_code == 400, host
        named = client.post("/score", json=ONE, headers={"Host": f"localhost:{counts.port}"})
        assert named.status_code == 200
        for method in ("PUT", "PATCH", "DELETE", "TRACE", "OPTIONS", "HEAD", "FOO"):
            assert client.request(method, "/score").status_code == 405, method
        large = json.dumps({"n": 1, "more": "x" * 1024}).encode()
        refused = client.post("/score", content=large, headers={"Content-Type": "application/json"})
        assert (refused.status_code, refused.json()["error"]) == (
            413,
            "At most 1024 bytes at once.",
        )
        parts = (large[n : n + 100] for n in range(0, len(large), 100))  # without a length
        streamed = client.post("/score", content=parts)
        assert streamed.status_code == 413
        for kind in ("text/plain", "application/x-www-form-urlencoded", ""):
            refused = client.post("/score", content=b'{"n":1}', headers={"Content-Type": kind})
            assert refused.status_code == 415, kind  # what other pages can make browsers send
        assert client.post("/score", json={"n": 20_000}).status_code == 422


def test_a_failing_request_costs_nobody_elses_answer(caplog):
    scorer = Counts(seconds=0.1)
    with serving(scorer, wait=0.05) as served, ThreadPoolExecutor(8) as threads:
        asked = [5, -1, 7, 8, -2, 9]
        answers = list(threads.map(lambda n: served.post("/score", {"n": n}), asked))
    for n, answer in zip(asked, answers, strict=True):
        if n < 0:
            assert answer.status_code == 500
            assert "could not be scored: RuntimeError" in answer.json()["error"]
            assert "out of memory" not in answer.text
        else:
            assert answer.json()["score"] == n
    assert any(len(batch) > 1 for batch in scorer.batches)


def test_batches_hold_no_more_than_they_may(counts):
    scorer = Counts(seconds=0.05)
    with serving(scorer, batch=10, wait=0.05) as served, ThreadPoolExecutor(16) as threads:
        asked = [1 + n % 10 for n in range(48)]
        answers = list(threads.map(lambda n: served.post("/score", {"n": n}), asked))
    assert [answer.json()["score"] for answer in answers] == asked
    assert max(map(sum, scorer.batches)) <= 10
    assert max(map(len, scorer.batches)) > 1


def test_the_loop_goes_on_while_a_batch_is_scored():
    with serving(Counts(seconds=1.0)) as served, ThreadPoolExecutor(1) as threads:
        slow = threads.submit(served.post, "/score", ONE)
        time.sleep(0.2)
        with served.client() as client:
            began = time.monotonic()
            assert client.get("/health").status_code == 200
            assert time.monotonic() - began < 0.5
        assert not slow.done()
        assert slow.result().json()["score"] == 1


def test_a_body_does_not_wait_until_its_head_is_acknowledged(counts):
    """That takes 40 ms on Linux, but for the first requests of a connection."""
    took = []
    with counts.client() as client:
        for _ in range(40):
            began = time.monotonic()
            client.post("/score", json=ONE)
            took.append(time.monotonic() - began)
    assert min(took[20:]) < 0.03


def test_who_asks_alone_waits_for_nobody():
    with serving(Counts(), wait=0.5) as served, served.client() as client:
        began = time.monotonic()
        for _ in range(3):
            client.post("/score", json=ONE)
        assert time.monotonic() - began < 0.5


def test_too_much_that_waits_is_refused_for_a_moment():
    scorer = Counts(seconds=0.01)
    opens = threading.Event()
    scorer.refresh = opens.wait
    with serving(scorer, batch=1) as served, ThreadPoolExecutor(80) as threads:
        asked = [threads.submit(served.post, "/score", ONE) for _ in range(70)]
        until = time.monotonic() + 20
        while sum(one.done() for one in asked) < 6 and time.monotonic() < until:
            time.sleep(0.05)
        opens.set()
        answers = [one.result() for one in asked]
    codes = [answer.status_code for answer in answers]
    assert (codes.count(200), codes.count(503)) == (64, 6)
    refused = answers[codes.index(503)]
    assert refused.headers["retry-after"] == "1"
    assert "Too much waits already" in refused.json()["error"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return text_run(tmp_path_factory.mktemp("served") / "run", version=4)


def test_the_command_serves_a_run_until_sigterm(run, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "prefrl", "serve-reward", str(run.root), "--port", str(port)]
    with (tmp_path / "log").open("wb") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        url, until = f"http://127.0.0.1:{port}", time.monotonic() + 60
        while time.monotonic() < until and server.poll() is None:
            try:
                health = httpx.get(f"{url}/health")
                break
            except httpx.TransportError:
                time.sleep(0.1)
        assert health.json() == {"ok": True, "version": 4}
        assert stat.S_IMODE(run.reward_token.stat().st_mode) == 0o600
        headers = {"Authorization": f"Bearer {run.reward_token.read_text().strip()}"}
        told = {"prompt": "one ", "response": "aba"}
        answers = []

        def ask():
            with httpx.Client(headers=headers) as client:
                while True:
                    try:
                        answers.append(client.post(f"{url}/score", json=told).status_code)
                    except httpx.ConnectError:
                        return  # it listens no more
                    except httpx.TransportError as error:  # a connection that was kept, and idle
                        answers.append(type(error).__name__)

        asking = [threading.Thread(target=ask) for _ in range(4)]
        for thread in asking:
            thread.start()
        time.sleep(1)
        server.send_signal(signal.SIGTERM)
        assert server.wait(20) == 0
        for thread in asking:
            thread.join(10)
        assert answers.count(200) > 4
        assert not {code for code in answers if isinstance(code, int)} - {200, 503}
    finally:
        if server.poll() is None:
            server.kill()
            server.wait()
    said = (tmp_path / "log").read_text()
    assert f"version 4, is served at {url}/score" in said
    assert f'--reward.remote_url "http://prefrl:$(cat {run.reward_token})@127.0.0.1' in said
    assert "No longer served." in said
    assert "Traceback" not in said
    assert headers["Authorization"][7:] not in said


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--host", "0.0.0.0"], "expected a loopback address to listen on, got 0.0.0.0"),
        (["--expose"], "expected the names by which other machines call this one"),
        (["--port", "0"], "port must be between 1 and 65535, got 0"),
        (["--batch", "0"], "batch must be at least 1, got 0"),
        (["--wait-ms", "-1"], "expected to wait for 0 to 1,000 ms"),
        (["--body-mb", "0"], "expected bodies of at least"),
        (["--device", "tpu"], "expected a device such as cpu"),
    ],
)
def test_what_cannot_be_served_is_refused_first(run, options, expected, capsys):
    with pytest.raises(SystemExit):
        main(["serve-reward", str(run.root), *options])
    assert re.search(re.escape(expected), " ".join(capsys.readouterr().err.split()))


def test_what_has_no_reward_is_refused(tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(["serve-reward", str(tmp_path)])
    assert "expected a run directory" in " ".join(capsys.readouterr().err.split())


def test_a_taken_port_is_refused(tmp_path, capsys):
    folder = random_reward(box(2), box(1)).save(tmp_path / "reward")
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(SystemExit):
        main(["serve-reward", str(folder), "--port", str(taken.getsockname()[1])])
    assert "choose another port with --port" in " ".join(capsys.readouterr().err.split())


def test_a_token_stays_over_restarts_and_is_no_short_one(tmp_path):
    path = tmp_path / "token"
    token = token_in(path)
    assert len(token) == 43
    assert token_in(path) == token
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    path.write_text("secret\n")
    with pytest.raises(ConfigError, match="at least 16 characters"):
        token_in(path)
