"""Oracles: the protocol, and a synthetic oracle with the errors of B-Pref's teachers."""

from __future__ import annotations

import functools
import hashlib
import inspect
import math
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from prefrl.core.comparisons import Answer, Item
from prefrl.core.plugs import check_takes, load_plug
from prefrl.errors import ConfigError, NonFiniteError, PrefrlError

__all__ = [
    "TEACHERS",
    "Oracle",
    "OracleConfig",
    "SyntheticOracle",
    "as_oracle",
    "load_oracle",
]


@runtime_checkable
class Oracle(Protocol):
    """Decides which of two items is better."""

    def compare(self, left: Any, right: Any) -> Answer:
        """Answers the query that shows these two items."""
        ...


@dataclass(frozen=True)
class _CheckedOracle:
    """Turns the result of a function or of a user's oracle into an Answer."""

    function: Callable[[Any, Any], Answer | str | bool]

    def compare(self, left: Any, right: Any) -> Answer:
        try:
            said = self.function(left, right)
        except PrefrlError:
            raise
        except Exception as error:  # whatever a user's function raises
            raise ConfigError(
                f"the oracle raised {type(error).__name__}: {error}; fix it and resume."
            ) from error
        if isinstance(said, Answer):
            return said
        if isinstance(said, bool | np.bool_):
            return Answer.LEFT if said else Answer.RIGHT
        if isinstance(said, str) and said in {answer.value for answer in Answer}:
            return Answer(said)
        raise ConfigError(
            "expected the oracle to return an Answer, 'left', 'right', 'tie' or 'skip', or a bool "
            f"that says whether the left item is better, got {said!r}; return one of these."
        )


def load_oracle(name: str) -> Any:
    """Imports an oracle: a function, an object, or a class that is made without arguments.

    Args:
        name: ``module:name`` or ``FILE.py:name``.

    Raises:
        ConfigError: If it does not exist or cannot be made.
    """
    found = load_plug(name, option="oracle")
    if not isinstance(found, type):
        return found
    try:
        return found()
    except Exception as error:  # whatever a user's class raises
        raise ConfigError(
            f"expected oracle {name} to be made without arguments, but it raised "
            f"{type(error).__name__}: {error}."
        ) from error


def as_oracle(
    thing: Oracle | Callable[..., Answer | str | bool],
    *,
    true_rewards: Callable[[Any], NDArray[np.floating]] | None = None,
) -> Oracle:
    """Turns a plain function of two items into an oracle, or checks the answers of an oracle.

    An oracle that has a parameter named ``true_rewards`` is given a pair there: the true step
    rewards of the left and of the right item, shape (T,) each.

    Args:
        thing: An object with ``compare``, or a function that returns an Answer, the name of one
            ("left", "right", "tie", "skip"), or a bool: whether the left item is better. The
            results of an object's method are read in the same way.
        true_rewards: Returns the true step rewards of an item; None if there are none.

    Returns:
        An oracle whose ``compare`` returns an Answer, or raises ConfigError naming what came back.

    Raises:
        ConfigError: If it is neither, is a class instead of an object, or needs true rewards where
            there are none.
    """
    if not isinstance(thing, type):
        function: Any = getattr(thing, "compare", thing)
        if callable(function):
            return _CheckedOracle(_with_rewards(function, true_rewards))
    raise ConfigError(
        "expected an object with a compare(left, right) method, or a function of two items, got "
        f"{thing!r}; pass one of these."
    )


def _with_rewards(
    function: Callable[..., Any], true_rewards: Callable[[Any], NDArray[np.floating]] | None
) -> Callable[[Any, Any], Any]:
    """Adapts a function that may take ``true_rewards`` to one of two items alone."""
    if "true_rewards" not in _parameters(function):
        check_takes(function, "left", "right", option="the oracle")
        return function
    check_takes(functools.partial(function, true_rewards=()), "left", "right", option="the oracle")
    if true_rewards is None:
        raise ConfigError(
            "the oracle asks for true_rewards, but responses of a language model have none; take "
            "an oracle of two items alone."
        )
    rewards_of = true_rewards
    return lambda left, right: function(
        left, right, true_rewards=(rewards_of(left), rewards_of(right))
    )


def _parameters(function: Callable[..., Any]) -> Collection[str]:
    try:
        return inspect.signature(function).parameters
    except ValueError:  # written in C
        return ()


@dataclass(frozen=True)
class OracleConfig:
    """Errors of the synthetic oracle: B-Pref's five parameters (Lee et al. 2021, arXiv 2111.03026).

    Raises:
        ConfigError: If a number is out of range.
    """

    beta: float | None = None
    """Rationality, per unit of return: P(left) = sigmoid(beta * (left - right)). None: perfect,
    B-Pref's infinity, which its code writes as -1."""
    gamma: float = 1.0
    """Discount towards the past, in (0, 1]: below 1, recent steps count more."""
    eps_mistake: float = 0.0
    """Probability of a wrong answer: left and right exchanged."""
    eps_skip: float = 0.0
    """Skip when both returns are at most this share of a typical segment's return; at least 0."""
    eps_equal: float = 0.0
    """Tie when the returns differ by less than this share of a typical segment's; at least 0."""

    def __post_init__(self) -> None:
        if self.beta is not None and not 0 < self.beta < math.inf:
            raise ConfigError(
                f"expected beta to be positive and finite, got {self.beta}; leave it None for an "
                "oracle that is perfectly rational."
            )
        if not 0 < self.gamma <= 1:
            raise ConfigError(f"gamma must be in (0, 1], got {self.gamma}.")
        if not 0 <= self.eps_mistake <= 1:
            raise ConfigError(f"eps_mistake is a probability, got {self.eps_mistake}.")
        if not (0 <= self.eps_skip < math.inf and 0 <= self.eps_equal < math.inf):
            raise ConfigError(
                "expected eps_skip and eps_equal to be finite and not negative, got "
                f"{self.eps_skip} and {self.eps_equal}."
            )


