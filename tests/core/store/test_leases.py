import threading

import pytest

from prefrl.core.comparisons import Answer, Query
from prefrl.core.store import LabelStore
from prefrl.errors import StoreError

LEFT, RIGHT, TIE, SKIP = Answer


@pytest.fixture
def store(place, clock):
    with LabelStore(place, clock=clock) as store:
        store.add_queries([Query(f"q{i}", "a", "b") for i in range(4)], priorities=[0, 3, 2, 1])
        yield store


def ids(leases):
    return [lease.query.id for lease in leases]


def submit(store, query_id, answer=LEFT, annotator_id="ann"):
    key = f"{query_id}/{annotator_id}"
    return store.submit(query_id, answer, submission_key=key, annotator_id=annotator_id)


def test_two_labellers_get_different_queries(store):
    (first,) = store.lease("ann")
    assert (first.query, first.annotator_id) == (Query("q1", "a", "b"), "ann")
    assert first.expires_at == 1120.0
    assert ids(store.lease("other", n=2, seconds=60)) == ["q2", "q3"]
    assert ids(store.lease("third", n=9)) == ["q0"]
    assert store.lease("fourth") == []
    assert len(store.open_queries(9)) == 4


def test_ones_own_leases_come_again(store):
    first = store.lease("ann", n=2)
    again = store.lease("ann", n=3, seconds=300)
    assert ids(again) == ["q1", "q2", "q3"]
    assert [lease.fence for lease in again] == [lease.fence for lease in first] + [1]


def test_what_is_answered_is_not_leased(store):
    submit(store, "q1", SKIP, "other")
    event = submit(store, "q2")
    assert ids(store.lease("ann", n=9)) == ["q3", "q0"]
    store.undo(event.id, annotator_id="ann", submission_key="u")
    assert ids(store.lease("ann", n=9)) == ["q2", "q3", "q0"]


def test_a_lease_runs_out_and_a_late_answer_is_kept(store, clock):
    (mine,) = store.lease("ann")
    clock.now += 119
    assert ids(store.lease("other")) == ["q2"]
    clock.now += 1
    (theirs,) = store.lease("other")
    assert (theirs.query, theirs.fence) == (mine.query, mine.fence + 1)
    submit(store, "q1", LEFT, "ann")
    submit(store, "q1", RIGHT, "other")
    assert [c.answer for _, c in store.comparisons()] == [LEFT, RIGHT]


def test_a_lease_is_renewed_while_nobody_else_has_it(store, clock):
    (lease,) = store.lease("ann")
    clock.now += 100
    lease = store.renew(lease, 60)
    assert lease.expires_at == 1160.0
    clock.now += 100  # it ran out, and nobody came
    lease = store.renew(lease)
    assert lease.expires_at == 1320.0
    clock.now += 200
    (theirs,) = store.lease("other")
    assert store.renew(lease) is None
    assert store.renew(theirs).fence == theirs.fence
    submit(store, "q1")
    assert store.renew(theirs) is None  # not open any more


def test_a_lease_that_was_given_back_is_gone(store):
    leases = store.lease("ann", n=2)
    assert store.release("other", ids(leases)) == 0
    assert store.release("ann", [*ids(leases), "q9"]) == 2
    assert store.renew(leases[0]) is None
    assert ids(store.lease("other", n=2)) == ids(leases)
    assert store.release("ann", ids(leases)) == 0


@pytest.mark.parametrize("jump", [-1e9, -7200.0, 7200.0, 1e9])
def test_no_jump_of_the_clock_keeps_a_query_from_being_asked(store, clock, jump):
    store.lease("ann", n=4)
    clock.now += jump
    assert ids(store.lease("other", n=9)) == ["q1", "q2", "q3", "q0"]
    submit(store, "q1")
    assert store.counts().answered == 1


def test_a_lease_takes_some_time_and_at_most_an_hour(store):
    for seconds in (0, -1, 3601, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="expected a lease of up to 3600 seconds"):
            store.lease("ann", seconds=seconds)
    (lease,) = store.lease("ann", seconds=3600)
    with pytest.raises(ValueError, match="up to 3600"):
        store.renew(lease, 4000)
    assert store.lease("ann", n=0) == []


def test_threads_never_lease_the_same_query(store, place, clock):
    store.add_queries([Query(f"more{i}", "a", "b") for i in range(36)])
    got = {}

    def take(name):
        with LabelStore(place, clock=clock) as own:
            held = [own.lease(name, n=n + 1) for n in range(5)][-1]
            got[name] = ids(held)

    threads = [threading.Thread(target=take, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    taken = [query_id for held in got.values() for query_id in held]
    assert len(taken) == len(set(taken)) == 20


def test_a_closed_store_gives_no_leases(store):
    store.close()
    with pytest.raises(StoreError, match="open it again"):
        store.lease("ann")
