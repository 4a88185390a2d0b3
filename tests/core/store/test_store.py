import contextlib
import itertools
import math
import os
import random
import signal
import subprocess
import sys
import threading
import time

import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st
from store_places import raw

import prefrl
from prefrl.core.comparisons import Answer, Comparison, Query
from prefrl.core.store import Counts, LabelStore, Submission
from prefrl.errors import StoreError, SubmissionConflictError

LEFT, RIGHT, TIE, SKIP = Answer
QUERIES = [Query(f"q{i}", f"left{i}", f"right{i}") for i in range(4)]


@pytest.fixture
def store(place):
    with LabelStore(place) as store:
        store.add_queries(QUERIES)
        yield store


def submit(store, query_id, answer, key=None, annotator_id="ann", **options):
    key = f"{query_id}/{annotator_id}/{answer.value}" if key is None else key
    return store.submit(query_id, answer, submission_key=key, annotator_id=annotator_id, **options)


def answers(store, since=0):
    return [
        (comparison.query.id, comparison.answer) for _, comparison in store.comparisons(since=since)
    ]


# --- queries and answers


def test_an_answer_comes_back_as_it_was_given(store):
    before = time.time()
    event = submit(
        store,
        "q1",
        TIE,
        key="k",
        shown_at=12.5,
        client_ms=830.0,
        order_shown="right first",
        rubric_ver="2",
    )
    assert (event.query_id, event.answer, event.submission_key) == ("q1", TIE, "k")
    assert (event.annotator_id, event.supersedes, event.shown_at) == ("ann", None, 12.5)
    assert (event.client_ms, event.order_shown, event.rubric_ver) == (830.0, "right first", "2")
    assert before <= event.answered_at <= time.time()
    assert event.server_ver
    assert store.comparisons() == [(event.id, Comparison(QUERIES[1], TIE))]


def test_answers_are_on_disk_when_submit_returns(store, place):
    submit(store, "q0", LEFT, key="k")
    assert raw(place, "SELECT submission_key, answer FROM label_event") == [("k", "left")]


def test_comparisons_follow_a_cursor(store):
    assert store.comparisons() == []
    first = submit(store, "q2", LEFT)
    submit(store, "q0", SKIP)
    assert answers(store) == [("q2", LEFT), ("q0", SKIP)]
    assert answers(store, since=first.id) == [("q0", SKIP)]
    assert answers(store, since=store.comparisons()[-1][0]) == []


def test_a_newer_answer_of_the_same_annotator_counts_instead(store):
    first = submit(store, "q0", LEFT)
    submit(store, "q0", RIGHT, annotator_id="other")
    submit(store, "q0", TIE)
    assert answers(store) == [("q0", RIGHT), ("q0", TIE)]
    assert answers(store, since=first.id) == [("q0", RIGHT), ("q0", TIE)]


def test_a_superseding_event_replaces_an_answer_also_of_another_annotator(store):
    first = submit(store, "q0", LEFT)
    second = submit(store, "q0", RIGHT, annotator_id="reviewer", supersedes=first.id)
    assert second.supersedes == first.id
    assert answers(store) == [("q0", RIGHT)]
    third = submit(store, "q0", TIE, annotator_id="reviewer", supersedes=second.id)
    assert store.comparisons() == [(third.id, Comparison(QUERIES[0], TIE))]


def test_counts_say_how_much_of_what(store):
    assert store.counts() == Counts(queries=4, answered=0, skipped=0, open=4)
    submit(store, "q0", LEFT)
    submit(store, "q0", SKIP, annotator_id="other")
    submit(store, "q1", SKIP)
    submit(store, "q2", RIGHT)
    assert store.counts() == Counts(queries=4, answered=2, skipped=1, open=1)
    submit(store, "q2", SKIP)
    assert store.counts() == Counts(queries=4, answered=1, skipped=2, open=1)


def test_an_empty_store(place):
    with LabelStore(place) as store:
        assert store.counts() == Counts(0, 0, 0, 0)
        assert store.open_queries(5) == store.comparisons() == []
        assert store.add_queries([]) == 0


