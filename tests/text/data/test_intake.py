import pytest

from prefrl.core.comparisons import Answer
from prefrl.core.store import LabelStore
from prefrl.errors import ConfigError
from prefrl.runtime.rundir import RunDirectory
from prefrl.text import responses as module
from prefrl.text.data.intake import bring_in, brought, is_brought, take_in
from prefrl.text.data.items import as_items
from prefrl.text.data.records import Labelled, Preferences, Ranking
from prefrl.text.methods.examples import pairs_of, rankings_of
from prefrl.text.nets.models import load_model
from prefrl.text.responses import Responses


def items_of(rankings, language=None, labelled=(), **options):
    return as_items(
        Preferences(list(rankings), list(labelled)), language or load_model("tiny"), **options
    )


def test_what_is_taken_in_is_answered_once_and_sides_tell_nothing():
    responses = Responses()
    rankings = [Ranking(f"{i} ", ("good", "bad", "bad too"), (1, 2, 2)) for i in range(100)]
    with LabelStore("sqlite://") as store:
        for _ in range(2):
            assert len(take_in(items_of(rankings), responses, store)) == 300
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
    responses = Responses()
    rankings = [
        Ranking("p ", ("a", "b", "c"), (2, 1, 3)),
        Ranking("p ", ("a", "b", "d", "d"), (1, 2, 3, 4)),
        Ranking("p ", ("a", "b"), (1, 2)),
        Ranking("p ", ("e", "e", "f"), (1, 2, 3)),
    ]
    with LabelStore("sqlite://") as store:
        assert len(take_in(items_of(rankings), responses, store)) == 3 + 3 + 1 + 1
        comparisons = [comparison for _, comparison in store.comparisons()]
    groups = {}
    for comparison in comparisons:
        groups.setdefault(comparison.query.group, []).append(comparison)
    assert sorted(map(len, groups.values())) == [2, 3, 3]
    assert len(groups.pop(None)) == 2
    found = {tuple(responses[i].text for i in example.ids) for example in rankings_of(comparisons)}
    assert found == {("b", "a", "c"), ("a", "b", "d"), ("a", "b"), ("e", "f")}


def test_each_rating_of_the_same_responses_counts():
    responses = Responses()
    rankings = [Ranking("p ", ("a", "b"), ranks) for ranks in ((1, 2), (1, 2), (2, 1), (1, 2))]
    rankings += [Ranking("p ", ("c", "d", "e"), ranks) for ranks in ((1, 2, 3), (3, 2, 1))]
    rankings += [Ranking("p ", ("e", "d", "c"), (3, 2, 1))]
    with LabelStore("sqlite://") as store:
        for _ in range(2):
            assert len(take_in(items_of(rankings), responses, store)) == 1 + 3
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
    run = RunDirectory.create(tmp_path / "run")
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
            take_in(items_of(rankings), Responses(run), store, beat=lambda: beats.append(1))
            assert done == [*expected, "sync_folder", "stored"]
            assert len(beats) > 50 + len(expected)
            done.clear()
            beats.clear()
        take_in(items_of([], labelled=single), Responses(run), store)
    assert done == ["replace_file", "sync_folder"]
    again = Responses(run)
    assert len(again) == 101
    assert all(again[item_id].id == item_id for item_id in again)


def test_no_labeller_ever_finds_what_data_has_answered(tmp_path, monkeypatch):
    rankings = [Ranking(f"{i} ", ("good", "bad", "bad too"), (1, 2, 2)) for i in range(400)]
    n_open = []
    with LabelStore(tmp_path / "labels.db") as store, LabelStore(tmp_path / "labels.db") as other:
        monkeypatch.setattr(
            "prefrl.core.store.database.fail_point",
            lambda point: n_open.append(other.counts().open),
        )
        take_in(items_of(rankings), Responses(), store)
        assert store.counts().answered == 1200
    assert len(n_open) == 2 * 3  # before and after each commit
    assert not any(n_open)


def test_what_data_brings_into_a_run_is_found_there_again(tmp_path):
    run = RunDirectory.create(tmp_path / "run")
    labelled = [Labelled("p", "a", True), Labelled("q", "b", False)]
    items = items_of([Ranking("r", ("a", "b"), (1, 2))], labelled=labelled)
    assert not is_brought(run)
    bring_in(items, run)
    assert is_brought(run)
    responses = Responses(run)
    with LabelStore(run.labels) as store:
        queries, found = brought(run, store)
    assert [(responses[i].text, is_good) for i, is_good in found] == [("a", True), ("b", False)]
    assert [{responses[q.left].text, responses[q.right].text} for q in queries] == [{"a", "b"}]


