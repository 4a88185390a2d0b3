"""Each rule of what counts, on events made by hand."""

import pytest

from clip_viewer.statistics import statistics
from prefrl.core.comparisons import Answer, Query
from prefrl.core.store import LabelStore
from prefrl.core.store.labels import LabelEvent, Submission
from prefrl.core.store.marks import Mark

NOTHING = {"value": None, "low": None, "high": None, "n": 0}
REPEATS = ("a left left", "b left right", "c tie left", "d skip left")
SHARES = ("left_share", "tie_rate", "skip_rate", "self_consistency", "gold_error", "fast_share")


class Study:
    """Makes events as a store would, four seconds apart."""

    def __init__(self):
        self.events = []

    def answer(self, who, query, answer, order="left-right", **about):
        return self._add(who, query, answer, order_shown=order, **about)

    def undo(self, who, query, of, answer=None):
        return self._add(who, query, answer, supersedes=of)

    def _add(self, who, query, answer, **about):
        id_ = len(self.events) + 1
        fields = {
            "submission_key": f"k{id_}",
            "supersedes": None,
            "shown_at": None,
            "answered_at": 4.0 * id_,
            "client_ms": None,
            "order_shown": None,
            "rubric_ver": None,
            "server_ver": "test",
        }
        self.events.append(
            LabelEvent(
                id=id_,
                query_id=query,
                annotator_id=who,
                answer=Answer(answer) if answer else None,
                **(fields | about),
            )
        )
        return id_

    def of(self, who, gold=None, **options):
        people = statistics(self.events, gold or {}, [], **options)["people"]
        return next(person for person in people if person["annotator"] == who)


@pytest.fixture
def study():
    return Study()


def part(share):
    """How many of how many."""
    return (round((share["value"] or 0) * share["n"], 9), share["n"])


def test_an_empty_study():
    assert statistics([], {}, []) == {
        "labels": 0,
        "people": [],
        "agreement": {
            "pairs": 0,
            "percent": NOTHING,
            "krippendorff_alpha": None,
            "gwet_ac1": None,
            "with_people": {},
        },
        "flags": [],
        "notes": [],
        "labels_over_time": [],
    }


def test_left_is_the_left_of_the_screen(study):
    study.answer("anna", "a", "left", "left-right")  # left on the screen
    study.answer("anna", "b", "left", "right-left")  # right
    study.answer("anna", "c", "right", "right-left")  # left
    study.answer("anna", "d", "right", "left-right")  # right
    study.answer("anna", "e", "right", "right-left")  # left
    study.answer("anna", "f", "tie", "left-right")
    study.answer("anna", "g", "skip", "right-left")
    study.answer("anna", "h", "left", "2-0-1")
    study.answer("anna", "i", "left", None)
    anna = study.of("anna")
    assert part(anna["left_share"]) == (3, 5)
    # Wilson for 3 of 5, by hand: (0.6 + 0.3841 -+ 1.96 sqrt(0.048 + 0.0384)) / 1.7683
    assert anna["left_share"]["low"] == pytest.approx(0.2307, abs=5e-4)
    assert anna["left_share"]["high"] == pytest.approx(0.8824, abs=5e-4)
    assert part(anna["tie_rate"]) == (1, 9)
    assert part(anna["skip_rate"]) == (1, 9)
    assert anna["labels"] == 9


def test_what_was_undone_does_not_count(study):
    slip = study.answer("anna", "a", "left")
    study.undo("anna", "a", slip)
    study.answer("anna", "a", "tie", "right-left")
    gone = study.answer("anna", "b", "left")
    study.undo("anna", "b", gone)
    anna = study.of("anna", {"a": Answer.RIGHT, "b": Answer.RIGHT})
    assert anna["labels"] == 1
    assert anna["left_share"] == NOTHING
    assert anna["self_consistency"] == NOTHING
    assert part(anna["tie_rate"]) == (1, 1)
    assert part(anna["gold_error"]) == (1, 1)


def test_an_answer_that_came_back_counts_as_it_was_shown(study):
    answer = study.answer("anna", "a", "left", "right-left", client_ms=3000.0)
    undo = study.undo("anna", "a", answer)
    back = study.undo("anna", "a", undo, "left")
    anna = study.of("anna")
    assert anna["labels"] == 1
    assert part(anna["left_share"]) == (0, 1)
    assert part(anna["skip_rate"]) == (0, 1)
    assert anna["self_consistency"] == NOTHING
    assert anna["median_seconds"] == 3
    study.undo("anna", "a", back)
    assert statistics(study.events, {}, [])["people"] == []


