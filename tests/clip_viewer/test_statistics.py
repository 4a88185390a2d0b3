"""The dashboard's figures through the real server, of people whose errors are known."""

import itertools
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from pages import PLAIN, serving

from prefrl.core.comparisons import Query
from prefrl.core.store import LabelStore

STRAIGHT, MIRRORED = "left-right", "right-left"
N_PEOPLE, N_PAIRS = 20, 200


def planted(rng):
    """Error rates from 0 to 35 %, and shares of answers that are just the left side."""
    errors = rng.permutation(np.linspace(0, 0.35, N_PEOPLE))
    biases = rng.permutation(np.repeat([0.0, 0.0, 0.15, 0.3], N_PEOPLE // 4))
    return errors, biases


def answers_of(rng, truth, error, bias):
    """What somebody answers, as seen on the screen, with how each pair lay there."""
    said = []
    for query_id, left_is_better in truth.items():
        order = STRAIGHT if rng.random() < 0.5 else MIRRORED
        right_answer = left_is_better == (order == STRAIGHT)
        said_left = right_answer if rng.random() >= error else not right_answer
        if rng.random() < bias:
            said_left = True
        said.append((query_id, order, "left" if said_left else "right"))
    return said


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
        with study.client("owner", "owner") as owner:
            send(owner, gold)
            told = [answers_of(rng, truth, *about) for about in zip(errors, biases, strict=True)]

            def answer(i):
                with study.client(f"person {i}") as client:
                    send(
                        client,
                        [
                            {"kind": "answer", "submission_key": f"person-{i}-{q}", "task": q}
                            | {"order": order, "answer": said}
                            for q, order, said in told[i]
                        ],
                    )

            with ThreadPoolExecutor(N_PEOPLE) as people:
                list(people.map(answer, range(N_PEOPLE)))
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