def test_open_queries_come_by_priority_then_age(place):
    with LabelStore(place) as store:
        store.add_queries([Query("z", "a", "b")])
        store.add_queries(QUERIES[:3], priorities=[0.0, 2.0, 1.0], run_steps=7)
        assert [query.id for query in store.open_queries(10)] == ["q1", "q2", "z", "q0"]
        assert store.open_queries(1) == [QUERIES[1]]
        submit(store, "q1", SKIP)
        assert [query.id for query in store.open_queries(2)] == ["q2", "z"]
    assert raw(place, "SELECT env_steps FROM query ORDER BY id") == [(7,), (7,), (7,), (0,)]


def test_adding_a_query_again_is_harmless(store):
    assert store.add_queries([QUERIES[0], QUERIES[0]], priorities=[9, 9], run_steps=5) == 0
    assert store.open_queries(1) == [QUERIES[0]]
    assert store.counts().queries == 4


def test_queries_that_come_with_their_answers_are_never_open(place, monkeypatch):
    seen = []
    with LabelStore(place) as store, LabelStore(place) as other:
        monkeypatch.setattr(
            "prefrl.core.store.database.fail_point",
            lambda point: seen.append((point, other.counts())),
        )
        given = [Submission(q.id, LEFT, f"k/{q.id}", "data") for q in QUERIES]
        events = store.add_answered(QUERIES, given)
        assert [event.query_id for event in events] == [query.id for query in QUERIES]
        assert store.add_answered(QUERIES, given) == events
        stored = Counts(queries=4, answered=4, skipped=0, open=0)
        before, after = "store:before-commit", "store:after-commit"
        assert seen[:2] == [(before, Counts(0, 0, 0, 0)), (after, stored)]
        assert seen[2:] == [(before, stored), (after, stored)]
        lone = Query("lone", "a", "b")
        with pytest.raises(StoreError, match="expected a query of this store, got 'absent'"):
            store.add_answered([lone], [Submission("absent", LEFT, "new", "data")])
        assert store.counts() == stored
        assert store.check() == []


def test_a_query_id_with_other_items_is_refused_and_nothing_is_stored(store):
    new, other = Query("new", "a", "b"), Query("q0", "right0", "left0")
    with pytest.raises(StoreError, match="query 'q0' compares 'left0' with 'right0', got it again"):
        store.add_queries([new, other])
    with pytest.raises(StoreError, match="query 'new'"):
        store.add_queries([new, Query("new", "a", "c")])
    assert store.counts().queries == 4


@pytest.mark.parametrize("priorities", [[1.0], [1.0, math.nan]])
def test_priorities_that_do_not_fit_are_refused(store, priorities):
    with pytest.raises(ValueError, match="finite priority for each of 2 queries"):
        store.add_queries(QUERIES[:2], priorities=priorities)


# --- exactly once


def test_a_retry_is_harmless(store):
    first = submit(store, "q0", LEFT, key="k", client_ms=10.0)
    assert submit(store, "q0", LEFT, key="k", client_ms=9000.0) == first
    assert answers(store) == [("q0", LEFT)]


def test_one_key_for_two_answers_is_a_conflict(store):
    first = submit(store, "q0", LEFT, key="k")
    for query_id, answer, annotator_id, supersedes in [
        ("q0", RIGHT, "ann", None),
        ("q1", LEFT, "ann", None),
        ("q0", LEFT, "other", None),
        ("q0", LEFT, "ann", first.id),
    ]:
        with pytest.raises(SubmissionConflictError, match=r"'k' was used for .* make a new key"):
            submit(store, query_id, answer, "k", annotator_id, supersedes=supersedes)
    assert answers(store) == [("q0", LEFT)]