def test_a_repeat_replaces_the_label_and_tells_of_consistency(study):
    for query, first, second in map(str.split, REPEATS):
        study.answer("anna", query, first)
        study.answer("anna", query, second, "right-left")
    study.answer("bert", "a", "right")  # not a repeat: another person
    anna = study.of("anna")
    assert anna["labels"] == 4
    assert part(anna["self_consistency"]) == (1, 3)
    assert part(anna["skip_rate"]) == (1, 8)


def test_the_repeat_of_an_undone_answer_is_none_and_an_undone_repeat_is_none(study):
    first = study.answer("anna", "a", "left")
    study.undo("anna", "a", first)
    study.answer("anna", "a", "right")
    study.answer("anna", "b", "left")
    second = study.answer("anna", "b", "right", "right-left")
    study.undo("anna", "b", second)
    assert study.of("anna")["self_consistency"] == NOTHING
    study.answer("anna", "b", "left", "right-left")  # the same showing, answered anew
    assert part(study.of("anna")["self_consistency"]) == (1, 1)


def test_gold_pairs(study):
    for query, answer in [("a", "left"), ("b", "tie"), ("c", "skip"), ("d", "right"), ("e", "tie")]:
        study.answer("anna", query, answer)
        study.answer("owner", query, answer)
    gold = {"a": "left", "b": "left", "c": "left", "d": "left", "e": "tie"}
    gold = {query: Answer(answer) for query, answer in gold.items()}
    assert part(study.of("anna", gold)["gold_error"]) == (2, 4)
    setters = dict.fromkeys("abc", "owner") | dict.fromkeys("de", "anna")
    assert part(study.of("anna", gold, gold_by=setters)["gold_error"]) == (1, 2)
    assert part(study.of("owner", gold, gold_by=setters)["gold_error"]) == (1, 2)


def test_agreement_is_over_current_labels_of_people_without_skips(study):
    pairs = {"a": "left left", "b": "left right", "c": "tie tie", "d": "left skip", "e": "left"}
    for query, answers in pairs.items():
        for who, answer in zip(("anna", "bert"), answers.split(), strict=False):
            study.answer(who, query, answer)
    study.answer("oracle", "e", "right", None)
    study.answer("oracle", "a", "right", None)
    study.answer("bert", "b", "left")  # a repeat: now they agree
    found = statistics(study.events, {}, [])
    agreement = found["agreement"]
    assert agreement["pairs"] == 3
    assert part(agreement["percent"]) == (3, 3)
    assert agreement["krippendorff_alpha"] == agreement["gwet_ac1"] == 1
    study.answer("bert", "a", "right")
    agreement = statistics(study.events, {}, [])["agreement"]
    assert part(agreement["percent"]) == (2, 3)
    # By hand: LR, LL, TT. n_L = 3, n_R = 1, n_T = 2, o_cc = 4: (5 * 4 - 8) / (30 - 8).
    assert agreement["krippendorff_alpha"] == pytest.approx(12 / 22)
    # The oracle comes last, whatever it has done.
    assert [person["annotator"] for person in found["people"]] == ["anna", "bert", "oracle"]
    assert found["labels"] == 5 + 4 + 2
    assert found["people"][-1] == {
        "annotator": "oracle",
        "labels": 2,
        "per_hour": None,
        "median_seconds": None,
        **dict.fromkeys(SHARES, NOTHING),
    }


def test_the_rate_is_over_active_time(study):
    # 31 answers 4 s apart; five minutes away; 31 more: 60 gaps of 4 s. The answer after the pause
    # has no time of its own.
    for i in range(62):
        study.answer("anna", f"q{i}", "left", answered_at=4.0 * i + (300 if i > 30 else 0))
    assert study.of("anna")["per_hour"] == pytest.approx(900)


def test_answers_that_came_late_and_all_at_once_have_the_rate_at_which_they_were_given(study):
    for i in range(50):
        study.answer(
            "anna", f"q{i}", "left", shown_at=5.0 * i, client_ms=4500.0, answered_at=9999.0
        )
    assert study.of("anna")["per_hour"] == pytest.approx(720)
    assert study.of("anna")["median_seconds"] == 4.5


def test_there_is_no_rate_for_less_than_a_minute(study):
    for i in range(15):
        study.answer("anna", f"q{i}", "left")
    assert study.of("anna")["per_hour"] is None


