"""A judge's server that fails, is away, limits its rate, says nonsense, or refuses."""

import contextlib
import json
import socket
import threading
from types import SimpleNamespace

import pytest
from judge_server import JudgeServer, by, says, texts_of
from judging import N, Text, answers, first_letter, parts

from prefrl.core.comparisons import Answer, Query
from prefrl.errors import ConfigError
from prefrl.runtime.judge.config import JudgeConfig, task_for
from prefrl.runtime.judge.serving import try_judge

pytest.importorskip("openai")
LEFT, RIGHT, TIE, SKIP = Answer
BUSY = (429, {"Retry-After": "0.05"}, '{"error": {"message": "slow down"}}')


def test_a_server_that_fails_now_and_then_is_asked_again(asked, store):
    troubles = [BUSY, (500, {}, "{}"), (503, {"Retry-After": "0.05"}, "busy"), BUSY]
    lock = threading.Lock()

    def say(body):
        with lock:
            trouble = troubles.pop() if troubles else None
        return trouble or by(first_letter)(body)

    with JudgeServer(say) as server:
        labeller = asked(server)
    assert answers(store) == [LEFT] * N
    assert labeller.about()["errors"] == 4
    assert labeller.about()["calls"] == 2 * N  # what was refused is not paid for


def test_a_server_that_is_down_leaves_queries_open_and_is_tried_again_later(asked, store):
    with JudgeServer(lambda body: BUSY) as server:
        labeller = asked(server, retries=1)
        assert answers(store) == []
        assert labeller.state.away == "the judge says 429: slow down"
        n_asked = len(server.bodies)
        assert labeller.step() == []  # it waits before it asks again
        assert len(server.bodies) == n_asked
        server.say = by(first_letter)
        labeller._next = 0.0
        while labeller.step():
            pass
    assert answers(store) == [LEFT] * N
    assert labeller.state.away == ""


def test_a_server_that_says_nothing_is_given_up(asked, store):
    with JudgeServer(by(first_letter)) as server:
        server.slow = 0.5
        labeller = asked(server, timeout=0.1, retries=0)
    assert answers(store) == []
    assert labeller.state.away == "the judge said nothing within 0.1 s."
    assert labeller.about()["calls"] == len(server.bodies)  # it may have to be paid for


def test_a_machine_that_is_away_costs_nothing(asked, store):
    """Its packets go nowhere, as those to a machine that is switched off."""
    with contextlib.ExitStack() as opened:
        full = opened.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(8):  # nobody accepts: further connections wait
            waiting = opened.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(full.getsockname())
        url = f"http://127.0.0.1:{full.getsockname()[1]}/v1"
        labeller = asked(SimpleNamespace(url=url), timeout=0.2, retries=0, max_calls=10)
    assert labeller.state.away == f"nothing answers at {url} within 0.2 s."
    assert labeller.about()["calls"] == 0
    assert labeller.about()["errors"] == 2
    assert store.counts().open == N


@pytest.mark.parametrize(
    "nonsense", ["Response A is better.", '{"answer": "C"}', '{"answer": ["A"]', "[]", ""]
)
def test_what_cannot_be_read_is_asked_again_with_a_word(asked, store, nonsense):
    def say(body):
        return by(first_letter)(body) if len(body["messages"]) > 2 or not nonsense else nonsense

    with JudgeServer(say) as server:
        server.say = say if nonsense else lambda body: ""
        asked(server, retries=1)
    if nonsense:
        assert answers(store) == [LEFT] * N
        again = [body["messages"][2:] for body in server.bodies if len(body["messages"]) > 2]
        assert all(said[0]["content"] == nonsense for said in again)
    else:
        assert answers(store) == [SKIP] * N  # nothing waits for it for ever


