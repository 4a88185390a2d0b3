import pytest
from store_places import raw

from prefrl.core.comparisons import Answer, Query
from prefrl.core.store import LabelStore
from prefrl.core.store.labels import Submission, is_person
from prefrl.core.store.quality import Repeat
from prefrl.errors import StoreError, SubmissionConflictError

LEFT, RIGHT, TIE, SKIP = Answer
Q = [Query(f"q{i}", f"l{i}", f"r{i}") for i in range(5)]


@pytest.fixture
def store(place):
    with LabelStore(place) as store:
        store.add_queries(Q)
        for query in Q:
            store.media.add(query.left, "m", "video/webm")
            store.media.add(query.right, "m", "video/webm")
        yield store


def submit(store, i, answer, who, order=None):
    n = len(store.events())
    about = {"submission_key": f"k{n}", "annotator_id": who, "order_shown": order}
    return store.submit(f"q{i}", answer, **about)


def mark(store, i, who, kind, value, key):
    store.marks.add(f"q{i}", who, kind, value, submission_key=key)


def test_a_flag_is_of_one_person_and_can_be_lowered(store):
    mark(store, 0, "ann", "flag", "raised", "1")
    mark(store, 0, "bob", "flag", "raised", "2")
    mark(store, 0, "ann", "flag", "lowered", "3")
    assert [(flag.query_id, flag.annotator_id) for flag in store.marks.flags()] == [("q0", "bob")]
    assert store.marks.flags(["q0", "none"]) == store.marks.flags()
    assert store.marks.flags(["q1"]) == store.marks.flags([]) == []


def test_a_flag_may_say_why(store):
    store.marks.add("q0", "ann", "flag", "raised", submission_key="1", why="stands still: no film")
    mark(store, 1, "ann", "flag", "raised", "2")
    assert [(flag.value, flag.why) for flag in store.marks.flags()] == [
        ("raised", "stands still: no film"),
        ("raised", ""),
    ]
    with pytest.raises(ValueError, match="expected a mark"):
        store.marks.add("q0", "ann", "gold", "left", submission_key="3", why="I know")
    with pytest.raises(ValueError, match="without NUL"):
        store.marks.add("q0", "ann", "flag", "raised", submission_key="4", why="stands\0still")


def test_answers_that_were_given_unseen(store):
    for _ in range(2):
        store.marks.add_fast("q0", "ann", answer_key="one")
    store.marks.add_fast("q1", "bob", answer_key="two")
    assert store.marks.fast() == {"one", "two"}
    assert store.marks.flags() == []


def test_a_gold_pair_has_one_right_answer(store):
    mark(store, 0, "ann", "gold", "left", "1")
    mark(store, 1, "ann", "gold", "tie", "2")
    mark(store, 0, "bob", "gold", "right", "3")
    assert store.marks.gold() == {"q0": RIGHT, "q1": TIE}
    mark(store, 1, "ann", "gold", "none", "4")
    assert store.marks.gold() == {"q0": RIGHT}


def test_a_retry_changes_nothing_and_bad_marks_are_refused(store):
    for _ in range(2):
        mark(store, 0, "ann", "gold", "left", "1")
    mark(store, 0, "ann", "gold", "right", "2")
    mark(store, 0, "ann", "gold", "left", "1")
    assert store.marks.gold() == {"q0": RIGHT}
    with pytest.raises(SubmissionConflictError, match="another mark"):
        mark(store, 1, "ann", "gold", "left", "1")
    with pytest.raises(StoreError, match="expected a query"):
        mark(store, 9, "ann", "gold", "left", "9")
    with pytest.raises(ValueError, match="expected a mark"):
        mark(store, 0, "ann", "gold", "raised", "9")


