"""A judge that is slow, fails, limits its rate, says nonsense, or contradicts itself."""

import contextlib
import json
import logging
import socket
import threading
import time
from types import SimpleNamespace

import pytest
from judge_server import JudgeServer, by, completion, says, texts_of

from prefrl.core.comparisons import Answer, Query
from prefrl.core.store import LabelStore
from prefrl.errors import ConfigError
from prefrl.runtime.judge.asking import Judge
from prefrl.runtime.judge.cache import Cache
from prefrl.runtime.judge.config import JudgeConfig, Task, task_for
from prefrl.runtime.judge.labeller import JudgeLabeller
from prefrl.runtime.judge.server import Server
from prefrl.runtime.judge.serving import try_judge

pytest.importorskip("openai")
LEFT, RIGHT, TIE, SKIP = Answer
BUSY = (429, {"Retry-After": "0.05"}, '{"error": {"message": "slow down"}}')


class Text:
    def __init__(self, id_):
        self.id = id_


def parts(first, second):
    told = (("Prompt", "go"), ("Response A", first.id), ("Response B", second.id))
    return [{"type": "text", "text": f"[{n}]\n{text}\n[End of {n}]"} for n, text in told]


N = 6
ITEMS = {f"{side}{i}": Text(f"{side}{i}") for i in range(N) for side in "ab"}
QUERIES = [Query(f"q{i}", f"a{i}", f"b{i}") for i in range(N)]


def first_letter(text):
    return -ord(text[0])  # a is better than b


@pytest.fixture
def store(tmp_path):
    with LabelStore(tmp_path / "labels.db") as store:
        store.add_queries(QUERIES)
        yield store


@pytest.fixture
def asked(tmp_path, store):
    """Has a server's judge answer what is open; gives the labeller."""
    made = []

    def ask(server, steps=20, gold=None, stop=lambda: False, **options):
        options = {"retries": 3, "timeout": 5.0, "parallel": 2, **options}
        config = JudgeConfig(url=server.url, model="stub", **options)
        task = task_for(config, "responses", "letters early in the alphabet.")
        cache = Cache(tmp_path / "judge" / "answers.jsonl")
        chooser = Server(task, parts, cache)
        judge = Judge(chooser, both=config.orders == "both")
        labeller = JudgeLabeller(store, ITEMS, judge, cache=cache, task=task, gold=gold, stop=stop)
        made.append((labeller, chooser))
        for _ in range(steps):
            if not labeller.step():
                break
        return labeller

    yield ask
    for labeller, chooser in made:
        labeller.close(chooser.close)


def answers(store):
    return [event.answer for event in store.events()]


def test_both_orders_are_asked_and_reasons_are_stored_with_the_answers(asked, store):
    with JudgeServer(by(first_letter)) as server:
        asked(server)
    assert answers(store) == [LEFT] * N
    assert {texts_of(body)[1:] for body in server.bodies} == {
        pair for i in range(N) for pair in ((f"a{i}", f"b{i}"), (f"b{i}", f"a{i}"))
    }
    assert len(server.bodies) == 2 * N
    rubric = server.bodies[0]["messages"][0]["content"]
    assert "What is wanted: letters early in the alphabet." in rubric
    events = store.events()
    assert {event.annotator_id for event in events} == {"ai:stub"}
    assert len({event.rubric_ver for event in events}) == 1
    reasons = store.marks.reasons()
    assert {reasons[event.submission_key] for event in events} == {
        "left first: it is so | right first: it is so"
    }


def test_whoever_always_says_a_contradicts_itself_and_gives_ties(asked, store):
    with JudgeServer(lambda body: says("A")) as server:
        labeller = asked(server)
    assert answers(store) == [TIE] * N
    assert labeller.about()["contradictions"] == N


def test_one_order_is_drawn_and_the_store_knows_which(asked, store):
    with JudgeServer(lambda body: says("A")) as server:
        asked(server, orders="one")
    assert len(server.bodies) == N
    sides = {"left-right": LEFT, "right-left": RIGHT}
    events = store.events()
    assert [event.answer for event in events] == [sides[event.order_shown] for event in events]


def test_calls_are_parallel_and_never_more_than_told(asked, store):
    with JudgeServer(by(first_letter)) as server:
        server.slow = 0.1
        began = time.monotonic()
        asked(server, parallel=4)
        seconds = time.monotonic() - began
    assert server.most_at_once == 4
    assert seconds < 2 * N * 0.1
    assert answers(store) == [LEFT] * N


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


