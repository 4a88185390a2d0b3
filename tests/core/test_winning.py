import math

import numpy as np
import pytest

from prefrl.core.winning import bradley_terry, calibration, length_controlled, win_rate


def test_the_win_rate_is_in_wilsons_interval():
    found = win_rate(np.array([1.0] * 7 + [0.0] * 3))
    assert found.value == 0.7
    # Computed by hand: z = 1.96, n = 10, p = 0.7.
    assert (found.low, found.high) == pytest.approx((0.3968, 0.8922), abs=1e-4)
    assert win_rate(np.ones(10)).low == pytest.approx(1 / (1 + 1.96**2 / 10), abs=1e-3)
    assert win_rate(np.array([1.0, 0.5])).value == 0.75


def test_whoever_wins_by_length_alone_has_no_advantage_without_it(rng):
    longer_by = rng.normal(100, 100, 400)
    p = 1 / (1 + np.exp(-3 * np.tanh(longer_by / longer_by.std())))
    outcomes = (rng.random(400) < p).astype(float)
    assert outcomes.mean() > 0.7
    found = length_controlled(outcomes, longer_by)
    assert found.low < 0.5 < found.high
    assert found.value == pytest.approx(0.5, abs=0.1)


def test_whoever_is_better_stays_so_and_equal_lengths_change_nothing(rng):
    longer_by = rng.normal(0, 50, 400)
    outcomes = (rng.random(400) < 0.8).astype(float)
    assert length_controlled(outcomes, longer_by).value == pytest.approx(outcomes.mean(), abs=0.02)
    equal = length_controlled(outcomes, np.zeros(400))
    assert equal.value == pytest.approx(outcomes.mean(), abs=1e-3)
    assert 0.9 < length_controlled(np.ones(20), rng.normal(0, 1, 20)).value < 1


def test_elo_is_that_of_the_odds():
    # Ten wins to one: 400 points, when there are many comparisons.
    outcomes = np.array([1.0] * 1000 + [0.0] * 100)
    found = bradley_terry(["a", "b"], {("a", "b"): outcomes})
    assert found["a"].value - found["b"].value == pytest.approx(400, abs=1)
    assert found["a"].low < found["a"].value < found["a"].high
    assert (found["a"].value + found["b"].value) / 2 == pytest.approx(1000)


def test_elo_of_three_is_in_order(rng):
    names, strength = ["a", "b", "c"], {"a": 1.0, "b": 0.0, "c": -1.0}
    outcomes = {}
    for i, first in enumerate(names):
        for second in names[i + 1 :]:
            p = 1 / (1 + math.exp(strength[second] - strength[first]))
            outcomes[first, second] = (rng.random(800) < p).astype(float)
    found = bradley_terry(names, outcomes)
    for name in names:
        true = 1000 + 400 / math.log(10) * strength[name]
        assert found[name].value == pytest.approx(true, abs=40)


def test_calibration_by_hand():
    p = np.array([0.9, 0.9, 0.2, 0.6, 0.5])
    outcomes = np.array([1.0, 0.0, 0.0, 0.5, 1.0])
    found = calibration(p, outcomes)
    assert found.n == 4  # the tie is left out
    assert found.accuracy.value == pytest.approx((1 + 0 + 1 + 0.5) / 4)
    assert found.bins == (
        (pytest.approx(0.5), 0.5, 1),
        (pytest.approx(0.8), 1.0, 1),
        (pytest.approx(0.9), 0.5, 2),
    )
    assert found.ece == pytest.approx((0 + 0.2 + 2 * 0.4) / 4)
    assert calibration(np.array([0.9]), np.array([0.5])) is None
