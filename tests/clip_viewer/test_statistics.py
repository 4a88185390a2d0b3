"""The dashboard's figures: by hand, and recovered from people whose errors are known."""

import itertools
import time

import httpx
import numpy as np
import pytest
from pages import PLAIN, serving

from clip_viewer.statistics import statistics
from prefrl.core.comparisons import Answer, Query
from prefrl.core.store import LabelStore

LEFT, RIGHT, TIE, SKIP = Answer
STRAIGHT, MIRRORED = "left-right", "right-left"


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        self.now += 10
        return self.now


@pytest.fixture
def store():
    with LabelStore("sqlite://", clock=Clock()) as store:
        store.add_queries([Query(f"q{i}", "a", "b") for i in range(20)])
        yield store


def say(store, i, answer, who, order=STRAIGHT):
    key = f"key-{len(store.events())}"
    about = {"annotator_id": who, "order_shown": order, "client_ms": 2000.0}
    return store.submit(f"q{i}", answer, submission_key=key, **about)


def of(store, who, gold=None):
    summed = statistics(store.events(), gold or {}, store.marks.flags())
    return next(person for person in summed["people"] if person["annotator"] == who)


def test_without_labels():
    summed = statistics([], {}, [])
    assert (summed["labels"], summed["people"], summed["flags"]) == (0, [], [])
    assert summed["agreement"]["krippendorff_alpha"] is None


def test_shares_by_hand(store):
    say(store, 0, LEFT, "ann")  # left on the screen
    say(store, 1, LEFT, "ann", MIRRORED)  # right on the screen
    say(store, 2, RIGHT, "ann", MIRRORED)  # left
    say(store, 3, TIE, "ann")
    undone = say(store, 4, SKIP, "ann")
    say(store, 5, SKIP, "ann")
    store.undo(undone.id, annotator_id="ann", submission_key="u")
    ann = of(store, "ann")
    assert ann["labels"] == 5
    assert (ann["left_share"]["value"], ann["left_share"]["n"]) == (pytest.approx(2 / 3), 3)
    assert (ann["tie_rate"]["value"], ann["skip_rate"]["value"]) == (0.2, 0.2)
    assert ann["median_seconds"] == 2.0


def test_self_consistency_is_of_repeats_and_not_of_corrections(store):
    say(store, 0, LEFT, "ann")
    say(store, 0, LEFT, "ann", MIRRORED)
    say(store, 1, LEFT, "ann")
    say(store, 1, RIGHT, "ann", MIRRORED)
    slip = say(store, 2, LEFT, "ann")
    store.undo(slip.id, annotator_id="ann", submission_key="u")
    say(store, 2, RIGHT, "ann")
    assert of(store, "ann")["self_consistency"]["value"] == 0.5
    assert of(store, "ann")["self_consistency"]["n"] == 2


def test_gold_errors_leave_out_skips(store):
    for i, answer in enumerate([LEFT, RIGHT, TIE, SKIP, RIGHT]):
        say(store, i, answer, "ann")
    gold = {f"q{i}": LEFT for i in range(4)}
    share = of(store, "ann", gold)["gold_error"]
    assert (share["value"], share["n"]) == (pytest.approx(2 / 3), 3)


def test_agreement_is_between_people(store):
    for i, (ann, bob) in enumerate([(LEFT, LEFT), (RIGHT, RIGHT), (LEFT, RIGHT), (TIE, SKIP)]):
        say(store, i, ann, "ann")
        say(store, i, bob, "bob")
        say(store, i, LEFT, "oracle")
    agreement = statistics(store.events(), {}, [])["agreement"]
    assert agreement["pairs"] == 3  # a skip says nothing
    assert agreement["percent"]["value"] == pytest.approx(2 / 3)
    # Krippendorff 2011, nominal: 1 - (N - 1) * D / sum of n_c n_k, with 6 values, 3 left, 3 right.
    assert agreement["krippendorff_alpha"] == pytest.approx(1 - 5 * 2 / (2 * 3 * 3))