@pytest.mark.parametrize(
    ("options", "n_answers"),
    [({"max_calls": 6, "parallel": 1}, 3), ({"max_tokens": 550, "parallel": 1}, 3)],
)
def test_when_the_budget_is_spent_the_rest_is_skipped(asked, store, options, n_answers):
    with JudgeServer(by(first_letter)) as server:
        labeller = asked(server, **options)
        assert len(server.bodies) == 6
        assert answers(store) == [LEFT] * n_answers + [SKIP] * (N - n_answers)
        assert labeller.state.spent
        again = asked(server, **options)  # a new process knows what is spent
        store.add_queries([Query("new", "a0", "b1")])
        while again.step():
            pass
        assert len(server.bodies) == 6
    assert answers(store)[-1] is SKIP


def test_calls_under_way_count_for_the_budget(asked, store):
    with JudgeServer(by(first_letter)) as server:
        server.slow = 0.05
        asked(server, max_calls=5, parallel=4)
    assert len(server.bodies) == 5


def test_people_at_the_page_may_answer_what_there_is_no_budget_for(asked, store):
    with JudgeServer(by(first_letter)) as server:
        labeller = asked(server, steps=1, max_calls=1, parallel=1)
        assert labeller.step(may_skip=False) == []
    assert store.counts().open == N


def test_a_killed_judge_asks_nothing_twice(asked, store, tmp_path):
    with JudgeServer(by(first_letter)) as server:
        server.slow = 0.05
        stop = threading.Event()
        threading.Timer(0.25, stop.set).start()
        asked(server, stop=stop.is_set, parallel=1)
        n_before = len(store.events())
        assert n_before < N
        path = tmp_path / "judge" / "answers.jsonl"
        with path.open("a") as file:
            file.write('{"key": "half a li')  # as a kill leaves it
        n_kept = len(path.read_text().splitlines()) - 1
        n_asked = len(server.bodies)
        asked(server, parallel=1)
    assert answers(store) == [LEFT] * N
    # Each of the 2 N questions once, but for what was under way.
    assert len(server.bodies) - n_asked == 2 * N - n_kept
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert len({row["key"] for row in rows}) == len(rows) == 2 * N


def test_the_key_is_sent_and_never_written(asked, store, tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("MY_KEY", "sk-very-secret")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-another")
    monkeypatch.setenv("OPENAI_ORG_ID", "org-secret")
    with caplog.at_level(logging.INFO), JudgeServer(by(first_letter)) as server:
        asked(server, key_from="MY_KEY")
        asked(server)
    assert {told["authorization"] for told in server.headers} == {"Bearer sk-very-secret"}
    assert not any("org-secret" in json.dumps(told) for told in server.headers)
    written = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert b"secret" not in written
    assert "secret" not in caplog.text


@pytest.mark.parametrize("status", [400, 401, 429, 200])
def test_a_server_that_repeats_the_key_does_not_bring_it_into_files(
    asked, store, tmp_path, monkeypatch, status
):
    monkeypatch.setenv("MY_KEY", "sk-very-secret")
    told = "x" * 285 + " Bearer sk-very-secret is no key"
    with JudgeServer(lambda body: (status, {}, json.dumps({"error": {"message": told}}))) as server:
        if status == 401:
            with pytest.raises(ConfigError, match="says 401: x") as refused:
                asked(server, key_from="MY_KEY", retries=0)
            shown = str(refused.value)
        else:
            shown = str(asked(server, key_from="MY_KEY", retries=0).about())
    if status != 200:
        shown += str(store.marks.reasons())
        assert "Bearer … is" in shown
    written = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert b"sk-v" not in written
    assert "sk-v" not in shown


def test_without_a_key_none_of_another_name_is_sent(asked, store, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-another")
    with JudgeServer(by(first_letter)) as server:
        asked(server)
    assert {told["authorization"] for told in server.headers} == {"Bearer none"}


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


def test_what_gold_says_is_noted_for_the_dashboard(asked, store):
    from clip_viewer.statistics import statistics

    class Gold:
        def compare(self, left, right):
            return LEFT if left.id in ("a0", "a1") else RIGHT

    with JudgeServer(by(first_letter)) as server:
        asked(server, gold=Gold())
    gold = {mark.query_id: mark for mark in store.marks.gold_marks()}
    assert len(gold) == N
    store.submit("q0", LEFT, submission_key="1", annotator_id="ann")
    store.submit("q1", RIGHT, submission_key="2", annotator_id="ann")
    found = statistics(
        store.events(),
        store.marks.gold(),
        [],
        gold_by={query: mark.annotator_id for query, mark in gold.items()},
    )
    (judge,) = [person for person in found["people"] if person["annotator"] == "ai:stub"]
    assert judge["gold_error"]["value"] == pytest.approx((N - 2) / N)
    assert found["agreement"]["pairs"] == 0  # between people
    with_people = found["agreement"]["with_people"]["ai:stub"]
    assert (with_people["value"], with_people["n"]) == (0.5, 2)


def test_task_holds_no_key():
    assert not {"key", "api_key"} & set(vars(Task(JudgeConfig(), "", "")))
    assert completion("x")
