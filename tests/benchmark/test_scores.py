import numpy as np
import pytest

from prefrl.benchmark.statistics import (
    improvement,
    interquartile_mean,
    mean_over_seeds,
    normalised,
    profile,
)


def test_returns_are_normalised():
    values = normalised(np.array([-10.0, 40.0, 90.0]), random=-10, true=90)
    np.testing.assert_allclose(values, [0, 0.5, 1])


def test_the_middle_half_decides():
    found = interquartile_mean({"a": np.array([0.0, 1, 2, 100]), "b": np.array([-9.0, 1, 3, 4])})
    assert found.value == pytest.approx((1 + 1 + 2 + 3) / 4)
    assert found.low <= found.value <= found.high


def test_the_interval_is_of_seeds_and_not_of_tasks():
    tasks = {"easy": np.full(4, 1.0), "hard": np.full(4, 0.0)}
    found = interquartile_mean(tasks)
    assert (found.low, found.high) == (found.value, found.value) == (0.5, 0.5)


def test_about_95_of_100_intervals_hold_the_truth():
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(100):
        found = interquartile_mean({task: rng.normal(size=10) for task in "abcd"})
        hits += found.low <= 0 <= found.high
    assert 86 <= hits <= 99  # percentile intervals are a little short at ten seeds


def test_one_seed_has_no_interval():
    assert np.isnan(interquartile_mean({"a": np.array([1.0])}).low)
    assert np.isnan(mean_over_seeds([1.0]).high)


def test_how_likely_one_beats_another():
    better, worse = {"a": np.array([2.0, 3])}, {"a": np.array([1.0, 2]), "b": np.array([9.0, 9])}
    assert improvement(better, worse).value == pytest.approx((1 + 0.5 + 1 + 1) / 4)
    assert improvement(worse, better).value == pytest.approx(0.125)


def test_the_profile_is_the_share_above():
    scores = {"a": np.array([0.0, 1.0]), "b": np.array([1.0, 2.0, 3.0, 4.0])}
    np.testing.assert_allclose(
        profile(scores, np.array([-1.0, 0.5, 1.0, 9.0])), [1, (0.5 + 1) / 2, (0 + 0.75) / 2, 0]
    )


def test_a_mean_over_seeds_has_students_interval():
    found = mean_over_seeds([1.0, 2.0, 3.0])
    assert found.value == 2
    assert found.high - 2 == pytest.approx(4.303 / 3**0.5, rel=1e-3)
