"""Wilson's interval, against what was published."""

import numpy as np
import pytest

from prefrl.core.intervals import Z95, wilson_interval


def test_z_is_that_of_tables():
    assert pytest.approx(1.959964, abs=5e-7) == Z95


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: wilson_interval(3, 2), "from 0 to 2 successes"),
        (lambda: wilson_interval([1, -1], [2, 5]), "from 0 to 5 successes, got -1"),
        (lambda: wilson_interval(np.nan, 2), "from 0 to 2 successes, got nan"),
        (lambda: wilson_interval(1, 2, confidence=95), "between 0 and 1"),
    ],
)
def test_what_is_no_share_is_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        wrong()


def test_wilson_interval_by_hand():
    # Newcombe (1998), Statistics in Medicine 17, table I, method 3: 81/263, 15/148, 0/20, 1/29.
    assert wilson_interval(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson_interval(15, 148) == pytest.approx((0.0624, 0.1605), abs=5e-5)
    assert wilson_interval(0, 20) == pytest.approx((0, 0.1611), abs=5e-5)
    assert wilson_interval(1, 29) == pytest.approx((0.0061, 0.1718), abs=5e-5)
    assert wilson_interval(0, 0) == (0, 1)
    assert wilson_interval(20, 20)[1] == 1
    # Wilson 1927 for 5 of 10; and all of them at once
    assert wilson_interval(5, 10) == pytest.approx((0.2366, 0.7634), abs=5e-5)
    k, n = np.array([[81, 15], [0, 0]]), np.array([[263, 148], [20, 0]])
    low, high = wilson_interval(k, n)
    assert low == pytest.approx(np.array([[0.2553, 0.0624], [0, 0]]), abs=5e-5)
    assert high == pytest.approx(np.array([[0.3662, 0.1605], [0.1611, 1]]), abs=5e-5)


def test_wilson_interval_holds_the_share_as_often_as_it_says():
    # Exactly, not by draws: the chance of each outcome times whether its interval holds the share.
    n = 100
    ends = np.array([wilson_interval(k, n) for k in range(n + 1)])
    log_factorials = np.concatenate([[0], np.cumsum(np.log(np.arange(1, n + 1)))])
    ways = log_factorials[n] - log_factorials - log_factorials[::-1]
    k = np.arange(n + 1)
    shares = np.linspace(0.02, 0.98, 500)[:, None]
    chances = np.exp(ways + k * np.log(shares) + (n - k) * np.log(1 - shares))
    coverage = (chances * ((ends[:, 0] <= shares) & (shares <= ends[:, 1]))).sum(axis=1)
    assert coverage.mean() == pytest.approx(0.95, abs=0.005)
    assert coverage.min() > 0.9
