"""The queue follows the people: simulated, with a clock that is told the time."""

import pytest
from clocks import Clock

from prefrl.core.comparisons import Answer, Query
from prefrl.core.store import LabelStore
from prefrl.runtime.people.pace import Pace


class Person:
    """Answers what is oldest, after looking at it for some seconds."""

    def __init__(self, store, clock, seconds, name="ann"):
        self.store, self.clock, self.seconds, self.name = store, clock, seconds, name
        self.looking, self.since, self.dead, self.ages = None, clock.now, 0.0, []

    def live(self, until, asked_at):
        while True:
            if self.looking is None:
                queue = self.store.open_queries(99)
                if not queue:
                    self.dead += until - max(self.since, self.clock.now)
                    self.since = until
                    return
                self.looking, self.since = queue[0], max(self.since, self.clock.now)
            if self.since + self.seconds > until:
                return
            self.clock.now = self.since = self.since + self.seconds
            key = f"{self.name}-{self.looking.id}"
            self.store.submit(
                self.looking.id,
                Answer.LEFT,
                submission_key=key,
                annotator_id=self.name,
                client_ms=1000 * self.seconds,
            )
            self.ages.append(self.clock.now - asked_at[self.looking.id])
            self.looking = None


def train(seconds, *, round_seconds=2.3, due_per_round=1, rounds=40, follows=True):
    """An agent that asks when it can, and a person. Gives the share of dead time, and the ages."""
    clock = Clock()
    with LabelStore("sqlite://", clock=clock) as store:
        pace, person, asked_at = Pace(store, clock=clock), Person(store, clock, seconds), {}
        asked, due, began = 0, 6, clock.now
        for _ in range(rounds):
            wanted = pace.wanted() if follows else 0
            answered = asked - store.counts().open
            for _ in range(max(due, answered + wanted) - asked):
                asked += 1
                query = Query(f"q{asked:04}", f"l{asked}", f"r{asked}")
                asked_at[query.id] = clock.now
                store.add_queries([query])
            while store.counts().open > pace.bound(5):
                until = clock.now + 0.2
                person.live(until, asked_at)
                clock.now = until
            due += due_per_round
            pace.go_on()
            until = clock.now + round_seconds
            person.live(until, asked_at)
            clock.now = until
        return person.dead / (clock.now - began), person.ages


@pytest.mark.parametrize("round_seconds", [0.5, 2.3, 8.0])
def test_who_answers_in_a_second_does_not_wait(round_seconds):
    dead, ages = train(1.0, round_seconds=round_seconds)
    assert dead < 0.05
    # What is on the screen was asked a round ago, and stood in the queue: no older than needed.
    assert sorted(ages)[len(ages) // 2] < 2 * round_seconds + 8


def test_without_it_they_would_wait_most_of_the_time():
    assert train(1.0, follows=False)[0] > 0.3


def test_who_takes_their_time_is_asked_what_is_due_and_no_more():
    _, ages = train(6.0)
    _, as_due = train(6.0, follows=False)
    assert sum(ages) / len(ages) < 1.5 * sum(as_due) / len(as_due) + 6


def test_nobody_there_is_nobody_to_ask_ahead_for():
    clock = Clock()
    with LabelStore("sqlite://", clock=clock) as store:
        pace = Pace(store, clock=clock)
        store.add_queries([Query("q", "l", "r"), Query("p", "l", "m")])
        store.submit("q", Answer.LEFT, submission_key="k", annotator_id="ann", client_ms=800)
        # Machines, files and whoever is gone set no pace.
        for name in ("oracle", "ai:gpt", "dataset", "dataset-2"):
            store.submit("p", Answer.LEFT, submission_key=name, annotator_id=name, client_ms=1)
        pace.go_on()
        clock.now += 4
        assert pace.wanted() == 7 + 4  # 1.25 * 4 s / 0.8 s, and four at hand
        assert pace.bound(5) == 11
        pace.go_on()
        clock.now += 30
        assert pace.wanted() == 0
        assert pace.bound(5) == 5
