import math

import numpy as np
import pytest

from prefrl.core.bradley_terry import PRIOR_SD, best_scores, groups_of, standings


def test_two_items_against_numbers_made_by_hand():
    """Of a and -a the posterior's best is where 4 - 5 sigmoid(2 a) = a / PRIOR_SD ** 2."""
    answers = [("a", "b", 1.0)] * 4 + [("b", "a", 1.0)]
    first, second = standings([], answers)
    assert (first.item, second.item) == ("a", "b")
    assert (first.n_wins, first.n_losses, first.n_ties) == (4, 1, 0)
    gap = first.score
    assert second.score == pytest.approx(-gap)
    chance = 1 / (1 + math.exp(-2 * gap))
    assert 4 - 5 * chance == pytest.approx(gap / PRIOR_SD**2, abs=1e-6)
    # Along (1, -1) / sqrt(2) the curvature is 2 * 5 p (1 - p) + 1 / PRIOR_SD ** 2.
    deviation = math.sqrt(0.5 / (10 * chance * (1 - chance) + PRIOR_SD**-2))
    assert first.high - first.score == pytest.approx(1.959964 * deviation)


def test_an_item_that_always_wins_and_one_that_nobody_compared():
    answers = [("best", other, 1.0) for other in ("b", "c") for _ in range(30)]
    rows = {row.item: row for row in standings([("b", "alone")], answers)}
    assert 1 < rows["best"].score < 10
    assert rows["best"].low > rows["b"].high
    assert rows["alone"].n_compared == 0
    assert rows["alone"].high - rows["alone"].low > 1.5 * PRIOR_SD
    assert sum(row.score for row in rows.values()) == pytest.approx(0)


def test_ties_are_half_a_win_for_each():
    tied = standings([], [("a", "b", 0.5)] * 6)
    assert [row.score for row in tied] == pytest.approx([0, 0])
    assert [(row.item, row.n_ties) for row in tied] == [("a", 6), ("b", 6)]
    won = standings([], [("a", "b", 1.0), ("a", "b", 0.0)] * 3)
    assert won[0].high == pytest.approx(tied[0].high)


def test_what_is_not_linked_is_not_compared():
    rows = standings([("a", "b"), ("c", "d")], [("a", "b", 1.0), ("d", "c", 1.0)])
    assert [(row.item, row.group) for row in rows] == [("a", 0), ("b", 0), ("d", 1), ("c", 1)]
    assert rows[0].score == rows[2].score
    assert groups_of([("x", "y"), ("u", "v"), ("y", "z")]) == [["x", "y", "z"], ["u", "v"]]
    assert standings([], []) == []


def test_planted_strengths_come_back_and_intervals_hold_them():
    """Of the 95 % intervals, 92 to 97 in 100 hold the truth: they are an approximation."""
    rng = np.random.default_rng(0)
    held, n, correlations = 0, 0, []
    for spread in (0.5, 1, 1.5, PRIOR_SD) * 15:
        true = rng.normal(0, spread, 12)
        answers = []
        for _ in range(150):
            i, j = rng.choice(12, 2, replace=False)
            wins = rng.random() < 1 / (1 + np.exp(true[j] - true[i]))
            answers.append((f"{i:02}", f"{j:02}", float(wins)))
        true -= true.mean()
        rows = standings([], answers)
        correlations.append(
            np.corrcoef([true[int(r.item)] for r in rows], [r.score for r in rows])[0, 1]
        )
        held += sum(row.low <= true[int(row.item)] <= row.high for row in rows)
        n += len(rows)
    assert n == 720
    assert 0.92 < held / n < 0.975
    assert np.mean(correlations) > 0.9


def test_a_mean_of_many_comparisons_is_as_good_as_all_of_them():
    left, right = np.array([0, 0, 0, 1]), np.array([1, 1, 1, 2])
    one_by_one, curvature = best_scores(
        3, left, right, np.array([1.0, 1.0, 0.0, 1.0]), precision=0.1
    )
    twice, steeper = best_scores(
        3, left, right, np.array([1.0, 1.0, 0.0, 1.0]), precision=0.2, times=2
    )
    assert twice == pytest.approx(one_by_one)  # twice the data, and a prior twice as strong
    assert steeper == pytest.approx(2 * curvature)
    (high, low), _ = best_scores(2, left[:1], right[:1], np.array([2 / 3]), precision=1e-6, times=3)
    assert high - low == pytest.approx(math.log(2), abs=1e-3)  # the log-odds of two in three
