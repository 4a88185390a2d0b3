"""How long the agent waits for people, where it learns the reward in its own process."""

import pytest

from prefrl.core.comparisons import Answer, Query
from prefrl.core.store import LabelStore
from prefrl.runtime.people import with_people
from prefrl.runtime.people.with_people import WithPeople


class Fitting:
    """A learner that has a reward as soon as there is an answer."""

    n_fits = n_fitted = 0
    only_ties = False

    def __init__(self, store):
        self.store = store

    def step(self, recent, *, known, wanted):
        n = self.store.counts().answered
        if n == self.n_fitted:
            return None
        self.n_fits, self.n_fitted = self.n_fits + 1, n
        return type("Report", (), {"steps": 5, "holdout_loss": 0.5, "holdout_accuracy": 1.0})()


class Asked:
    asked = frozenset()


class Steps:
    """What the agent did lately, which nobody looks at."""

    def save(self, number, items, *, run_steps):
        assert run_steps > 0


@pytest.fixture
def store(monkeypatch):
    monkeypatch.setattr(with_people, "_SECONDS_BETWEEN_LOOKS", 0.0)
    with LabelStore("sqlite://") as store:
        yield store


def partners(store, max_unanswered):
    """Partners with a person who answers one query at each look while the agent waits."""
    states = []

    def waiting(state):
        states.append(state)
        if state is not None:
            (lease,) = store.lease("anna", n=1)
            key = lease.query.id
            store.submit(key, Answer.LEFT, submission_key=key, annotator_id="anna")

    made = WithPeople(
        Fitting(store),
        Asked(),
        Steps(),
        store=store,
        max_unanswered=max_unanswered,
        waiting=waiting,
    )
    return made, states


def ask(store, n, start=0):
    store.add_queries([Query(f"q{i}", "left", "right") for i in range(start, start + n)])


def test_nothing_asked_nothing_waited_for(store):
    made, states = partners(store, 5)
    assert made.update(100, asked=False).version == 0
    assert states == [None]


def test_before_the_first_fit_an_answer_is_waited_for_and_then_only_while_too_many_are_open(store):
    made, states = partners(store, 2)
    ask(store, 2)
    assert made.update(100, asked=True).version == 1
    assert states == [None, "waiting for answers"]  # one is open still, and two may be
    ask(store, 4, start=2)
    used = made.update(200, asked=True)
    assert states[2:] == [None, *["waiting for answers"] * 3]
    assert (used.version, used.run_steps, store.counts().open) == (4, 200, 2)
    assert made.update(300, asked=False).fit_steps == 0


def test_where_nothing_may_be_open_all_are_waited_for(store):
    made, states = partners(store, 0)
    ask(store, 3)
    made.update(100, asked=True)
    assert store.counts().open == 0
    assert len(states) == 4
