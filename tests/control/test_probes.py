import numpy as np
import pytest

from prefrl.control.policies.probes import probes, segment_sums

NAN = np.nan


def test_segments_lie_one_after_another_and_end_with_the_episode():
    rewards = np.array([[1.0, 2, 3, 4, 5], [1, 1, 1, NAN, NAN]])
    np.testing.assert_array_equal(segment_sums(rewards, 2), [3, 7, 5, 2, 1, NAN])


def test_a_reward_that_ranks_all_segments_rightly():
    true = np.arange(12.0).reshape(2, 6)
    found = probes(true, 3 * true - 7, length=2, seed=0)
    assert found == pytest.approx({"accuracy": 1, "pearson": 1, "spearman": 1})
    wrong = probes(true, -(true**3), length=2, seed=0)
    assert (wrong["accuracy"], wrong["spearman"]) == pytest.approx((0, -1))
    assert -1 < wrong["pearson"] < -0.8


def test_pairs_that_are_equal_tell_nothing():
    found = probes(np.ones((2, 6)), np.arange(12.0).reshape(2, 6), length=2, seed=0)
    assert all(np.isnan(value) for value in found.values())


def test_a_reward_that_knows_nothing_is_right_half_of_the_time():
    rng = np.random.default_rng(0)
    found = probes(rng.normal(size=(10, 2000)), rng.normal(size=(10, 2000)), length=10, seed=0)
    assert found["accuracy"] == pytest.approx(0.5, abs=0.05)