def test_overlaps_are_pairs_that_others_have_answered(store):
    submit(store, 0, LEFT, "ann")
    submit(store, 1, LEFT, "oracle")
    submit(store, 2, SKIP, "ann")
    assert store.quality.overlaps("bob", people=2, n=9) == [Q[2], Q[0]]
    assert store.quality.overlaps("ann", people=2, n=9) == []
    undone = submit(store, 0, RIGHT, "bob")
    assert store.quality.overlaps("eve", people=2, n=9) == [Q[2]]
    assert store.quality.overlaps("eve", people=3, n=1) == [Q[0]]
    store.undo(undone.id, annotator_id="bob", submission_key="u")
    assert store.quality.overlaps("bob", people=2, n=9) == [Q[2]]  # bob has seen Q[0]


def test_only_people_count_among_those_who_answer_a_pair(store):
    names = [
        "oracle",
        "renderer",
        "ai:gpt",
        "dataset",
        "dataset-2",
        "AI:bob",
        "datasets",
        "ai",
        "b",
    ]
    for name in names:
        submit(store, 0, LEFT, name)
    n_people = sum(map(is_person, names))
    assert n_people == 4
    assert store.quality.overlaps("eve", people=n_people, n=9) == []
    assert store.quality.overlaps("eve", people=n_people + 1, n=9) == [Q[0]]
    submit(store, 1, LEFT, "ai:gpt")
    submit(store, 2, LEFT, "dataset")
    assert store.quality.overlaps("eve", people=1, n=9) == [Q[2], Q[1]]  # as nobody has seen them


def test_repeats_are_old_preferences_of_ones_own(store):
    submit(store, 0, LEFT, "ann", "right-left")
    submit(store, 1, TIE, "ann")
    submit(store, 2, RIGHT, "ann", "left-right")
    submit(store, 3, LEFT, "bob")
    assert store.quality.repeats("ann", after=1, n=9) == [Repeat(Q[0], "right-left")]
    assert store.quality.repeats("ann", after=0, n=9) == [
        Repeat(Q[2], "left-right"),
        Repeat(Q[0], "right-left"),
    ]
    submit(store, 0, LEFT, "ann", "left-right")
    assert store.quality.repeats("ann", after=0, n=9) == [Repeat(Q[2], "left-right")]
    assert store.quality.repeats("ann", after=9, n=9) == []


def test_ones_own_answers_are_found_without_looking_at_those_of_others(path):
    LabelStore(path).close()
    mine = "SELECT id FROM label_event WHERE annotator_id = 'ann' ORDER BY id DESC LIMIT 1 OFFSET 9"
    (step,) = raw(path, f"EXPLAIN QUERY PLAN {mine}")
    assert "COVERING INDEX ix_label_event_annotator" in step[-1]


def test_gold_pairs_come_to_those_who_have_not_answered_them(store):
    mark(store, 0, "ann", "gold", "left", "1")
    mark(store, 1, "ann", "gold", "left", "2")
    submit(store, 0, LEFT, "bob")
    assert store.quality.gold("bob", n=9) == [Q[1]]
    assert store.quality.gold("ann", n=9) == []
    mark(store, 1, "eve", "gold", "none", "3")
    assert store.quality.gold("bob", n=9) == []


def test_strengths_are_those_of_some_events_and_come_with_answers_that_exist(store):
    keys = {f"s{n}": ("slightly", "clearly")[n % 2] for n in range(3)}
    given = [Submission(f"q{n}", LEFT, f"s{n}", "ann") for n in range(4)]
    for _ in range(2):  # a retry changes nothing
        store.add_answered(Q[:4], given, keys)
    assert store.marks.strengths() == {1: "slightly", 2: "clearly", 3: "slightly"}
    assert store.marks.strengths(since=1) == {2: "clearly", 3: "slightly"}
    assert store.marks.strengths(since=1, until=2) == {2: "clearly"}
    assert store.marks.strengths(since=3) == {}
    with pytest.raises(ValueError, match="expected a mark"):  # then nothing is stored
        store.add_answered([Q[4]], [Submission("q4", LEFT, "s4", "ann")], {"s4": "hugely"})
    assert len(store.events()) == 4
