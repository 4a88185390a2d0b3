"""Labeller and reward learner in the agent's own process, for scripts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prefrl.control.items import synthetic_oracle
from prefrl.core.oracle import as_oracle
from prefrl.runtime.labeller import Labeller
from prefrl.runtime.learner import RewardLearner
from prefrl.runtime.partners import Partners, Together

if TYPE_CHECKING:
    from prefrl.control.agent.callback import PreferenceCallback

__all__ = ["partners_in_here"]


def partners_in_here(callback: PreferenceCallback) -> Partners:
    """Makes the partners of a callback whose training begins."""
    config, items = callback.config, callback.items
    learner = RewardLearner(
        callback.net,
        callback.store,
        items,
        config=config.learner,
        seed=callback.seed,
        run=callback.run,
        first=callback.taken.reward,
    )
    if callback.script is not None and callback.script.people is not None:
        both: Together = callback.script.with_people(callback, learner)
    else:
        oracle = (
            synthetic_oracle(items, config.teacher, seed=callback.seed)
            if callback.oracle is None
            else as_oracle(callback.oracle, true_rewards=items.true_rewards)
        )
        both = Together(
            Labeller(callback.store, items, oracle),
            learner,
            callback.questioner,
            callback.samples,
            keeps_samples=callback.script is not None,
        )
    both.begin()
    return both
