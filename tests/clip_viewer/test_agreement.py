import krippendorff
import numpy as np
import pytest

from clip_viewer.agreement import (
    gwet_ac1,
    krippendorff_alpha,
    percent_agreement,
    tabulate,
)

_ = -1  # no answer
# Krippendorff (2011), section C: 4 observers, 12 units, 5 categories. Gwet's Handbook (2014) takes
# the same data ("cac.raw4raters" of his R package irrCAC).
FOUR_OBSERVERS = [
    [1, 2, 3, 3, 2, 1, 4, 1, 2, _, _, _],
    [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, _, 3],
    [_, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, _],
    [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, _],
]


def counts_of(ratings, n_categories, first=1):
    ratings = np.array(ratings)
    _, units = np.nonzero(ratings >= first)
    return tabulate(units, ratings[ratings >= first] - first, n_categories)


def test_alpha_is_that_of_krippendorffs_paper():
    assert krippendorff_alpha(counts_of(FOUR_OBSERVERS, 5)) == pytest.approx(0.743, abs=5e-4)
    # Section A: two observers, ten binary units, alpha 0.095.
    binary = [[0, 1, 0, 0, 0, 0, 0, 0, 1, 0], [1, 1, 1, 0, 0, 1, 0, 0, 0, 0]]
    assert krippendorff_alpha(counts_of(binary, 2, 0)) == pytest.approx(0.095, abs=5e-4)
    # Section B: two observers, twelve nominal units a to e, alpha 0.692.
    nominal = [[0, 0, 1, 1, 3, 2, 2, 2, 4, 3, 3, 0], [1, 0, 1, 1, 1, 2, 2, 2, 4, 3, 3, 3]]
    assert krippendorff_alpha(counts_of(nominal, 5, 0)) == pytest.approx(0.692, abs=5e-4)


def test_ac1_and_per_cent_are_those_of_gwets_package():
    counts = counts_of(FOUR_OBSERVERS, 5)
    assert gwet_ac1(counts) == pytest.approx(0.77544, abs=5e-6)
    # By hand: eight units of full agreement, 1/2 (unit 2), 0 (unit 6), 1/2 (unit 8), over the 11
    # with two answers or more.
    assert percent_agreement(counts) == pytest.approx((8 + 0.5 + 0 + 0.5) / 11)


def test_ac1_by_hand():
    # Two people, four units: LL, LL, RR, LR. p_a = 3/4; pi = (5/8, 3/8);
    # p_e = 2 * 5/8 * 3/8 = 15/32; (24/32 - 15/32) / (17/32) = 9/17.
    two = [[2, 0], [2, 0], [0, 2], [1, 1]]
    assert percent_agreement(two) == 0.75
    assert gwet_ac1(two) == pytest.approx(9 / 17)
    # With a third answer that nobody gave: p_e = 30/64 / 2 = 15/64, so (48 - 15) / 49.
    assert gwet_ac1([[*row, 0] for row in two]) == pytest.approx(33 / 49)
    # A unit with one answer counts for chance and not for agreement: pi = (6/10, 4/10) without
    # it would be (5/8, 3/8). p_e = 2 * 0.7 * 0.3 = 0.42, p_a = 0.75.
    assert gwet_ac1([*two, [1, 0]]) == pytest.approx((0.75 - 0.42) / 0.58)


def test_alpha_by_hand():
    # Two people: LL, LL, RR, LR. n_L = 5, n_R = 3, n = 8; sum o_cc = 4 + 2 = 6.
    # (7 * 6 - (20 + 6)) / (56 - 26) = 16/30.
    two = [[2, 0], [2, 0], [0, 2], [1, 1]]
    assert krippendorff_alpha(two) == pytest.approx(16 / 30)
    # Neither a unit with one answer nor an answer that nobody gave changes it.
    assert krippendorff_alpha([*([*row, 0] for row in two), [1, 0, 0]]) == pytest.approx(16 / 30)


@pytest.mark.parametrize("seed", range(20))
def test_alpha_is_that_of_the_package_krippendorff(seed):
    rng = np.random.default_rng(seed)
    people, units, n_categories = rng.integers(2, 8), rng.integers(5, 60), rng.integers(2, 6)
    truth = rng.integers(n_categories, size=units)
    noise = rng.integers(n_categories, size=(people, units))
    ratings = np.where(rng.random((people, units)) < rng.random(), truth, noise)
    ratings[rng.random((people, units)) < 0.3] = -1
    theirs = krippendorff.alpha(
        np.where(ratings < 0, np.nan, ratings), level_of_measurement="nominal"
    )
    assert krippendorff_alpha(counts_of(ratings, n_categories, 0)) == pytest.approx(theirs)


def test_chance_is_zero_and_agreement_is_one():
    rng = np.random.default_rng(0)
    coins = counts_of(rng.integers(2, size=(3, 20_000)), 2, 0)
    assert percent_agreement(coins) == pytest.approx(0.5, abs=0.01)
    assert krippendorff_alpha(coins) == pytest.approx(0, abs=0.02)
    assert gwet_ac1(coins) == pytest.approx(0, abs=0.02)
    agreed = [[3, 0, 0], [0, 3, 0], [0, 0, 2]]
    assert krippendorff_alpha(agreed) == gwet_ac1(agreed) == percent_agreement(agreed) == 1


def test_ac1_stands_what_alpha_does_not():
    # 98 of 100 pairs agreed on, all of them LEFT: alpha says "as by chance".
    counts = [[2, 0]] * 98 + [[1, 1]] * 2
    assert krippendorff_alpha(counts) == pytest.approx(-0.005, abs=1e-3)
    assert gwet_ac1(counts) == pytest.approx(0.9796, abs=1e-3)


def test_what_cannot_be_said_is_none():
    for counts in (np.zeros((0, 3)), [[1, 0, 0], [0, 1, 0]], [[0, 0, 0]]):
        assert percent_agreement(counts) is None
        assert krippendorff_alpha(counts) is None
        assert gwet_ac1(counts) is None
    # All answers the same: alpha is 0/0, AC1 is not.
    assert krippendorff_alpha([[2, 0], [3, 0]]) is None
    assert gwet_ac1([[2, 0], [3, 0]]) == 1


def test_tabulate_counts():
    assert tabulate([0, 2, 0, 0], [1, 0, 1, 2], 3).tolist() == [[0, 2, 1], [0, 0, 0], [1, 0, 0]]
    assert tabulate([], [], 3).shape == (0, 3)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: tabulate([0, 1], [0], 2), "one category for each unit"),
        (lambda: tabulate([0], [2], 2), "categories from 0 to 1"),
        (lambda: tabulate([-1], [0], 2), "units from 0"),
        (lambda: percent_agreement([1, 2]), "by unit and category"),
        (lambda: krippendorff_alpha([[1, -2]]), "with -2 in it"),
        (lambda: gwet_ac1([[2]]), "at least two categories"),
    ],
)
def test_errors_say_what_was_expected(wrong, message):
    with pytest.raises(ValueError, match=message):
        wrong()
