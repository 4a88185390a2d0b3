import dataclasses
import math
from dataclasses import dataclass

import numpy as np
import pytest

from prefrl.core.comparisons import Answer
from prefrl.core.oracle import TEACHERS, Oracle, OracleConfig, SyntheticOracle, as_oracle
from prefrl.errors import ConfigError, NonFiniteError

LEFT, RIGHT, TIE, SKIP = Answer


@dataclass(frozen=True)
class Steps:
    """An item that is nothing but its true step rewards."""

    rewards: tuple[float, ...]
    take: int = 0

    @property
    def id(self):
        return f"{self.rewards}/{self.take}"


def item(*rewards):
    return Steps(rewards)


def synthetic(margin=None, seed=0, **config):
    return SyntheticOracle(
        lambda steps: np.array(steps.rewards),
        config=OracleConfig(**config),
        seed=seed,
        mean_segment_return=None if margin is None else lambda item: margin,
    )


def share_of(answer, oracle, left, right, n=4000):
    """Over many pairs with the same rewards: one pair always gets the same answer."""
    takes = (dataclasses.replace(left, take=take) for take in range(n))
    return sum(oracle.compare(take, right) is answer for take in takes) / n


def test_a_perfect_oracle_names_the_higher_return():
    oracle = synthetic()
    assert oracle.compare(item(1, 2), item(0, 2.9)) is LEFT
    assert oracle.compare(item(0, 2.9), item(1, 2)) is RIGHT
    assert oracle.compare(item(-5), item(-4)) is RIGHT


def test_exactly_equal_returns_are_a_tie():
    assert synthetic().compare(item(1, 2), item(2, 1)) is TIE
    assert synthetic(eps_mistake=1).compare(item(1, 2), item(2, 1)) is TIE


def test_beta_is_the_slope_of_a_sigmoid_of_the_difference():
    # sigmoid(0.5 * (5 - 3)) = 1 / (1 + 1/e) = 0.7311; four standard errors are 0.028.
    share = share_of(LEFT, synthetic(beta=0.5), item(2, 3), item(1, 2))
    assert share == pytest.approx(1 / (1 + math.exp(-1)), abs=0.028)
    # Per unit of return: ten times the rewards, ten times the certainty; sigmoid(-10) = 4.5e-5.
    assert share_of(LEFT, synthetic(beta=0.5), item(10, 20), item(20, 30)) < 0.002
    # Equal returns are a coin, not a tie.
    assert share_of(LEFT, synthetic(beta=0.5), item(1), item(1)) == pytest.approx(0.5, abs=0.032)


def test_a_large_beta_does_not_overflow():
    oracle = synthetic(beta=1e6)
    assert oracle.compare(item(1e6), item(-1e6)) is LEFT
    assert oracle.compare(item(-1e6), item(1e6)) is RIGHT


def test_mistakes_flip_their_share_of_answers():
    share = share_of(RIGHT, synthetic(eps_mistake=0.1), item(2), item(1))
    assert share == pytest.approx(0.1, abs=0.019)  # four standard errors
    assert share_of(RIGHT, synthetic(eps_mistake=1), item(2), item(1), n=20) == 1


def test_mistakes_come_after_beta():
    # 0.9 * 0.7311 + 0.1 * 0.2689 = 0.6849
    share = share_of(LEFT, synthetic(beta=1, eps_mistake=0.1), item(2), item(1))
    assert share == pytest.approx(0.6849, abs=0.03)


def test_gamma_weighs_the_last_step_most_and_can_turn_the_answer_round():
    # gamma 0.5, H = 3: weights 1/4, 1/2, 1. Left 4/4 = 1, right 2: undiscounted it is 4 to 2.
    left, right = item(4, 0, 0), item(0, 0, 2)
    assert synthetic().compare(left, right) is LEFT
    assert synthetic(gamma=0.5).compare(left, right) is RIGHT
    # 4/4 against 2/2: equal once discounted.
    assert synthetic(gamma=0.5).compare(left, item(0, 2, 0)) is TIE


def test_skip_drops_pairs_whose_better_return_is_low():
    oracle = synthetic(margin=100, eps_skip=0.1)
    assert oracle.compare(item(3, 4), item(4, 6)) is SKIP  # 10 is not above 0.1 * 100
    assert oracle.compare(item(3, 4), item(4, 6.5)) is RIGHT
    assert oracle.compare(item(50), item(0)) is LEFT  # one low return is not enough
    assert oracle.compare(item(-50), item(-60)) is SKIP


@pytest.mark.parametrize("margin", [0.0, -100.0])
def test_no_pair_is_skipped_or_tied_while_the_margin_is_not_positive(margin):
    oracle = synthetic(margin=margin, eps_skip=0.1, eps_equal=0.1)
    assert oracle.compare(item(-50), item(-50.1)) is LEFT


def test_the_margin_is_the_mean_of_those_of_the_two_items():
    margins = {item(50): 1000.0, item(0): 2.0, item(1): -2.0}  # skip below 50.1 and 49.9
    oracle = SyntheticOracle(
        lambda steps: np.array(steps.rewards),
        config=TEACHERS["skip"],
        mean_segment_return=margins.__getitem__,
    )
    assert oracle.compare(item(50), item(0)) is SKIP
    assert oracle.compare(item(50), item(1)) is LEFT


