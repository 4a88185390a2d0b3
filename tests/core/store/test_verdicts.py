import itertools

import pytest

from prefrl.core.comparisons import Answer, Comparison, Query
from prefrl.core.store import LabelStore
from prefrl.core.store.verdicts import Ranking, rankings_of, verdicts_of, wins_of
from prefrl.errors import ConfigError, NotEnoughDataError

ANSWERS = {"<": Answer.RIGHT, ">": Answer.LEFT, "=": Answer.TIE, "?": Answer.SKIP}


@pytest.fixture
def store():
    with LabelStore("sqlite://") as store:
        store.add_queries([Query(f"q{n}", f"{n}a", f"{n}b") for n in range(6)])
        yield store


def say(store, annotator, answers, again=""):
    """What somebody answers to q0, q1 and so on."""
    for n, answer in enumerate(answers):
        if answer != " ":
            key = f"{annotator}{n}{again}"
            store.submit(f"q{n}", ANSWERS[answer], submission_key=key, annotator_id=annotator)


def told(verdicts):
    """The verdicts as ``say`` takes them."""
    signs = {answer: sign for sign, answer in ANSWERS.items()}
    found = {c.query.id: signs[c.answer] for c in verdicts.comparisons}
    return "".join(found.get(f"q{n}", " ") for n in range(6))


def comparison(said, group=None):
    """``a>b`` says that a is better."""
    left, sign, right = said
    return Comparison(Query(f"{left}-{right}", left, right, group), ANSWERS[sign])


def comparisons(said, group=None):
    return [comparison(one, group) for one in said.split()]


def test_most_votes_decide_skips_are_none_and_draws_have_no_verdict(store):
    say(store, "ann", ">>>=? ")
    say(store, "bob", "><<=? ")
    say(store, "cat", "<>?>? ")
    verdicts = verdicts_of(store)
    assert told(verdicts) == ">> =  "
    assert (verdicts.n_drawn, verdicts.n_skipped, verdicts.n_unanswered) == (1, 1, 1)


def test_one_annotator_can_be_asked_for(store):
    say(store, "ann", ">>?   ")
    say(store, "bob", "<<<<  ")
    verdicts = verdicts_of(store, annotator="ann")
    assert told(verdicts) == ">>    "
    assert (verdicts.n_drawn, verdicts.n_skipped, verdicts.n_unanswered) == (0, 1, 3)
    with pytest.raises(ConfigError, match="to be one of ann, bob, got 'eve'"):
        verdicts_of(store, annotator="eve")


def test_only_current_answers_count(store):
    say(store, "ann", ">>>")
    say(store, "ann", "<", again="later")
    store.undo(3, annotator_id="ann", submission_key="undo")
    corrected = {"submission_key": "bob", "annotator_id": "bob", "supersedes": 2}
    store.submit("q1", Answer.TIE, **corrected)
    assert told(verdicts_of(store)) == "<=    "
    assert store.annotators() == ["ann", "bob"]


def test_without_answers_there_is_nothing(store):
    with pytest.raises(NotEnoughDataError, match="expected answers"):
        verdicts_of(store)
    say(store, "ann", ">")
    store.undo(1, annotator_id="ann", submission_key="undo")
    with pytest.raises(NotEnoughDataError, match="expected answers"):
        verdicts_of(store)


@pytest.mark.parametrize(
    ("said", "ranks"),
    [
        ("a>b", (1, 2)),
        ("a<b", (2, 1)),
        ("a=b", (1, 1)),
        ("a>b a>c b>c", (1, 2, 3)),
        ("c>b c>a a=b", (2, 2, 1)),
        ("a>b a>c b=c", (1, 2, 2)),
        ("a=b a>c b>c", (1, 1, 3)),
        ("a=b a=c b=c", (1, 1, 1)),
        ("a>b a>c a>d b=c b>d c>d", (1, 2, 2, 4)),
    ],
)
def test_a_group_whose_answers_make_an_order_is_one_ranking(said, ranks):
    items = tuple("abcd"[: len(ranks)])
    assert rankings_of(comparisons(said, "g")) == ([Ranking("g", items, ranks)], 0)


@pytest.mark.parametrize(
    "said",
    [
        "a>b b>c c>a",  # a circle
        "a=b b=c a>c",  # ties that say too much
        "a>b b>c",  # one is missing
        "a>b a>c a>d b>c b>d",
    ],
)
def test_a_group_whose_answers_make_no_order_becomes_its_pairs(said):
    pairs = comparisons(said, "g")
    rankings, n_broken = rankings_of(pairs)
    assert n_broken == 1
    assert [ranking.name for ranking in rankings] == [c.query.id for c in pairs]
    for ranking, pair in zip(rankings, pairs, strict=True):
        preferences = {(1, 2): ranking.items[0], (2, 1): ranking.items[1], (1, 1): None}
        better = {1.0: pair.query.left, 0.0: pair.query.right, 0.5: None}
        assert preferences[ranking.ranks] == better[pair.preference]


def test_groups_and_pairs_keep_apart():
    found = [*comparisons("a>b b>c a>c", "g"), *comparisons("a<c"), *comparisons("d>e e=f", "h")]
    rankings, n_broken = rankings_of(found)
    assert [r.name for r in rankings] == ["g", "a-c", "d-e", "e-f"]
    assert n_broken == 1


@pytest.mark.parametrize("n", [2, 3, 5])
def test_all_rankings_come_back_from_their_pairs(n):
    items = "abcde"[:n]
    for ranks in itertools.product(range(n), repeat=n):
        place = dict(zip(items, ranks, strict=True))
        pairs = [
            comparison((x, "=" if place[x] == place[y] else "<>"[place[x] < place[y]], y), "g")
            for x, y in itertools.combinations(items, 2)
        ]
        ((ranking,), n_broken) = rankings_of(pairs)
        assert n_broken == 0
        assert ranking.ranks == tuple(1 + sum(other < rank for other in ranks) for rank in ranks)


def test_wins_are_counted_less_what_was_lost():
    assert wins_of(comparisons("a>b a>c b<c d=e")) == {"a": 2, "b": -2, "c": 0, "d": 0, "e": 0}
