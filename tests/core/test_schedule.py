import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefrl.core.schedule import SCHEDULES, LabelSchedule
from prefrl.errors import ConfigError


def test_constant_by_hand():
    schedule = LabelSchedule(total_labels=100, total_steps=1000, kind="constant")
    # 25 at once, then 75 over 1000 steps: one each 13.33 steps.
    assert [schedule.due(step) for step in (0, 13, 14, 400, 999, 1000)] == [25, 25, 26, 55, 99, 100]


def test_hyperbolic_by_hand():
    # N0 = 10, k = 100, T_end = 700: 30 ln(1 + T/100) / ln 8 = 10 log2(1 + T/100).
    schedule = LabelSchedule(40, 700, "hyperbolic", decay_steps=100)
    assert [schedule.due(step) for step in (0, 100, 300, 700)] == [10, 20, 30, 40]
    assert (schedule.due(99), schedule.due(299)) == (19, 29)


def test_hyperbolic_rate_is_that_of_the_paper():
    # Christiano et al. 2017, A.1: rate proportional to k / (T + k), so it halves at T = k.
    schedule = LabelSchedule(10_000_000, 10_000_000, "hyperbolic", decay_steps=2_000_000)
    rate = {T: schedule.due(T + 10_000) - schedule.due(T) for T in (0, 2_000_000, 6_000_000)}
    assert rate[0] / rate[2_000_000] == pytest.approx(2, rel=0.01)
    assert rate[0] / rate[6_000_000] == pytest.approx(4, rel=0.01)


def test_inverse_quadratic_by_hand():
    # arctan 1 = pi/4, arctan sqrt(3) = pi/3: at T = k, three quarters of what is due at sqrt(3) k.
    schedule = LabelSchedule(
        1200, 1000, "inverse_quadratic", initial_fraction=0, decay_steps=1000 / math.sqrt(3)
    )
    assert schedule.due(0) == 1
    assert schedule.due(math.ceil(1000 / math.sqrt(3))) == pytest.approx(1 + 1199 * 3 / 4, abs=1)
    # Rate proportional to 1 / (1 + (T/k)^2): a fifth at T = 2k.
    schedule = LabelSchedule(10**7, 10**7, "inverse_quadratic", decay_steps=10**6)
    rate = {T: schedule.due(T + 10_000) - schedule.due(T) for T in (0, 2 * 10**6)}
    assert rate[0] / rate[2 * 10**6] == pytest.approx(5, rel=0.02)


def test_decay_is_a_fifth_of_the_training_by_default():
    assert LabelSchedule(500, 1000).due(200) == LabelSchedule(500, 1000, decay_steps=200).due(200)
    # 125 + floor(375 ln 2 / ln 6) = 125 + floor(145.07)
    assert LabelSchedule(500, 1000).due(200) == 270


@pytest.mark.parametrize("kind", SCHEDULES)
@given(
    total_labels=st.integers(1, 5000),
    total_steps=st.integers(1, 10**7),
    initial_fraction=st.floats(0, 1),
    decay=st.none() | st.floats(0.01, 100),
    seed=st.integers(0, 1000),
)
def test_labels_never_fall_and_end_at_the_total(
    kind, total_labels, total_steps, initial_fraction, decay, seed
):
    decay_steps = None if decay is None else decay * total_steps
    schedule = LabelSchedule(total_labels, total_steps, kind, initial_fraction, decay_steps)
    steps = np.sort(np.random.default_rng(seed).integers(total_steps + 1, size=20)).tolist()
    due = [schedule.due(step) for step in [0, *steps, total_steps]]
    assert due == sorted(due)
    assert due[0] == max(1, round(initial_fraction * total_labels))
    assert due[-1] == schedule.due(2 * total_steps) == total_labels
    assert schedule.due(-1) == due[0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "linear"}, "inverse_quadratic, or module:name, got 'linear'"),
        ({"total_labels": 0}, "at least one label and one step, got 0 and 10"),
        ({"total_steps": 0}, "at least one label and one step, got 5 and 0"),
        ({"initial_fraction": 1.5}, r"share in \[0, 1\], got 1.5"),
        ({"initial_fraction": math.nan}, r"share in \[0, 1\], got nan"),
        ({"decay_steps": 0}, "decay_steps must be positive, got 0"),
    ],
)
def test_a_schedule_that_cannot_work_is_refused(change, message):
    with pytest.raises(ConfigError, match=message):
        LabelSchedule(**{"total_labels": 5, "total_steps": 10} | change)