def test_an_unknown_query_or_event_is_refused(store):
    event = submit(store, "q1", LEFT)
    with pytest.raises(StoreError, match="query of this store, got 'q9'; call add_queries"):
        submit(store, "q9", LEFT)
    for supersedes in (event.id, 99):
        with pytest.raises(StoreError, match="expected supersedes to be an event on query 'q0'"):
            submit(store, "q0", LEFT, supersedes=supersedes)
    assert answers(store) == [("q1", LEFT)]


ROW = (
    "INTO label_event (id, query_id, annotator_id, submission_key, answer, answered_at, "
    "server_ver) VALUES ({id}, '{query}', 'ann', '{key}', '{answer}', 0, '')"
)
SAME_ID, SAME_KEY = (ROW.format(id=i, query="q0", key=k, answer="right") for i, k in ("1x", "2k"))
ALTERATIONS = ["UPDATE label_event SET answer = 'right'", "DELETE FROM label_event"]
ALTERATIONS += [f"INSERT {SAME_ID}", f"INSERT {SAME_KEY}"]
ALTERATIONS_OF = {
    "sqlite": [f"INSERT OR REPLACE {SAME_ID}", f"REPLACE {SAME_KEY}"],
    "postgresql": [
        f"INSERT {SAME_ID} ON CONFLICT (id) DO UPDATE SET answer = 'right'",
        "TRUNCATE label_event CASCADE",
    ],
}


def test_events_are_only_ever_added(store, place):
    submit(store, "q0", LEFT, key="k")
    for statement in ALTERATIONS + ALTERATIONS_OF["postgresql" if "://" in place else "sqlite"]:
        with pytest.raises(sa.exc.DBAPIError, match=r"label_event is append-only|duplicate key"):
            raw(place, statement)
        assert answers(store) == [("q0", LEFT)]


def test_the_database_itself_refuses_unknown_answers_and_queries(store, place):
    for query_id, answer, refusal in [
        ("q0", "maybe", "known_answer"),
        ("q0", "undo", "undo_of_something"),
        ("q9", "left", "FOREIGN KEY|foreign key"),
    ]:
        with pytest.raises(sa.exc.IntegrityError, match=refusal):
            raw(place, "INSERT " + ROW.format(id=1, query=query_id, key="k", answer=answer))


submissions = st.tuples(
    st.sampled_from(["q0", "q1"]),
    st.sampled_from([LEFT, RIGHT, SKIP]),
    st.sampled_from(["k0", "k1", "k2", "k3"]),
    st.sampled_from(["ann", "other"]),
)


@settings(max_examples=25, deadline=None)
@given(st.lists(submissions, max_size=12))
def test_any_order_of_submissions_equals_a_dict(sequence):
    by_key, current = {}, {}
    with LabelStore("sqlite://") as store:
        store.add_queries(QUERIES)
        for query_id, answer, key, annotator_id in sequence:
            body = (query_id, answer, annotator_id)
            if by_key.get(key, body) != body:
                with pytest.raises(SubmissionConflictError):
                    submit(store, query_id, answer, key, annotator_id)
                continue
            submit(store, query_id, answer, key, annotator_id)
            if key not in by_key:
                by_key[key] = body
                current.pop((query_id, annotator_id), None)  # the newest comes last
                current[query_id, annotator_id] = answer
        assert answers(store) == [(query_id, a) for (query_id, _), a in current.items()]
        undecided = {query_id for query_id, _ in current} - {
            q for q, a in answers(store) if a != SKIP
        }
        assert store.counts().skipped == len(undecided)


def test_a_closed_store_says_so(store):
    store.close()
    store.close()
    with pytest.raises(StoreError, match="open it again"):
        store.counts()


# --- many writers, and death

# The store alone, in a tenth of the time: the package itself imports Stable-Baselines3 and torch.
WRITER = """
import sys, types
sys.modules["prefrl"] = types.ModuleType("prefrl")
sys.modules["prefrl"].__path__ = [sys.argv[4]]

from prefrl.core.comparisons import Answer, Query
from prefrl.core.store import LabelStore, Submission

place, name, n = sys.argv[1], sys.argv[2], int(sys.argv[3])
with LabelStore(place) as store:
    for i in range(n):
        keys = [f"{name}-{i}-{half}" for half in "ab"]
        store.add_queries([Query(key, "a", "b") for key in keys])
        store.submit_many([Submission(key, Answer.LEFT, key, name) for key in keys])
        print(*keys, flush=True)
"""


