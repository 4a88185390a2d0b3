"""People with planted habits, as events: what the dashboard should find is known."""

from dataclasses import dataclass

import numpy as np

from prefrl.core.comparisons import Answer
from prefrl.core.store.labels import LabelEvent

ORDERS = ("left-right", "right-left")


@dataclass(frozen=True)
class Habits:
    """How someone answers. All are chances per showing."""

    error: float
    """To take the worse side, when they look."""
    bias: float
    """Not to look, and to take the left side of the screen."""
    tie: float
    skip: float
    seconds: float
    """Median time to answer."""

    def chances(self):
        """P(better side | that side is left, right on the screen), of answers for a side."""
        looked = (1 - self.bias) * (1 - self.error)
        return self.bias + looked, looked

    def expected(self):
        """What the statistics are on average."""
        left, right = self.chances()
        same = left * right + (1 - left) * (1 - right)
        return {
            "left_share": self.bias + (1 - self.bias) / 2,
            "tie_rate": (1 - self.skip) * self.tie,
            "skip_rate": self.skip,
            "gold_error": self.tie + (1 - self.tie) * (1 - (left + right) / 2),
            "self_consistency": self.tie**2 + (1 - self.tie) ** 2 * same,
        }

    def answers(self, rng, better_left):
        """What they answer and whether the pair was mirrored: (A,) each."""
        n = len(better_left)
        mirrored = rng.random(n) < 0.5
        return self.answers_as_shown(rng, better_left, mirrored), mirrored

    def answers_as_shown(self, rng, better_left, mirrored):
        n = len(better_left)
        looked_at = better_left ^ (rng.random(n) < self.error)
        left = np.where(rng.random(n) < self.bias, ~mirrored, looked_at)
        answers = np.where(left, Answer.LEFT, Answer.RIGHT)
        answers[rng.random(n) < self.tie] = Answer.TIE
        answers[rng.random(n) < self.skip] = Answer.SKIP
        return answers


def some_people(rng, n=20):
    """By name; each habit drawn on its own."""
    return {
        f"person {i:02}": Habits(
            error=rng.uniform(0.02, 0.4),
            bias=rng.uniform(0, 0.4),
            tie=rng.uniform(0, 0.25),
            skip=rng.uniform(0, 0.2),
            seconds=rng.uniform(1.5, 6),
        )
        for i in range(n)
    }


def a_study(rng, people, *, n_queries=400, n_repeats=250, undone=0.05):
    """Events of people who all answered the same queries, and some of them twice, mirrored.

    Now and then they slip, undo it, and answer again: the slips are noise that must not count.

    Returns:
        The events, and by query id which answer is right.
    """
    better_left = rng.random(n_queries) < 0.5
    right = {f"q{i}": Answer.LEFT if b else Answer.RIGHT for i, b in enumerate(better_left)}
    events = list[LabelEvent]()
    for name, habits in people.items():
        again = rng.choice(n_queries, n_repeats, replace=False)
        first, mirrored = habits.answers(rng, better_left)
        second = habits.answers_as_shown(rng, better_left[again], ~mirrored[again])
        now = 1e9 + rng.uniform(0, 1e5)
        showings = [
            *zip(range(n_queries), first, mirrored, strict=True),
            *zip(again, second, ~mirrored[again], strict=True),
        ]
        for query, answer, is_mirrored in showings:
            slips = [Answer.LEFT, None] if rng.random() < undone else []
            for given in [*slips, answer]:
                taken = habits.seconds * rng.lognormal(0, 0.3)
                undo = given is None
                events.append(
                    LabelEvent(
                        id=len(events) + 1,
                        query_id=f"q{query}",
                        annotator_id=name,
                        submission_key=f"k{len(events)}",
                        answer=given,
                        supersedes=len(events) if undo else None,
                        shown_at=None if undo else now,
                        answered_at=now + (0 if undo else taken),
                        client_ms=None if undo else taken * 1000,
                        order_shown=None if undo else ORDERS[int(is_mirrored)],
                        rubric_ver=None,
                        server_ver="test",
                    )
                )
                now += 0 if undo else taken
            if rng.random() < 0.01:
                now += rng.uniform(200, 5000)  # a pause
    return events, right