TEACHERS: dict[str, OracleConfig] = {
    "oracle": OracleConfig(),
    "stoc": OracleConfig(beta=1.0),
    "mistake": OracleConfig(eps_mistake=0.1),
    "skip": OracleConfig(eps_skip=0.1),
    "myopic": OracleConfig(gamma=0.9),
    "equal": OracleConfig(eps_equal=0.1),
}
"""B-Pref's six teachers by name (Lee et al. 2021, section 4.1)."""


class SyntheticOracle:
    """Compares true returns, with B-Pref's errors in B-Pref's order.

    1. SKIP if the larger undiscounted return is at most ``eps_skip`` times the margin.
    2. TIE if the undiscounted returns differ by less than ``eps_equal`` times the margin; this
       overrides what follows.
    3. Myopic returns: step t of H weighs gamma^(H - 1 - t).
    4. The higher one wins, or with ``beta`` a draw with P(left) = sigmoid(beta * difference).
       Without ``beta``, exactly equal returns are a TIE: B-Pref's code would call the left one
       better, which teaches a difference that is not there.
    5. With probability ``eps_mistake`` left and right are exchanged; a TIE stays a TIE.

    The margin is the mean true return of the last ten training episodes times H over
    max_episode_steps. While it is not positive, because no episode has ended or rewards are costs,
    nothing is skipped: B-Pref's code does the same (``reward_model.py``, ``get_label``). (That code
    applies eps twice from the second round on; this is the formula as intended.)

    Args:
        step_rewards: True step rewards of an item, shape (H,).
        config: Its errors.
        seed: Seed of its errors. They depend only on the seed and the two items: asking again, in
            another process or order, gives the same answer.
        mean_segment_return: The margin at the time when an item was cut; needed for eps_skip and
            eps_equal. The margin of a pair is the mean of its two.

    Raises:
        ConfigError: If eps_skip or eps_equal is set without the margin.
    """

    def __init__(
        self,
        step_rewards: Callable[[Item], NDArray[np.floating]],
        *,
        config: OracleConfig,
        seed: int = 0,
        mean_segment_return: Callable[[Item], float] | None = None,
    ) -> None:
        if mean_segment_return is None and (config.eps_skip or config.eps_equal):
            raise ConfigError(
                "eps_skip and eps_equal are shares of a typical segment's return; pass "
                "mean_segment_return, or leave them at 0."
            )
        self._step_rewards = step_rewards
        self._config = config
        self._seed = seed
        self._margin = mean_segment_return or (lambda item: 0.0)

    def compare(self, left: Item, right: Item) -> Answer:
        """Answers from the true returns of the two items.

        Raises:
            NonFiniteError: If a return is not finite.
        """
        config, rng = self._config, self._rng(left, right)
        margin = (self._margin(left) + self._margin(right)) / 2
        skip_below, equal_below = config.eps_skip * margin, config.eps_equal * margin
        rewards_left, rewards_right = self._step_rewards(left), self._step_rewards(right)
        sum_left, sum_right = float(rewards_left.sum()), float(rewards_right.sum())
        if not math.isfinite(sum_left - sum_right):
            raise NonFiniteError(
                f"expected finite true returns, got {sum_left} for {left.id} and {sum_right} for "
                f"{right.id}; look for NaN in the environment's reward."
            )
        if skip_below > 0 and max(sum_left, sum_right) <= skip_below:
            return Answer.SKIP
        if abs(sum_left - sum_right) < equal_below:
            return Answer.TIE
        difference = _myopic(rewards_left, config.gamma) - _myopic(rewards_right, config.gamma)
        if config.beta is None:
            if difference == 0.0:
                return Answer.TIE
            left_wins = difference > 0
        else:
            left_wins = rng.random() < _sigmoid(config.beta * difference)
        answer = Answer.LEFT if left_wins else Answer.RIGHT
        mistaken = config.eps_mistake > 0 and rng.random() < config.eps_mistake
        return answer.mirrored if mistaken else answer

    def _rng(self, left: Item, right: Item) -> np.random.Generator:
        names = hashlib.blake2b(f"{left.id} {right.id}".encode(), digest_size=8).digest()
        return np.random.default_rng([self._seed, int.from_bytes(names)])


def _myopic(rewards: NDArray[np.floating], gamma: float) -> float:
    if gamma == 1.0:
        return float(rewards.sum())
    weights = gamma ** np.arange(len(rewards) - 1, -1, -1)
    return float((weights * rewards).sum())


def _sigmoid(x: float) -> float:
    if x >= 0:
        return 1 / (1 + math.exp(-x))
    return math.exp(x) / (1 + math.exp(x))