def test_equal_is_a_tie_below_its_share_of_the_margin():
    oracle = synthetic(margin=100, eps_equal=0.1)
    assert oracle.compare(item(50), item(59)) is TIE
    assert oracle.compare(item(50), item(60)) is RIGHT  # 10 is not below 0.1 * 100


@pytest.mark.parametrize("other", [{"eps_mistake": 1.0}, {"beta": 5.0}, {"gamma": 0.5}])
def test_equal_wins_over_what_comes_after_it(other):
    # Without it a mistake would say RIGHT, beta would draw, and gamma would decide for LEFT.
    oracle = synthetic(margin=100, eps_equal=0.1, **other)
    assert share_of(TIE, oracle, item(50, 4), item(50, 2), n=50) == 1


def test_equal_looks_at_undiscounted_returns():
    oracle = synthetic(margin=100, eps_equal=0.1, gamma=0.5)
    # 41 to 25, which differ enough; discounted 21 to 25, which would not.
    assert oracle.compare(item(40, 1), item(0, 25)) is RIGHT
    # 40 to 45; discounted 20 to 45.
    assert oracle.compare(item(40, 0), item(0, 45)) is TIE


def test_skip_wins_over_equal():
    oracle = synthetic(margin=100, eps_skip=0.1, eps_equal=0.1)
    assert oracle.compare(item(5), item(5)) is SKIP
    assert oracle.compare(item(50), item(50)) is TIE


def test_an_answer_depends_on_the_seed_and_the_pair_alone():
    pairs = [(item(0.1, take), item(0)) for take in range(30)]

    def answers(seed, pairs=pairs):
        oracle = synthetic(beta=1, eps_mistake=0.3, seed=seed)
        return [oracle.compare(left, right) for left, right in pairs]

    assert answers(1) == answers(1) != answers(2)
    assert answers(1) == answers(1, pairs[::-1])[::-1]


@pytest.mark.parametrize("rewards", [(math.nan,), (math.inf,)])
def test_returns_that_are_no_numbers_are_refused(rewards):
    with pytest.raises(NonFiniteError, match="expected finite true returns"):
        synthetic().compare(item(*rewards), item(1))


def test_the_teachers_are_those_of_b_pref():
    perfect = OracleConfig()
    assert TEACHERS == {
        "oracle": perfect,
        "stoc": dataclasses.replace(perfect, beta=1),
        "mistake": dataclasses.replace(perfect, eps_mistake=0.1),
        "skip": dataclasses.replace(perfect, eps_skip=0.1),
        "myopic": dataclasses.replace(perfect, gamma=0.9),
        "equal": dataclasses.replace(perfect, eps_equal=0.1),
    }
    assert dataclasses.astuple(perfect) == (None, 1, 0, 0, 0)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"beta": -1}, "leave it None"),
        ({"beta": math.inf}, "leave it None"),
        ({"gamma": 0}, "gamma"),
        ({"gamma": 1.1}, "gamma"),
        ({"eps_mistake": 1.1}, "eps_mistake is a probability, got 1.1"),
        ({"eps_skip": -0.1}, "eps_skip and eps_equal"),
        ({"eps_equal": math.nan}, "eps_skip and eps_equal"),
    ],
)
def test_numbers_out_of_range_are_refused(config, message):
    with pytest.raises(ConfigError, match=message):
        OracleConfig(**config)


@pytest.mark.parametrize("config", [{"eps_skip": 0.1}, {"eps_equal": 0.1}])
def test_thresholds_without_a_margin_are_refused(config):
    with pytest.raises(ConfigError, match="pass mean_segment_return"):
        synthetic(**config)


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        (Answer.SKIP, SKIP),
        ("left", LEFT),
        ("right", RIGHT),
        ("tie", TIE),
        ("skip", SKIP),
        (True, LEFT),
        (False, RIGHT),
        (np.float64(2) > 1, LEFT),
    ],
)
def test_a_plain_function_is_an_oracle(said, answer):
    oracle = as_oracle(lambda left, right: said)
    assert isinstance(oracle, Oracle)
    assert oracle.compare(item(1), item(2)) is answer


def test_an_object_with_compare_is_an_oracle():
    class Better:
        def compare(self, left, right):
            return sum(left.rewards) > sum(right.rewards)

    assert as_oracle(Better()).compare(item(2), item(1)) is LEFT
    assert as_oracle(synthetic()).compare(item(1), item(2)) is RIGHT
    with pytest.raises(ConfigError, match="expected an object with a compare"):
        as_oracle(Better)


@pytest.mark.parametrize("said", [None, 1, 0.7, "better"])
def test_an_answer_that_is_none_is_named(said):
    oracle = as_oracle(lambda left, right: said)
    with pytest.raises(ConfigError, match=f"expected the oracle to return .* got {said!r}"):
        oracle.compare(item(1), item(2))


def test_what_is_no_oracle_is_refused():
    with pytest.raises(ConfigError, match="got 'synthetic'"):
        as_oracle("synthetic")
