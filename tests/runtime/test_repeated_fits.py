"""Fits are repeated from the log as they were: with how sure people were, and with majorities."""

import dataclasses
import math

import pytest
from runtime.test_learner import CONFIG, ITEMS, Linear, higher_first_number, sample

from prefrl.core.comparisons import Answer, Query
from prefrl.core.store import LabelStore
from prefrl.core.trainer import FitConfig
from prefrl.runtime.learner import LearnerConfig, RewardLearner
from prefrl.runtime.people.strengths import Strength, judgements_of
from prefrl.runtime.replay import replay_fits
from prefrl.runtime.rundir import RunDirectory

SHORT = dataclasses.replace(CONFIG, fit=FitConfig(max_steps=20, min_steps=5))


@pytest.fixture
def run(tmp_path):
    return RunDirectory.create(tmp_path / "run")


def answer(store, n, people, *, wrong="cid"):
    """People answer a pair; whoever is not sure says "slightly", and one is always wrong."""
    left, right = f"i{n % 60}", f"i{(7 * n + 1) % 60}"
    store.add_queries([Query(f"q{n:03d}", left, right)])
    for name in people:
        is_left = higher_first_number(ITEMS[left], ITEMS[right]) != (name == wrong)
        key = f"{name}-{n}"
        if name == "ann":
            store.marks.add_strength(f"q{n:03d}", name, "slightly", answer_key=key)
        told = Answer.LEFT if is_left else Answer.RIGHT
        store.submit(f"q{n:03d}", told, submission_key=key, annotator_id=name)


def again(run, config):
    return list(
        replay_fits(run, Linear, ITEMS, config=config, seed=3, load_recent=lambda _, n: sample(n))
    )


@pytest.mark.parametrize(
    ("options", "other", "fitted"),
    [
        ({}, {"slightly": 1.0}, [30, 60]),
        ({"majority": True}, {"majority": False}, [10, 20]),
        ({"majority": True, "newest": 6}, {"newest": 7}, [6, 6]),
    ],
)
def test_strengths_and_majorities_are_repeated_exactly(run, options, other, fitted):
    config = dataclasses.replace(SHORT, **options)
    with LabelStore(run.labels) as store:
        learner = RewardLearner(Linear(), store, ITEMS, config=config, seed=3, run=run)
        for part in range(2):
            for n in range(10 * part, 10 * part + 10):
                answer(store, n, ["ann", "bob", "cid"])
            assert learner.step(lambda part=part: sample(part + 1)) is not None
    assert [(fit.labels, fit.same) for fit in again(run, config)] == [(n, True) for n in fitted]
    # That it says so is worth something: with other settings it does not.
    assert not all(fit.same for fit in again(run, dataclasses.replace(config, **other)))


def test_votes_on_a_pair_are_kept_as_long_as_the_pair(run):
    """Of 20 pairs with three answers each, ten are fitted, and not what ten answers come to."""
    config = dataclasses.replace(SHORT, majority=True, newest=10)
    with LabelStore(run.labels) as store:
        learner = RewardLearner(Linear(), store, ITEMS, config=config, seed=3)
        for n in range(20):
            answer(store, n, ["ann", "bob", "cid"])
        report = learner.step(sample)
    assert report.n_comparisons == 10
    assert learner.n_answers == 30
    assert learner.n_fitted == 60
    assert all(math.isfinite(p) for p in report.preference)


def test_current_answers_have_their_strengths(run):
    with LabelStore(run.labels) as store:
        for n in range(3):
            answer(store, n, ["ann", "bob"])
        told = {("q001", "ann"): Strength(0.9, 2.0)}
        found = judgements_of(store, told, certainties=LearnerConfig().certainties)
    sure = [max(one.preference, 1 - one.preference) for one in found]
    assert sure == [0.75, 1.0, 0.9, 1.0, 0.75, 1.0]
    assert [one.margin for one in found] == [0, 0, 2.0, 0, 0, 0]