def test_a_ranking_counts_as_its_pairs_and_was_looked_at_once(study):
    for i in range(3):
        key = {"submission_key": f"ranking/{i}", "client_ms": 30_000.0}
        study.answer("anna", f"r{i}", "tie" if i else "left", "2-0-1", **key)
    study.answer("anna", "a", "left", client_ms=2000.0)
    study.answer("anna", "b", "left", client_ms=3000.0)
    anna = study.of("anna")
    assert anna["labels"] == 5
    assert part(anna["tie_rate"]) == (2, 5)
    assert part(anna["left_share"]) == (2, 2)
    assert anna["median_seconds"] == 3


def test_what_was_answered_unseen(study):
    for i in range(4):
        study.answer("anna", f"q{i}", "left", submission_key=f"k{i}")
    for i in range(3):
        study.answer("anna", f"r{i}", "left", order="0-2-1", submission_key=f"rank/{i}")
    found = statistics(study.events, {}, [], fast={"k1", "rank", "gone"})["people"]
    assert part(found[0]["fast_share"]) == (2, 5)


def test_flags_and_labels_over_time(study):
    for i in range(500):
        study.answer("anna", f"q{i}", "left")
    gone = study.answer("anna", "gone", "left")
    study.undo("anna", "gone", gone)
    dark = Mark("q1", "anna", "flag", "raised", 5.0, why="too dark")
    flags = [dark, Mark("q9", "bert", "flag", "raised", 7.0)]
    found = statistics(study.events, {}, flags)
    assert found["flags"] == [
        {"query_id": "q9", "annotator": "bert", "why": "", "made_at": 7.0, "labels": 1},
        {"query_id": "q1", "annotator": "anna", "why": "too dark", "made_at": 5.0, "labels": 1},
    ]
    line = found["labels_over_time"]
    assert len(line) == 200
    assert line[0] == [4.0, 1]
    assert line[-1] == [2000.0, 500]
    assert line == sorted(line)
    assert all(n == seconds / 4 for seconds, n in line)


def test_events_of_a_real_store(tmp_path):
    with LabelStore(tmp_path / "labels.db") as store:
        store.add_queries([Query(f"q{i}", f"left{i}", f"right{i}") for i in range(3)])
        store.add_queries(
            [Query(f"r{i}", *pair, "group") for i, pair in enumerate(["ab", "ac", "bc"])]
        )
        for who in ("anna", "bert"):
            for i in range(3):
                about = {"annotator_id": who, "order_shown": "right-left", "client_ms": 1500.0}
                store.submit(f"q{i}", Answer.LEFT, submission_key=f"{who} {i}", **about)
        store.submit_many(
            Submission(f"r{i}", Answer.LEFT, f"rank/{i}", "anna", order_shown="2-0-1")
            for i in range(3)
        )
        store.undo_submission("rank", annotator_id="anna", submission_key="undo")
        store.undo_submission("undo", annotator_id="anna", submission_key="redo")
        store.undo_submission("bert 2", annotator_id="bert", submission_key="bert undo")
        store.marks.add("q0", "owner", "gold", "right", submission_key="gold")
        store.marks.add("q1", "anna", "flag", "raised", submission_key="flag")
        found = statistics(store.events(), store.marks.gold(), store.marks.flags())
        anna, bert = found["people"]
        assert (anna["annotator"], anna["labels"]) == ("anna", 6)
        assert (bert["annotator"], bert["labels"]) == ("bert", 2)
        assert part(anna["left_share"]) == (0, 3)
        assert part(anna["gold_error"]) == part(bert["gold_error"]) == (1, 1)
        assert found["agreement"]["pairs"] == 2
        assert [flag["query_id"] for flag in found["flags"]] == ["q1"]


def test_agreement_is_of_people_and_of_what_people_said_in_data(study):
    for who, answer in (("dataset", "left"), ("dataset-2", "left"), ("ann", "right")):
        study.answer(who, "a", answer)
    study.answer("ai:gpt", "a", "left")
    study.answer("oracle", "a", "right")
    agreement = statistics(study.events, {}, [])["agreement"]
    assert agreement["pairs"] == 1
    assert agreement["percent"]["value"] == pytest.approx(1 / 3)  # of three pairs of ratings
    with_people = agreement["with_people"]["ai:gpt"]
    assert (with_people["value"], with_people["n"]) == (pytest.approx(2 / 3), 3)