def test_a_hundred_thousand_events_take_no_time(store):
    first = say(store, 0, LEFT, "ann")
    fields = vars(first)
    events = [
        type(first)(**fields | {"id": i + 1, "query_id": f"q{i % 20000}", "submission_key": str(i)})
        for i in range(100_000)
    ]
    began = time.perf_counter()
    assert statistics(events, {}, [])["labels"] == 20_000
    assert time.perf_counter() - began < 10  # about one second; a square would take hours


N_PEOPLE, N_PAIRS = 20, 200


def planted(rng):
    """Error rates from 0 to 35 %, and shares of answers that are just the left side."""
    errors = rng.permutation(np.linspace(0, 0.35, N_PEOPLE))
    biases = rng.permutation(np.repeat([0.0, 0.0, 0.15, 0.3], N_PEOPLE // 4))
    return errors, biases


def answers_of(rng, truth, error, bias):
    """What somebody answers, as seen on the screen, with how each pair lay there."""
    for query_id, left_is_better in truth.items():
        order = STRAIGHT if rng.random() < 0.5 else MIRRORED
        right_answer = left_is_better == (order == STRAIGHT)
        said_left = right_answer if rng.random() >= error else not right_answer
        if rng.random() < bias:
            said_left = True
        yield query_id, order, "left" if said_left else "right"


def sign_in(study, name):
    client = httpx.Client(base_url=study.address, headers={"Origin": study.address})
    from clip_viewer.people import People, write_token

    people = People(study.run.people)
    session, _ = people.enter(people.invite(name))
    port = study.address.rsplit(":", 1)[1]
    client.cookies.set(f"prefrl_session_{port}", session)
    client.headers["X-Prefrl-Token"] = write_token(session)
    return client


def send(client, events):
    for start in range(0, len(events), 50):
        some = {"events": events[start : start + 50]}
        told = client.post("/api/events", json=some).raise_for_status().json()
        assert all(result["stored"] for result in told["results"])


def test_twenty_people_and_what_is_known_of_them(tmp_path):
    """Through the real server: what was planted comes out, within its interval."""
    rng = np.random.default_rng(0)
    errors, biases = planted(rng)
    truth = {f"pair{i}": bool(rng.random() < 0.5) for i in range(N_PAIRS)}
    with serving(tmp_path, PLAIN) as study:
        with LabelStore(study.run.labels) as store:
            store.add_queries([Query(query_id, "a", "b") for query_id in truth])
        gold = [
            {"kind": "gold", "submission_key": f"gold-{q:0>12}", "task": q, "order": STRAIGHT}
            | {"answer": "left" if left else "right"}
            for q, left in truth.items()
        ]
        with sign_in(study, "owner") as owner:
            send(owner, gold)
            for i in range(N_PEOPLE):
                answers = answers_of(rng, truth, errors[i], biases[i])
                with sign_in(study, f"person {i}") as client:
                    send(
                        client,
                        [
                            {"kind": "answer", "submission_key": f"person-{i}-{q}", "task": q}
                            | {"order": order, "answer": said}
                            for q, order, said in answers
                        ],
                    )
            summed = owner.get("/api/statistics").raise_for_status().json()
    found = {person["annotator"]: person for person in summed["people"]}
    wanted_error = errors * (1 - biases) + biases / 2
    wanted_left = 0.5 + biases / 2
    for what, wanted in (("gold_error", wanted_error), ("left_share", wanted_left)):
        shares = [found[f"person {i}"][what] for i in range(N_PEOPLE)]
        hit = sum(s["low"] <= w <= s["high"] for s, w in zip(shares, wanted, strict=True))
        assert hit >= 16, what  # 19 are expected; fewer than 16 come by chance once in 3,000 times
        assert np.corrcoef([s["value"] for s in shares], wanted)[0, 1] > 0.85, what
    assert summed["labels"] == N_PEOPLE * N_PAIRS
    # Of two people one may err: both right or both wrong, over all pairs of people.
    right = 1 - wanted_error
    pairs = list(itertools.combinations(right, 2))
    agreeing = np.mean([a * b + (1 - a) * (1 - b) for a, b in pairs])
    assert summed["agreement"]["percent"]["value"] == pytest.approx(agreeing, abs=0.02)