def test_json_that_is_no_completion_and_html_are_no_answers(asked, store):
    pages = [(200, {}, '{"hello": 1}'), (200, {"Content-Type": "text/html"}, "<p>hello</p>")]
    with JudgeServer(lambda body: pages[len(body["messages"][1]["content"]) % 2]) as server:
        asked(server, retries=0)
    assert answers(store) == [SKIP] * N
    assert set(store.marks.reasons().values()) == {"the judge gave no answer that could be read."}


def test_a_question_that_is_refused_is_skipped_with_the_reason(asked, store):
    refused = (400, {}, '{"error": {"message": "the context is too long"}}')

    def say(body):
        return refused if "a3" in texts_of(body) else by(first_letter)(body)

    with JudgeServer(say) as server:
        asked(server)
    assert sorted(map(str, answers(store))) == sorted(map(str, [SKIP] + [LEFT] * (N - 1)))
    (why,) = [why for why in store.marks.reasons().values() if "refuses" in why]
    assert "400" in why
    assert "the context is too long" in why


def test_half_an_emoji_and_nul_are_stored_as_what_a_database_takes(asked, store):
    half = '{"reason": "good \\ud83d\\u0000!", "answer": "A"}'
    refused = (400, {}, '{"error": {"message": "bad \\ud83d\\u0000"}}')

    def say(body):
        if "a3" in texts_of(body):
            return refused
        if len(body["messages"]) > 2:
            return half
        return "\ud83d no JSON"  # which is sent back to it

    with JudgeServer(say) as server:
        asked(server, orders="one")
    assert len(answers(store)) == N
    assert set(store.marks.reasons().values()) == {
        "good ?!",
        "the judge refuses this question: 400, bad ?",
    }
    assert server.bodies[-1]["messages"][2]["content"] == "? no JSON"


def test_names_of_parameters_that_a_server_does_not_know_are_changed(asked, store):
    def say(body):
        for name in ("max_tokens", "temperature"):
            if name in body:
                message = f"Unsupported parameter: '{name}'"
                return (400, {}, json.dumps({"error": {"message": message}}))
        return by(first_letter)(body)

    with JudgeServer(say) as server:
        server.slow = 0.05
        asked(server, parallel=3)
    assert answers(store) == [LEFT] * N
    assert server.bodies[-1]["max_completion_tokens"] == 400


def test_nothing_follows_a_redirect_or_a_proxy(asked, store, monkeypatch):
    with JudgeServer(by(first_letter)) as elsewhere, JudgeServer(by(first_letter)) as server:
        monkeypatch.setenv("HTTP_PROXY", elsewhere.url)
        monkeypatch.setenv("ALL_PROXY", elsewhere.url)
        asked(server)
        assert answers(store) == [LEFT] * N
        assert elsewhere.bodies == []
        store.add_queries([Query("new", "a0", "b1")])
        moved = {"Location": f"{elsewhere.url}/chat/completions"}
        server.say = lambda body: (307, moved, "")
        with pytest.raises(ConfigError, match="says 307"):
            asked(server)
        assert elsewhere.bodies == []


def test_what_will_never_work_is_refused_before_work_starts():
    def task(url, **about):
        return task_for(JudgeConfig(url=url, model="stub", retries=0, **about), "responses", None)

    with JudgeServer(lambda body: (401, {}, '{"error": {"message": "bad key"}}')) as server:
        with pytest.raises(ConfigError, match=r"says 401: bad key.*PREFRL_JUDGE_KEY"):
            try_judge(task(server.url), parts(Text("a"), Text("b")))
        server.say = lambda body: "hello"
        with pytest.raises(ConfigError, match=r"no answer that could be read"):
            try_judge(task(server.url), parts(Text("a"), Text("b")))
        server.say = lambda body: says("B")
        try_judge(task(server.url, max_calls=1), parts(Text("a"), Text("b")))
        url = server.url
    with pytest.raises(ConfigError, match=f"nothing answers at {url}"):
        try_judge(task(url), parts(Text("a"), Text("b")))
