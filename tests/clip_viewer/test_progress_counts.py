"""What the header says of one's own work, and what an undo takes back."""

import pytest

from clip_viewer.tally import Presence, Tally
from prefrl.core.comparisons import Answer, Query
from prefrl.core.store import LabelStore
from prefrl.core.store.labels import Submission
from prefrl.errors import StoreError

NOON = 1_700_000_000.0


@pytest.fixture
def store():
    clock = iter(NOON + 4 * i for i in range(1000))
    with LabelStore("sqlite://", clock=lambda: next(clock)) as store:
        store.add_queries([Query(f"q{i}", "a", "b") for i in range(20)])
        pairs = ["ab", "ac", "ad", "bc", "bd", "cd"]
        store.add_queries([Query(f"r{i}", *pair, "group") for i, pair in enumerate(pairs)])
        yield store


@pytest.fixture
def tally(store):
    return Tally(store, clock=lambda: NOON + 600)


def answer(store, n):
    return store.submit(f"q{n}", Answer.LEFT, submission_key=f"k{n}", annotator_id="ann")


def test_a_ranking_is_one_answer(store, tally):
    answer(store, 0)
    store.submit_many(Submission(f"r{i}", Answer.LEFT, f"rank/{i}", "ann") for i in range(6))
    assert tally.mine("ann").total == 2
    assert tally.standing("ann")[0].submission_key == "rank/5"


def test_a_rate_needs_enough_answers(store, tally):
    for n in range(11):
        tally.note([answer(store, n)])
        assert (tally.mine("ann").per_hour is None) == (n < 10)
    assert tally.mine("ann").per_hour == pytest.approx(900)


def test_the_last_answer_is_the_newest_that_stands(store, tally):
    tally.note([answer(store, 0), answer(store, 1)])
    tally.note(store.undo_submission("k1", annotator_id="ann", submission_key="undo"))
    assert tally.standing("ann")[0].submission_key == "k0"
    assert tally.standing("bob") == []


def test_of_a_pair_that_was_answered_twice_the_newer_answer_stands_alone(store, tally):
    """The older one cannot be taken back: the store refuses that."""
    tally.note([answer(store, 0), answer(store, 1)])
    again = store.submit("q0", Answer.RIGHT, submission_key="again", annotator_id="ann")
    tally.note([again])
    ranks = [Submission(f"r{i}", Answer.LEFT, f"rank/{i}", "ann") for i in range(6)]
    tally.note(store.submit_many(ranks))
    tally.note(
        store.submit_many(Submission(f"r{i}", Answer.TIE, f"anew/{i}", "ann") for i in range(6))
    )
    for one in (tally, Tally(store)):
        standing = one.standing("ann")
        assert [e.submission_key for e in standing] == ["anew/5", "again", "k1"]
        older = one.standing("ann", before=standing[0].id)
        assert [e.submission_key for e in older] == ["again", "k1"]
    with pytest.raises(StoreError):
        store.undo_submission("k0", annotator_id="ann", submission_key="undo-older")
    for key in ("anew", "again"):
        undone = store.undo_submission(key, annotator_id="ann", submission_key=f"undo-{key}")
        tally.note(undone)
    # What was before does not come back by itself, neither in the store nor here.
    for one in (tally, Tally(store)):
        assert [e.submission_key for e in one.standing("ann")] == ["k1"]
    redone = store.undo_submission("undo-again", annotator_id="ann", submission_key="redo")
    tally.note(redone)
    assert [e.submission_key for e in tally.standing("ann")] == ["redo", "k1"]


def test_a_page_knows_that_it_is_over_when_it_was_told_so_or_is_closed():
    now = 0.0
    presence = Presence(clock=lambda: now)
    for name in ("ann", "bob", "cleo"):
        presence.note_told(name, is_over=False)
    presence.note_told("ann", is_over=True)
    presence.leave("bob")
    assert (presence.n_untold(), presence.n_present()) == (1, 0)
    now = 15.0
    assert presence.n_untold() == 0  # cleo's page was closed, and had no time to say so