def test_very_many_responses_are_one_file_and_are_found_one_by_one(tmp_path):
    run = RunDirectory.create(tmp_path / "run")
    rankings = [Ranking(f"{i} ", (f"good {i}", "bad"), (1, 2)) for i in range(600)]
    items = items_of([*rankings, Ranking("é ", ("\u2028", "ß"), (1, 2))])
    bring_in(items, run)
    assert len(list(run.items.iterdir())) == 1
    responses = Responses(run)
    assert len(responses) == len(set(responses)) == 2 * 600 + len(items.rankings[600:]) * 2
    for said, _ in items.rankings:
        assert all(response.id in responses for response in said)
        assert [responses[response.id] for response in said] == said
    new = items_of([Ranking("other ", ("a", "b"), (1, 2))]).rankings[0][0]
    responses.keep([*items.rankings[0][0], *new])
    assert len(list(run.items.iterdir())) == 1 + 2
    assert Responses(run)[new[0].id] == new[0]
    assert "r" + "0" * 24 not in responses


def test_what_another_process_writes_together_is_found_after_the_first_look(tmp_path):
    run = RunDirectory.create(tmp_path / "run")
    reader = Responses(run)
    assert "r" + "0" * 24 not in reader
    assert len(reader) == 0
    items = items_of([Ranking(f"{i} ", (f"good {i}", "bad"), (1, 2)) for i in range(600)])
    bring_in(items, run)
    first, second = items.rankings[0][0]
    assert reader[first.id] == first
    assert second.id in reader
    assert len(reader) == 1200


def test_what_is_empty_or_reads_the_same_is_dropped_and_counted():
    rankings = [
        Ranking("p", ("a", "b"), (1, 2)),
        Ranking("p", ("a", "a"), (1, 2)),
        Ranking("p", ("", "b"), (1, 2)),
        Ranking("p", (" \n", " "), (1, 2)),
        Ranking("p", ("a", "", "b"), (1, 2, 3)),
    ]
    labelled = [Labelled("q", " ", True), Labelled("q", "c", True)]
    items = items_of(rankings, labelled=labelled)
    assert [([r.text for r in said], ranks) for said, ranks in items.rankings] == [
        (["a", "b"], (1, 2)),
        (["a", "b"], (1, 3)),
    ]
    assert [response.text for response, _ in items.labelled] == ["c"]
    assert items.counts == {"equal": 1, "empty": 4}


def test_single_responses_are_counted_once_and_not_with_each_pair_of_them():
    long, empty = Labelled("p", 300 * "a", False, "line 1"), Labelled("p", "", False, "line 2")
    good = [Labelled("p", f"{n}", True, f"line {n}") for n in range(3, 6)]
    items = items_of([], labelled=[long, empty, *good], too_long="drop")
    assert (len(items.rankings), len(items.labelled)) == (0, 3)
    assert items.counts == {"too long": 1, "empty": 1}
    items = items_of([], labelled=[long, *good], too_long="cut-response")
    assert (len(items.rankings), len(items.labelled)) == (3, 4)
    assert items.counts == {"cut": 1}


LONG = [
    Ranking("p", ("a", "b"), (1, 2)),
    Ranking(200 * "p" + "?", (100 * "a", 90 * "a" + "b"), (1, 2)),
    Ranking(200 * "p", (100 * "a", 100 * "a" + "b"), (1, 2)),
    Ranking(300 * "p", ("a", "b"), (1, 2)),
    Ranking("p", (300 * "a", "b"), (1, 2)),
]


@pytest.mark.parametrize(
    ("how", "lengths", "counts"),
    [
        ("drop", [(1, 2, 2)], {"too long": 4}),
        # Of the third the sides are equal once cut; the fourth has no room for a response.
        ("cut-response", [(1, 2, 2), (1, 255, 2)], {"cut": 3, "equal": 2, "too long": 1}),
        # A response that fills the context leaves no room for its prompt.
        (
            "cut-prompt",
            [(1, 2, 2), (155, 101, 92), (154, 101, 102), (254, 2, 2)],
            {"cut": 3, "too long": 1},
        ),
    ],
)
def test_what_is_too_long_is_dropped_or_cut_and_counted(how, lengths, counts):
    language = load_model("tiny")
    items = items_of(LONG, language, too_long=how)
    found = [(len(s[0].prompt_tokens), *(len(r.tokens) for r in s)) for s, _ in items.rankings]
    assert found == lengths
    assert items.counts == counts
    for said, _ in items.rankings:
        assert all(len(r.prompt_tokens) + len(r.tokens) <= 256 for r in said)
        assert {r.prompt for r in said} == {language.decode(said[0].prompt_tokens)}
        assert all(r.text == language.decode(r.tokens) for r in said)
    if how == "cut-prompt":
        assert items.rankings[1][0][0].prompt[-1] == "?"


def test_a_text_that_is_too_long_is_named_by_its_place():
    long = Ranking("p", (300 * "a", "b"), (1, 2), where="line 2 of data.jsonl")
    with pytest.raises(ConfigError, match=r"^line 2 of data.jsonl has 302 tokens.*too-long drop"):
        items_of([Ranking("p", ("a", "b"), (1, 2)), long])
    one = Labelled("p", 300 * "a", True, where="row 7 of folder")
    with pytest.raises(ConfigError, match=r"^row 7 of folder has 302 tokens"):
        items_of([], labelled=[one])
