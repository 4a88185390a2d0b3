"""Undo, and the log of changes: what the current label is, and how a reader follows it."""

import itertools
import threading

import pytest
from store_places import raw

from prefrl.core.comparisons import Answer, Comparison, Query
from prefrl.core.store import Counts, LabelChange, LabelStore, Submission
from prefrl.core.store.labels import resolve
from prefrl.errors import StoreError, SubmissionConflictError

LEFT, RIGHT, TIE, SKIP = Answer
QUERIES = [Query(f"q{i}", f"left{i}", f"right{i}") for i in range(3)]
KEYS = map("key{}".format, itertools.count())


@pytest.fixture
def store(place):
    with LabelStore(place) as store:
        store.add_queries(QUERIES)
        yield store


def submit(store, query_id, answer, annotator_id="ann", **options):
    options = {"submission_key": next(KEYS)} | options
    return store.submit(query_id, answer, annotator_id=annotator_id, **options)


def undo(store, event, **options):
    options = {"annotator_id": event.annotator_id, "submission_key": next(KEYS)} | options
    return store.undo(event.id, **options)


def answers(store):
    return [(comparison.query.id, comparison.answer) for _, comparison in store.comparisons()]


def follow(store, limit=None, cursor=0):
    """A reader's dict, kept up to date by changes in runs of some length."""
    labels = {}
    while changes := store.changes(cursor, limit):
        for change in changes:
            labels[change.query.id, change.annotator_id] = change.answer
        cursor = changes[-1].event_id
    return {key: answer for key, answer in labels.items() if answer is not None}


# --- undo


def test_an_undo_withdraws_an_answer(store):
    event = submit(store, "q0", LEFT)
    submit(store, "q1", RIGHT)
    undone = undo(store, event)
    assert (undone.answer, undone.query_id, undone.supersedes) == (None, "q0", event.id)
    assert answers(store) == [("q1", RIGHT)]
    assert store.counts() == Counts(queries=3, answered=1, skipped=0, open=2)
    assert [query.id for query in store.open_queries(9)] == ["q0", "q2"]
    assert store.most_urgent_answers(9) == [(Comparison(QUERIES[1], RIGHT), 0.0)]
    assert [event.answer for event in store.events()] == [LEFT, RIGHT, None]


def test_the_undo_of_an_undo_brings_the_answer_back(store):
    event = undo(store, submit(store, "q0", TIE, client_ms=9.0))
    for _ in range(3):
        again = undo(store, event)
        assert (again.answer, again.supersedes, again.client_ms) == (TIE, event.id, None)
        assert store.comparisons() == [(again.id, Comparison(QUERIES[0], TIE))]
        event = undo(store, again)
        assert answers(store) == []
    assert follow(store) == {}


def test_after_an_undo_comes_a_new_answer_and_nothing_older(store):
    submit(store, "q0", LEFT)
    second = submit(store, "q0", RIGHT)
    undone = undo(store, second)
    assert answers(store) == []  # LEFT does not come back by itself
    submit(store, "q0", SKIP, supersedes=undone.id)
    assert answers(store) == [("q0", SKIP)]
    assert store.counts().skipped == 1


def test_only_the_newest_event_of_a_label_is_undone(store):
    first = submit(store, "q0", LEFT)
    second = submit(store, "q0", RIGHT)
    with pytest.raises(StoreError, match=r"newest event about the label of 'ann' on 'q0', 2, got"):
        undo(store, first)
    undo(store, second)
    with pytest.raises(StoreError, match=r"'q0', 3, got 2; undo that one, or answer again"):
        undo(store, second)
    assert len(store.events()) == 3


def test_only_the_annotator_undoes(store):
    event = submit(store, "q0", LEFT)
    for number, annotator_id in [(event.id, "other"), (99, "ann"), (0, "ann")]:
        with pytest.raises(StoreError, match=f"expected an event of '{annotator_id}' to undo, got"):
            store.undo(number, annotator_id=annotator_id, submission_key="k")
    assert answers(store) == [("q0", LEFT)]


def test_an_undo_is_retried_without_harm(store):
    event = submit(store, "q0", LEFT)
    undone = undo(store, event, submission_key="u")
    assert undo(store, event, submission_key="u") == undone
    back = undo(store, undone, submission_key="v")
    assert undo(store, event, submission_key="u") == undone  # late, and yet no news
    assert undo(store, undone, submission_key="v") == back
    assert answers(store) == [("q0", LEFT)]
    with pytest.raises(SubmissionConflictError):
        undo(store, back, submission_key="u")
    with pytest.raises(SubmissionConflictError):
        submit(store, "q0", LEFT, submission_key="u")
    assert len(store.events()) == 3


def test_a_reviewer_withdraws_what_they_supersede(store):
    first = submit(store, "q0", LEFT)
    review = submit(store, "q0", RIGHT, "reviewer", supersedes=first.id)
    assert answers(store) == [("q0", RIGHT)]
    with pytest.raises(StoreError, match="newest event about the label of 'ann'"):
        undo(store, first)
    undo(store, review)
    assert answers(store) == []
    submit(store, "q0", TIE)
    assert answers(store) == [("q0", TIE)]
    assert store.check() == []


# --- many at once


