"""A judge that is slow, contradicts itself, has a budget, and a key."""

import json
import logging
import threading
import time

import pytest
from judge_server import JudgeServer, by, completion, says, texts_of
from judging import N, answers, first_letter

from prefrl.core.comparisons import Answer, Query
from prefrl.errors import ConfigError
from prefrl.runtime.judge.config import JudgeConfig, Task

pytest.importorskip("openai")
LEFT, RIGHT, TIE, SKIP = Answer


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
