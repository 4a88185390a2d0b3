"""When films are small and soon: simulated, with a clock that is told the time."""

import itertools

import pytest

from prefrl.control.films.hurry import Hurry
from prefrl.core.comparisons import Answer, Query
from prefrl.core.store import LabelStore

NUMBERS = itertools.count()


@pytest.fixture
def store(clock):
    with LabelStore("sqlite://", clock=clock) as store:
        yield store


def film(store, n, *, answered_by=None, seconds=1.0):
    """Adds so many pairs with films; answers each after so long a look, if somebody is named."""
    for name in map(str, itertools.islice(NUMBERS, n)):
        query = Query(name, f"l{name}", f"r{name}")
        store.add_queries([query])
        for item in (query.left, query.right):
            store.media.add(item, "0" * 32, "video/webm")
        if answered_by:
            store.submit(
                query.id,
                Answer.LEFT,
                submission_key=name,
                annotator_id=answered_by,
                client_ms=1000 * seconds,
            )


def first_with_time(hurry, store, n_people, most=40):
    """With how many ready pairs films may be large."""
    for n in range(most):
        if not hurry.is_on(n_people, n_missing=9):
            return n
        film(store, 1)
    raise AssertionError(f"a hurry with {most} pairs ready")


def test_before_anybody_has_come_two_pairs_are_enough(store, clock):
    assert first_with_time(Hurry(store, clock=clock), store, n_people=0) == 2


@pytest.mark.parametrize(("seconds", "enough"), [(1.0, 16), (3.6, 6), (9.0, 3)])
def test_who_answers_sooner_needs_more(store, clock, seconds, enough):
    film(store, 8, answered_by="ann", seconds=seconds)
    assert first_with_time(Hurry(store, clock=clock), store, n_people=1) == enough


def test_it_begins_later_than_it_ends(store, clock):
    film(store, 8, answered_by="ann")
    hurry = Hurry(store, clock=clock)
    film(store, 9)
    assert not hurry.is_on(1, n_missing=9)
    store.submit(
        store.open_queries(1)[0].id, Answer.LEFT, submission_key="x", annotator_id="ann",
        client_ms=1000,
    )  # fmt: skip
    assert hurry.is_on(1, n_missing=9)
    film(store, 1)
    assert hurry.is_on(1, n_missing=9)
    assert not hurry.is_on(1, n_missing=0)


def test_two_people_need_twice_as_much(store, clock):
    film(store, 8, answered_by="ann")
    film(store, 8, answered_by="ben")
    assert first_with_time(Hurry(store, clock=clock), store, n_people=2) == 32


def test_who_looks_long_is_not_taken_for_somebody_fast(store, clock):
    film(store, 8, answered_by="ann", seconds=30.0)
    clock.now += 25.0  # longer than people are thought to be there without an answer
    assert first_with_time(Hurry(store, clock=clock), store, n_people=1) == 2


def test_of_those_who_are_there_some_have_not_answered_yet(store, clock):
    film(store, 8, answered_by="ann", seconds=1.0)
    # One a second and two of half a second each: 15 s of them, and three on the screens.
    assert first_with_time(Hurry(store, clock=clock), store, n_people=3) == 33


def test_one_odd_film_changes_nothing(store, clock):
    film(store, 9, answered_by="ann")
    film(store, 9)
    hurry = Hurry(store, clock=clock)
    hurry.took(3.0)
    hurry.took(60.0)
    assert not hurry.is_on(1, n_missing=9)


def test_a_fast_machine_is_never_in_a_hurry(store, clock):
    film(store, 8, answered_by="ann")
    hurry = Hurry(store, clock=clock)
    for _ in range(3):
        hurry.took(0.1)
    assert first_with_time(hurry, store, n_people=1) == 2


def test_what_small_ones_take_says_what_large_ones_would(store, clock):
    film(store, 8, answered_by="ann")
    hurry = Hurry(store, clock=clock)
    assert hurry.is_on(1, n_missing=9)
    for _ in range(3):
        hurry.took(1.0)  # 2 s for a large one, which should last 5 s, or 10 to stop
    assert first_with_time(hurry, store, n_people=1) == 11
