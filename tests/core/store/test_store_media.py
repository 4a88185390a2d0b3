import pytest

from prefrl.core.comparisons import Answer, Query
from prefrl.core.store import LabelStore
from prefrl.core.store.media import Medium


@pytest.fixture
def store(place):
    with LabelStore(place) as store:
        pairs = [Query("q0", "a", "b"), Query("q1", "a", "c"), Query("q2", "c", "d")]
        store.add_queries(pairs, priorities=[2, 1, 0])
        yield store


def ids(leases):
    return [lease.query.id for lease in leases]


def test_only_what_can_be_shown_is_handed_out(store):
    assert store.lease("ann", n=9, ready=True) == []
    store.media.add("a", "film-a", "video/webm")
    assert store.lease("ann", n=9, ready=True) == []
    store.media.add("c", "film-c", "video/webm")
    assert store.media.n_ready() == 1
    assert ids(store.lease("ann", n=9, ready=True)) == ["q1"]
    assert ids(store.lease("bob", n=9)) == ["q0", "q2"]  # a labeller that needs no films


def test_what_is_missing_comes_in_the_order_in_which_it_will_be_shown(store):
    assert [query.id for query in store.media.missing(2)] == ["q0", "q1"]
    store.media.add("a", "film-a", "video/webm")
    store.media.add("b", "film-b", "video/webm")
    assert [query.id for query in store.media.missing(2)] == ["q1"]
    store.submit("q1", Answer.SKIP, submission_key="k", annotator_id="ann")
    assert [query.id for query in store.media.missing(9)] == ["q2"]


def test_an_item_shows_what_was_said_last(store):
    store.media.add("a", "old", "video/webm")
    store.media.add("a", "new", "application/json")
    assert store.media.of(["a", "b"]) == {"a": Medium("new", "application/json")}
    assert store.media.type_of("new") == "application/json"
    assert store.media.type_of("old") is None


def test_what_is_lost_is_missing_again(store):
    for item, film in [("a", "film"), ("b", "film"), ("c", "other")]:
        store.media.add(item, film, "video/webm")
    assert [query.id for query in store.media.missing(9)] == ["q2"]
    assert store.media.forget("film") == 2
    assert store.media.forget("film") == 0
    assert [query.id for query in store.media.missing(9)] == ["q0", "q1", "q2"]
    assert set(store.media.of("abc")) == {"c"}


def test_names_that_cannot_be_stored_are_refused(store):
    with pytest.raises(ValueError, match="without NUL"):
        store.media.add("a\0", "m", "video/webm")


def test_leases_that_are_kept_do_not_count(store):
    assert ids(store.lease("ann")) == ["q0"]
    assert ids(store.lease("ann", n=1, keep=["q0"])) == ["q1"]
    assert ids(store.lease("bob", n=9, keep=["q0"])) == ["q2"]  # not his to keep


def test_a_group_is_leased_whole(place):
    pairs = [("a", "b"), ("a", "c"), ("b", "c")]
    with LabelStore(place) as store:
        group = [Query(f"g{i}", *pair, group="g") for i, pair in enumerate(pairs)]
        store.add_queries([*group, Query("q", "x", "y")], priorities=[1, 3, 1, 2])
        assert store.queries()[0] == group[0]
        assert sorted(ids(store.lease("ann"))) == ["g0", "g1", "g2"]
        assert ids(store.lease("bob", n=9)) == ["q"]
        assert ids(store.lease("ann", n=9, keep=["g"])) == []
        for i in range(3):
            about = {"submission_key": f"k/{i}", "annotator_id": "ann"}
            store.submit(f"g{i}", Answer.LEFT, **about)
        undone = store.undo_submission("k", annotator_id="ann", submission_key="u")
        assert [event.submission_key for event in undone] == ["u/0", "u/1", "u/2"]
        assert store.undo_submission("k", annotator_id="ann", submission_key="u") == undone
        assert store.counts().open == 4


def test_a_group_that_is_not_whole_is_in_nobodys_way(place):
    pairs = [("a", "b"), ("a", "c"), ("b", "c")]
    with LabelStore(place) as store:
        group = [Query(f"g{i}", *pair, group="g") for i, pair in enumerate(pairs)]
        store.add_queries([*group, Query("q", "a", "b")], priorities=[3, 2, 1, 0])
        for item in "ab":
            store.media.add(item, f"film-{item}", "video/webm")
        assert ids(store.lease("ann", ready=True)) == ["q"]
        assert ids(store.lease("bob", n=9, ready=True)) == []
        store.media.add("c", "film-c", "video/webm")
        assert sorted(ids(store.lease("bob", ready=True))) == ["g0", "g1", "g2"]