@contextlib.contextmanager
def writers(place, names, n):
    """Processes that each store n pairs of answers and print their keys once acknowledged."""
    with contextlib.ExitStack() as stack:
        processes = []
        for name in names:
            command = [sys.executable, "-c", WRITER, str(place), name, str(n), *prefrl.__path__]
            process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
            processes.append(stack.enter_context(process))
            stack.callback(process.kill)
        yield processes


def test_three_writers_lose_nothing(place):
    # None of them finds the file, so they also race to make it.
    with writers(place, "abc", n=15) as processes:
        acknowledged = [process.stdout.read().split() for process in processes]
        assert [process.wait(timeout=60) for process in processes] == [0, 0, 0]
    assert acknowledged == [
        [f"{name}-{i}-{half}" for i in range(15) for half in "ab"] for name in "abc"
    ]
    with LabelStore(place) as store:
        stored = [comparison.query.id for _, comparison in store.comparisons()]
    assert sorted(stored) == sorted(itertools.chain(*acknowledged))


@pytest.mark.parametrize(
    "n_rounds", [1, pytest.param(12, marks=[pytest.mark.slow, pytest.mark.timeout(600)])]
)
def test_what_was_acknowledged_survives_kill_9(place, n_rounds):
    rng = random.Random(0)
    acknowledged = []
    for number in range(n_rounds):
        with writers(place, [f"{number}{name}" for name in "abc"], n=10**9) as processes:
            acknowledged += itertools.chain(*(p.stdout.readline().split() for p in processes))
            for process in processes:
                time.sleep(rng.uniform(0.02, 0.4))
                process.kill()  # SIGKILL, while the others go on writing
                acknowledged += process.stdout.read().split()
                if "://" not in place:
                    assert raw(place, "PRAGMA integrity_check") == [("ok",)]
    stored = [key for (key,) in raw(place, "SELECT submission_key FROM label_event")]
    assert len(stored) == len(set(stored))
    assert set(acknowledged) <= set(stored)
    assert len(acknowledged) >= 2 * 3 * n_rounds  # everyone got so far
    # At most one pair of each writer was stored without its acknowledgement getting out.
    assert len(acknowledged) <= len(stored) <= len(acknowledged) + 2 * 3 * n_rounds
    assert {key[:-1] + half for key in stored for half in "ab"} == set(stored)  # never half of one

    with LabelStore(place) as store:  # and the client that heard nothing tries again
        for key in stored:
            submit(store, key, LEFT, key, annotator_id=key.split("-")[0])
        assert store.counts().answered == len(stored)
        assert store.check() == []


@pytest.mark.parametrize(("point", "n_stored"), [("before", 4), ("after", 6)])
def test_a_kill_around_the_commit_loses_nothing_acknowledged(place, point, n_stored):
    # The 7th transaction is the third pair of answers, after the tables and three of queries.
    command = [sys.executable, "-c", WRITER, place, "a", "9", *prefrl.__path__]
    environment = os.environ | {"PREFRL_FAIL_POINT": f"store:{point}-commit@7"}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True)
    assert done.returncode == -signal.SIGKILL
    assert done.stdout.split() == ["a-0-a", "a-0-b", "a-1-a", "a-1-b"]
    with LabelStore(place) as store:
        assert len(store.events()) == n_stored
        for key in [event.submission_key for event in store.events()]:
            submit(store, key, LEFT, key, annotator_id="a")  # the client tries again
        assert store.counts().answered == n_stored
        assert store.check() == []


def test_threads_share_a_store(store):
    def label(annotator_id):
        for query in QUERIES:
            submit(store, query.id, LEFT, annotator_id=annotator_id)

    threads = [threading.Thread(target=label, args=(f"a{i}",)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(store.comparisons()) == 16
