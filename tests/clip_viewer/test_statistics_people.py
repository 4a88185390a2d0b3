"""Twenty simulated people, six times over: is what was planted in the intervals, and how often?"""

import json
import time

import numpy as np
import pytest
from simulated_people import a_study, some_people

from clip_viewer.statistics import statistics
from prefrl.core.store.labels import resolve

SHARES = ("left_share", "tie_rate", "skip_rate", "self_consistency", "gold_error")
SEEDS = range(6)


@pytest.fixture(scope="module")
def studies():
    """By seed: the people, and what was found of them."""
    found = []
    for seed in SEEDS:
        rng = np.random.default_rng(seed)
        people = some_people(rng)
        events, right = a_study(rng, people)
        gold = {query: right[query] for query in list(right)[:150]}
        found.append((people, statistics(events, gold, [])))
    return found


def pairs_of(studies, share):
    """Planted value and what was found, for each person of each study."""
    for people, found in studies:
        for person in found["people"]:
            yield people[person["annotator"]].expected()[share], person[share]


@pytest.mark.parametrize("share", SHARES)
def test_what_was_planted_is_found(studies, share):
    planted, found = zip(*pairs_of(studies, share), strict=True)
    assert len(planted) == 20 * len(SEEDS)
    estimates = [share["value"] for share in found]
    assert np.corrcoef(planted, estimates)[0, 1] > 0.85
    # No drift to one side: the mean difference is within 4 of its standard errors.
    differences = np.subtract(estimates, planted)
    assert abs(differences.mean()) < 4 * differences.std() / np.sqrt(len(differences))


def test_the_intervals_hold_what_was_planted_about_as_often_as_they_say(studies):
    misses = {
        share: sum(
            not found["low"] <= planted <= found["high"]
            for planted, found in pairs_of(studies, share)
        )
        for share in SHARES
    }
    # 120 intervals of 95 % each: more than 15 misses has a chance of 3e-4 (binomial, p = 0.05).
    assert max(misses.values()) <= 15, misses
    # 600 in all: 30 expected; fewer than 12 or more than 50 have a chance of 2e-4. Intervals that
    # are too wide fail as well.
    assert 12 <= sum(misses.values()) <= 50, misses


def test_error_rates_and_left_biases_are_told_apart(studies):
    """Someone careless is not taken for someone biased, nor the other way round."""
    errors, biases, wrong, left = zip(
        *(
            (
                people[person["annotator"]].error,
                people[person["annotator"]].bias,
                person["gold_error"]["value"],
                person["left_share"]["value"],
            )
            for people, found in studies
            for person in found["people"]
        ),
        strict=True,
    )
    assert np.corrcoef(biases, left)[0, 1] > 0.9
    assert abs(np.corrcoef(errors, left)[0, 1]) < 0.25
    # Who does not look errs too: what is left of the wrong answers is the error when looking.
    fitted = np.linalg.lstsq(np.stack([errors, biases, np.ones(len(errors))], 1), wrong)[0]
    assert fitted[0] > 0.4
    assert fitted[1] > 0.1


def test_agreement_is_what_the_habits_come_to(studies):
    for people, found in studies:
        chances = []
        for habits in people.values():
            better = (1 - habits.tie) * np.mean(habits.chances())
            chances.append([better, 1 - habits.tie - better, habits.tie])
        both = np.array(chances) @ np.array(chances).T
        expected = both[~np.eye(len(both), dtype=bool)].mean()
        assert found["agreement"]["percent"]["value"] == pytest.approx(expected, abs=0.025)
        ties = np.mean([habits.tie for habits in people.values()])
        shares = np.array([(1 - ties) / 2, (1 - ties) / 2, ties])
        by_chance = (shares * (1 - shares)).sum() / 2
        ac1 = (expected - by_chance) / (1 - by_chance)
        assert found["agreement"]["gwet_ac1"] == pytest.approx(ac1, abs=0.03)
        alpha = 1 - (1 - expected) / (1 - (shares**2).sum())
        assert found["agreement"]["krippendorff_alpha"] == pytest.approx(alpha, abs=0.03)


def test_the_pace_is_found(studies):
    seconds, median, rate = zip(
        *(
            (people[p["annotator"]].seconds, p["median_seconds"], p["per_hour"])
            for people, found in studies
            for p in found["people"]
        ),
        strict=True,
    )
    assert median == pytest.approx(seconds, rel=0.1)
    # The mean of a lognormal is exp(0.3 ** 2 / 2) times its median.
    assert rate == pytest.approx(3600 / np.array(seconds) / np.exp(0.045), rel=0.12)


def test_a_hundred_thousand_events_take_less_than_a_second():
    rng = np.random.default_rng(0)
    people = some_people(rng, 25)
    events, right = a_study(rng, people, n_queries=3200, n_repeats=500)
    assert len(events) > 100_000
    started = time.process_time()
    found = statistics(events, right, [])
    assert time.process_time() - started < 1
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert found["labels"] == len(resolve(events))
