import pytest

from prefrl.core.comparisons import Answer
from prefrl.core.store import LabelStore
from prefrl.errors import ConfigError
from prefrl.runtime.rundir import RunDirectory
from prefrl.text import responses as module
from prefrl.text.data.intake import take_in, take_in_labelled
from prefrl.text.data.records import Labelled, Ranking
from prefrl.text.methods.examples import pairs_of, rankings_of
from prefrl.text.nets.models import load_model
from prefrl.text.responses import Responses


def test_what_is_taken_in_is_answered_once_and_sides_tell_nothing():
    language, responses = load_model("tiny"), Responses()
    rankings = [Ranking(f"{i} ", ("good", "bad", "bad too"), (1, 2, 2)) for i in range(100)]
    with LabelStore("sqlite://") as store:
        for _ in range(2):
            assert len(take_in(rankings, language, responses, store)) == 300
        answers = [comparison for _, comparison in store.comparisons()]
    assert len(answers) == 300
    assert sum(c.answer == Answer.TIE for c in answers) == 100
    lefts = sum(c.answer == Answer.LEFT for c in answers)
    assert 70 < lefts < 130
    for comparison in answers:
        left, right = (responses[i].text for i in (comparison.query.left, comparison.query.right))
        expected = {("good", True): Answer.LEFT, ("good", False): Answer.RIGHT}
        if "good" in (left, right):
            assert comparison.answer == expected["good", left == "good"]


def test_the_pairs_of_a_ranking_of_three_are_a_group_and_a_pair_is_none():
    language, responses = load_model("tiny"), Responses()
    rankings = [
        Ranking("p ", ("a", "b", "c"), (2, 1, 3)),
        Ranking("p ", ("a", "b", "d", "d"), (1, 2, 3, 4)),
        Ranking("p ", ("a", "b"), (1, 2)),
        Ranking("p ", ("e", "e", "f"), (1, 2, 3)),
    ]
    with LabelStore("sqlite://") as store:
        assert len(take_in(rankings, language, responses, store)) == 3 + 3 + 1 + 1
        comparisons = [comparison for _, comparison in store.comparisons()]
    groups = {}
    for comparison in comparisons:
        groups.setdefault(comparison.query.group, []).append(comparison)
    assert sorted(map(len, groups.values())) == [2, 3, 3]
    assert len(groups.pop(None)) == 2
    found = {tuple(responses[i].text for i in example.ids) for example in rankings_of(comparisons)}
    assert found == {("b", "a", "c"), ("a", "b", "d"), ("a", "b"), ("e", "f")}


def test_each_rating_of_the_same_responses_counts():
    language, responses = load_model("tiny"), Responses()
    rankings = [Ranking("p ", ("a", "b"), ranks) for ranks in ((1, 2), (1, 2), (2, 1), (1, 2))]
    rankings += [Ranking("p ", ("c", "d", "e"), ranks) for ranks in ((1, 2, 3), (3, 2, 1))]
    rankings += [Ranking("p ", ("e", "d", "c"), (3, 2, 1))]
    with LabelStore("sqlite://") as store:
        for _ in range(2):
            assert len(take_in(rankings, language, responses, store)) == 1 + 3
        comparisons = [comparison for _, comparison in store.comparisons()]
        assert store.annotators() == ["dataset", "dataset-2", "dataset-3", "dataset-4"]
    chosen = [responses[example.ids[0]].text for example in pairs_of(comparisons)]
    assert [text for text in chosen if text in "ab"] == ["a", "a", "b", "a"]
    assert len(comparisons) == 4 + 3 * 3
    ranked = [e for e in rankings_of(comparisons) if len(e.ids) == 3]
    assert [[responses[i].text for i in e.ids] for e in ranked] == [["c", "d", "e"]]


def test_all_items_of_a_file_are_on_disk_at_once_before_its_queries_and_are_written_once(
    tmp_path, monkeypatch
):
    run, language = RunDirectory.create(tmp_path / "run"), load_model("tiny")
    rankings = [Ranking(f"{i} ", ("good", "bad"), (1, 2)) for i in range(50)]
    single = [Labelled("p ", "good", True)]
    done, beats = [], []
    for name in ("replace_file", "sync_folder"):
        real = getattr(module, name)
        monkeypatch.setattr(
            module, name, lambda *a, n=name, r=real, **k: (r(*a, **k), done.append(n))
        )
    with LabelStore("sqlite://") as store:
        add = store.add_answered
        monkeypatch.setattr(store, "add_answered", lambda *a: (done.append("stored"), add(*a)))
        for expected in (["replace_file"] * 100, []):  # the second time after a restart
            take_in(rankings, language, Responses(run), store, beat=lambda: beats.append(1))
            assert done == [*expected, "sync_folder", "stored"]
            assert len(beats) > 50 + len(expected)
            done.clear()
            beats.clear()
        take_in_labelled(single, language, Responses(run), beat=lambda: beats.append(1))
    assert done == ["replace_file", "sync_folder"]
    assert len(beats) == 2
    again = Responses(run)
    assert len(again) == 101
    assert all(again[item_id].id == item_id for item_id in again)


def test_no_labeller_ever_finds_what_data_has_answered(tmp_path, monkeypatch):
    rankings = [Ranking(f"{i} ", ("good", "bad", "bad too"), (1, 2, 2)) for i in range(400)]
    n_open = []
    with LabelStore(tmp_path / "labels.db") as store, LabelStore(tmp_path / "labels.db") as other:
        monkeypatch.setattr(
            "prefrl.core.database.fail_point", lambda point: n_open.append(other.counts().open)
        )
        take_in(rankings, load_model("tiny"), Responses(), store)
        assert store.counts().answered == 1200
    assert len(n_open) == 2 * 3  # before and after each commit
    assert not any(n_open)


def test_single_responses_are_kept_with_their_labels():
    language, responses = load_model("tiny"), Responses()
    found = take_in_labelled(
        [Labelled("p", "a", True), Labelled("q", "b", False)], language, responses
    )
    assert [(responses[i].text, is_good) for i, is_good in found] == [("a", True), ("b", False)]


def test_a_text_that_is_too_long_is_named_by_its_place():
    language = load_model("tiny")
    long = Ranking("p", (300 * "a", "b"), (1, 2), where="line 2 of data.jsonl")
    rankings = [Ranking("p", ("a", "b"), (1, 2)), long]
    with (
        LabelStore("sqlite://") as store,
        pytest.raises(ConfigError, match=r"^line 2 of data.jsonl has 302 tokens"),
    ):
        take_in(rankings, language, Responses(), store)
    one = Labelled("p", 300 * "a", True, where="row 7 of folder")
    with pytest.raises(ConfigError, match=r"^row 7 of folder has 302 tokens"):
        take_in_labelled([one], language, Responses())
