"""What new people say before their answers count: kept, and never among the labels."""

import pytest

from prefrl.core.comparisons import Answer, Query
from prefrl.core.store import LabelStore
from prefrl.core.store.trials import Trial
from prefrl.errors import SubmissionConflictError

LEFT, RIGHT, TIE, SKIP = Answer
GOLD = ["left", "right", "tie"]


@pytest.fixture
def store():
    with LabelStore("sqlite://") as store:
        store.add_queries([Query(f"q{i}", f"a{i}", f"b{i}") for i in range(5)])
        for i, right in enumerate(GOLD):
            store.media.add(f"a{i}", "m", "text/plain")
            store.media.add(f"b{i}", "n", "text/plain")
            store.submit(f"q{i}", Answer(right), submission_key=f"o{i}", annotator_id="owner")
            store.marks.add(f"q{i}", "owner", "gold", right, submission_key=f"g{i}")
        yield store


def say(store, query_id, said, key=None, who="anna"):
    store.trials.add(query_id, who, said, submission_key=key or f"{who}-{query_id}")


def test_what_is_said_is_no_label(store):
    before = store.comparisons(), store.changes(), store.counts(), store.annotators()
    for query_id in ("q0", "q1", "q4"):
        say(store, query_id, "left")
    assert (store.comparisons(), store.changes(), store.counts(), store.annotators()) == before


def test_right_and_wrong_are_counted_and_what_is_taken_back_is_not(store):
    assert store.trials.of("anna") == Trial(0, 0, None)
    say(store, "q0", "left")
    say(store, "q1", "skip")  # an honest answer, and not the right one
    say(store, "q3", "left")  # not gold
    assert store.trials.of("anna") == Trial(2, 1, None)
    assert [query.id for query in store.trials.pairs("anna", n=9)] == ["q2"]
    assert store.trials.undo("anna-q1", "anna", submission_key="u1")
    assert store.trials.of("anna") == Trial(1, 1, None)
    assert [query.id for query in store.trials.pairs("anna", n=9)] == ["q1", "q2"]
    say(store, "q1", "right", key="again")
    assert store.trials.of("anna") == Trial(2, 2, None)
    assert store.trials.of("bob") == Trial(0, 0, None)


def test_keys_make_a_retry_harmless(store):
    for _ in range(2):
        say(store, "q0", "left")
    assert store.trials.keeps("anna-q0")
    assert not store.trials.keeps("o0")
    with pytest.raises(SubmissionConflictError):
        say(store, "q0", "right")
    assert not store.trials.undo("o0", "owner", submission_key="u")  # that is a label
    assert not store.trials.undo("anna-q0", "bob", submission_key="u")  # and that is another's


def test_labels_from_before_the_round_are_known_and_ones_own_gold_is_no_test(store):
    store.submit("q0", RIGHT, submission_key="k", annotator_id="anna")
    assert store.trials.of("anna") == Trial(1, 0, None)
    assert store.trials.of("owner") == Trial(0, 0, None)
    assert store.trials.pairs("owner", n=9) == []


def test_a_verdict_stays_until_there_is_a_newer_one(store, tmp_path):
    store.trials.decide("q0", "anna", "failed", key="k")
    store.trials.decide("q0", "anna", "failed", key="k")
    store.marks.add("q1", "owner", "gold", "none", submission_key="no-gold")
    assert store.trials.verdicts() == {"anna": "failed"}
    store.trials.decide("q0", "anna", "admitted", key="l")
    assert store.trials.of("anna").verdict == "admitted"
    say(store, "q3", "ranked")
    # All of it goes with the labels.
    store.export_jsonl(tmp_path / "labels.jsonl")
    with LabelStore(tmp_path / "copy.db") as copy:
        copy.import_jsonl(tmp_path / "labels.jsonl")
        assert copy.trials.verdicts() == {"anna": "admitted"}
        assert copy.trials.keeps("anna-q3")
