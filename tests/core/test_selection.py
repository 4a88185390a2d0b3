import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prefrl.core.selection import SELECTIONS, Candidates, disagreement_scores, entropy_scores
from prefrl.errors import ConfigError, NonFiniteError, NotEnoughDataError


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def choose(name, rng, n, preferences=None, features=None, labelled=None):
    if preferences is None:
        preferences = np.full((2, len(features)), 0.5)
    candidates = Candidates(np.asarray(preferences), features, labelled)
    return SELECTIONS[name](candidates, n, rng).tolist()


def test_disagreement_is_the_standard_deviation_over_members():
    preferences = np.array([[0.0, 0.5, 0.2], [1.0, 0.5, 0.6]])
    np.testing.assert_allclose(disagreement_scores(preferences), [0.5, 0.0, 0.2])


def test_entropy_is_the_mean_over_members():
    # H(1/2) = ln 2, H(1) = 0, H(1/4) = 2 ln 2 - 3/4 ln 3.
    preferences = np.array([[0.5, 1.0, 0.25], [1.0, 0.0, 0.75]])
    expected = [math.log(2) / 2, 0.0, 2 * math.log(2) - 0.75 * math.log(3)]
    np.testing.assert_allclose(entropy_scores(preferences), expected, atol=1e-10)


def test_entropy_of_members_that_are_certain_in_float32_is_zero():
    np.testing.assert_allclose(entropy_scores(np.ones((3, 2), np.float32)), [0.0, 0.0], atol=1e-10)


def test_disagreement_and_entropy_ask_for_different_pairs(rng):
    # Pair 0: both members undecided. Pair 1: they contradict each other. Pair 2: both certain.
    preferences = [[0.5, 0.99, 0.99], [0.5, 0.01, 0.99]]
    assert choose("disagreement", rng, 1, preferences) == [1]
    assert choose("entropy", rng, 1, preferences) == [0]
    assert choose("disagreement", rng, 3, preferences) == [1, 0, 2]


@pytest.mark.parametrize("name", ["disagreement", "entropy"])
def test_of_equal_scores_the_earlier_candidate_wins(name, rng):
    assert choose(name, rng, 3, np.full((3, 50), 0.5)) == [0, 1, 2]


def test_uniform_is_uniform(rng):
    chosen = [choose("uniform", rng, 2, np.full((1, 4), 0.5)) for _ in range(2000)]
    # Each of 4 candidates has chance 1/2: 1000 expected, sd sqrt(2000 / 4) = 22.
    assert np.abs(np.bincount(np.ravel(chosen)) - 1000).max() < 110


def test_k_center_goes_to_the_farthest_point_of_a_line(rng):
    features = np.array([[1.0], [10.0], [5.0], [9.0]], np.float32)
    # From 0: the farthest is 10. Then 5, which is 5 away from both; then 1 and 9, both 1 away.
    assert choose("k_center", rng, 4, features=features, labelled=np.zeros((1, 1))) == [1, 2, 0, 3]
    # From 10: the farthest is 1. Then 5; then 9, which is 1 away; then 10 itself.
    labelled = np.array([[10.0]])
    assert choose("k_center", rng, 4, features=features, labelled=labelled) == [0, 2, 3, 1]


def test_k_center_starts_at_the_first_candidate_where_nothing_was_asked(rng):
    features = np.array([[0.0], [1.0], [3.0]])
    assert choose("k_center", rng, 2, features=features) == [0, 2]
    assert choose("k_center", rng, 2, features=features, labelled=np.empty((0, 1))) == [0, 2]


def test_k_center_never_chooses_a_candidate_twice_among_copies(rng):
    features = np.ones((5, 3))
    assert choose("k_center", rng, 5, features=features, labelled=np.ones((1, 3))) == [*range(5)]


def test_k_center_equals_the_loop_that_defines_it(rng):
    features, labelled = rng.normal(size=(40, 6)), rng.normal(size=(12, 6))
    centers, expected = list(labelled), []
    for _ in range(15):
        distance = [min(np.linalg.norm(f - c) for c in centers) for f in features]
        expected.append(int(np.argmax(distance)))
        centers.append(features[expected[-1]])
    assert choose("k_center", rng, 15, features=features, labelled=labelled) == expected


@pytest.mark.parametrize("name", ["k_center_disagreement", "k_center_entropy"])
def test_a_hybrid_spreads_within_the_uncertain_half(name, rng):
    # Undecided and far apart in opinion: 0, 2, 4. The others are certain, however far they lie.
    preferences = [[0.6, 1.0, 0.7, 1.0, 0.6, 1.0], [0.4, 1.0, 0.3, 1.0, 0.4, 1.0]]
    features = np.array([[1.0], [99.0], [2.0], [-99.0], [7.0], [50.0]])
    chosen = choose(name, rng, 2, preferences, features, np.zeros((1, 1)))
    assert chosen == [4, 2]  # 7 is farthest from 0; of 1 and 2, 2 is farther from both 0 and 7


def test_features_are_computed_only_where_they_are_needed(rng):
    def features():
        raise AssertionError("not needed")

    assert choose("disagreement", rng, 1, [[0.1, 0.1], [0.1, 0.9]], features, features) == [1]
    assert choose(
        "k_center", rng, 1, [[0.5, 0.5]], lambda: np.array([[1.0], [2.0]]), lambda: [[0.0]]
    ) == [1]


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32), n_candidates=st.integers(1, 30), data=st.data())
def test_every_rule_gives_n_distinct_candidates(seed, n_candidates, data):
    n = data.draw(st.integers(0, n_candidates))
    rng = np.random.default_rng(seed)
    preferences = rng.uniform(size=(3, n_candidates)).astype(np.float32)
    features = rng.integers(3, size=(n_candidates, 2)).astype(np.float32)
    for name in SELECTIONS:
        chosen = choose(name, rng, n, preferences, features, features[:2])
        assert len(chosen) == len(set(chosen)) == n
        assert all(0 <= i < n_candidates for i in chosen)


@pytest.mark.parametrize("name", SELECTIONS)
def test_more_than_there_are_is_refused(name, rng):
    with pytest.raises(NotEnoughDataError, match="at least 3 candidate pairs, got 2"):
        choose(name, rng, 3, np.full((1, 2), 0.5), np.zeros((2, 1)))
    with pytest.raises(ValueError, match="got -1"):
        choose(name, rng, -1, np.full((1, 2), 0.5), np.zeros((2, 1)))


@pytest.mark.parametrize("features", [None, np.zeros((3, 1))])
def test_k_center_without_fitting_features_is_refused(features, rng):
    with pytest.raises(ConfigError, match="row of features for each of 2 candidates"):
        choose("k_center", rng, 1, np.full((1, 2), 0.5), features)


@pytest.mark.parametrize("preferences", [[0.5, 0.5], [[0.5, 1.1]]])
def test_preferences_that_are_none_are_refused(preferences):
    with pytest.raises(ConfigError, match="expected preferences of shape"):
        Candidates(np.array(preferences))


def test_a_reward_that_is_nan_is_named():
    with pytest.raises(NonFiniteError, match="a finite reward for the items"):
        Candidates(np.array([[math.nan, 0.5]]))