def test_many_are_stored_all_or_none(store):
    good = [Submission(f"q{i}", LEFT, f"k{i}", "ann", client_ms=1.0) for i in range(3)]
    for bad in (Submission("q9", LEFT, "k9", "ann"), Submission("q1", RIGHT, "k0", "ann")):
        with pytest.raises(StoreError):
            store.submit_many([*good, bad])
        assert store.events() == []
    events = store.submit_many([*good, good[0]])
    assert [event.id for event in events] == [1, 2, 3, 1]
    assert store.submit_many(good) == events[:3] == store.events()
    assert store.submit_many([]) == []


def test_more_than_fit_into_one_statement(store):
    queries = [Query(f"m{i}", "a", "b") for i in range(1200)]
    assert store.add_queries(queries) == 1200
    submissions = [Submission(query.id, SKIP, query.id, "ann") for query in queries]
    store.submit_many(submissions)
    store.submit_many(submissions)
    assert store.counts() == Counts(queries=1203, answered=0, skipped=1200, open=3)
    assert store.release("ann", [query.id for query in queries]) == 0


@pytest.mark.parametrize(
    "about",
    [
        {"client_ms": float("nan")},
        {"shown_at": float("inf")},
        {"order_shown": "left\0"},
        {"submission_key": "\ud800"},
        {"annotator_id": "\0"},
    ],
)
def test_what_no_database_can_keep_is_refused(store, about):
    with pytest.raises(ValueError, match=r"expected (text|shown_at|client_ms)"):
        submit(store, "q0", LEFT, **about)
    with pytest.raises(ValueError, match="without NUL"):
        store.add_queries([Query("nul\0", "a", "b")])
    submit(store, "q0", LEFT, "ünï \U0001f600", order_shown="\n\t'\"%s:x")
    assert store.events()[0].annotator_id == "ünï \U0001f600"


# --- a reader with a cursor


def test_changes_say_what_each_event_made_of_whose_label(store):
    first = submit(store, "q0", LEFT)
    submit(store, "q1", SKIP)
    review = submit(store, "q0", RIGHT, "reviewer", supersedes=first.id)
    undo(store, review)
    changes = [
        LabelChange(1, QUERIES[0], "ann", LEFT),
        LabelChange(2, QUERIES[1], "ann", SKIP),
        LabelChange(3, QUERIES[0], "ann", None),
        LabelChange(3, QUERIES[0], "reviewer", RIGHT),
        LabelChange(4, QUERIES[0], "reviewer", None),
    ]
    assert store.changes() == changes
    assert store.changes(2) == changes[2:]
    assert store.changes(1, limit=2) == changes[1:4]  # two events, three changes
    assert store.changes(4) == []


def test_the_rule_in_python_is_the_rule_of_the_store(store):
    first = submit(store, "q0", LEFT)
    undo(store, undo(store, submit(store, "q1", SKIP)))
    submit(store, "q0", RIGHT, "reviewer", supersedes=first.id)
    undo(store, submit(store, "q2", TIE))
    events = store.events()
    for n in range(len(events) + 1):
        said = {key: event.answer for key, event in resolve(events[:n]).items()}
        heard = {}
        for change in store.changes(limit=n):
            heard[change.query.id, change.annotator_id] = change.answer
        assert said == {key: answer for key, answer in heard.items() if answer is not None}
    newest = [(e.id, e.query_id, e.answer) for e in resolve(events).values()]
    assert newest == [(n, c.query.id, c.answer) for n, c in store.comparisons()]


def test_ids_have_no_gaps_whoever_writes(place):
    with LabelStore(place) as store:
        store.add_queries(QUERIES)

    def write(name):
        with LabelStore(place) as store:
            for i in range(15):
                submit(store, "q0", LEFT, name)
                with pytest.raises(StoreError):  # a transaction that is rolled back takes no id
                    store.submit_many(
                        Submission(query_id, LEFT, f"{name}{i}{query_id}", name)
                        for query_id in ("q1", "q9")
                    )

    threads = [threading.Thread(target=write, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    seen = []
    with LabelStore(place) as reader:
        while any(thread.is_alive() for thread in threads) or reader.changes(len(seen)):
            seen += [change.event_id for change in reader.changes(len(seen), limit=7)]
            assert seen == list(range(1, len(seen) + 1))
    assert len(seen) == 60


# --- what is derived


def test_what_is_derived_is_checked_and_rebuilt(store, place):
    first = submit(store, "q0", LEFT)
    submit(store, "q0", RIGHT, "reviewer", supersedes=first.id)
    undo(store, submit(store, "q1", SKIP))
    submit(store, "q2", SKIP)
    was = store.comparisons(), store.counts(), store.open_queries(9)
    assert store.check() == []
    raw(
        place,
        "DELETE FROM current_label WHERE query_id = 'q2'",
        "UPDATE current_label SET answer = 'tie' WHERE annotator_id = 'reviewer'",
        "UPDATE query SET state = 'open' WHERE id = 'q0'",
    )
    assert store.check() == [
        "1 current labels that no event says",
        "2 labels of events that are not current",
        "2 queries in a wrong state",
    ]
    store.rebuild()
    assert store.check() == []
    assert (store.comparisons(), store.counts(), store.open_queries(9)) == was
