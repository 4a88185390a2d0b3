"""Undoes updates that result in NaN: the policy continues from its last finite parameters."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable
from typing import Any

import torch
from stable_baselines3.common.base_class import BaseAlgorithm

from prefrl.control.agent.state import learner_state, restore_learner
from prefrl.errors import NonFiniteError
from prefrl.runtime.rundir import RunDirectory

__all__ = ["Rollback"]

_log = logging.getLogger(__name__)
_MOST_FAILURES = 3


class Rollback:
    """Checks the policy after updates, as any NaN in a loss or gradient reaches its parameters.

    Args:
        model: The model whose nets and optimisers are checked.
        run: The run directory, for a dump if the training has to stop.
        not_finite: Counts the non-finite numbers in the model's training data, by name.
    """

    def __init__(
        self, model: BaseAlgorithm, run: RunDirectory, not_finite: Callable[[], dict[str, int]]
    ) -> None:
        self._model = model
        self._run = run
        self._not_finite = not_finite
        self._good = self._state()
        self._n_failures = 0

    def check(self) -> bool:
        """Keeps the updates if all parameters are finite; otherwise undoes them.

        Returns:
            Whether they were kept.

        Raises:
            NonFiniteError: At the third failure in a row; ``dump-agent.json`` says what was not
                finite.
        """
        model = self._model
        tensors = {**model.policy.state_dict(), **learner_state(model)["variables"]}
        broken = [name for name, t in tensors.items() if not bool(torch.isfinite(t).all())]
        if not broken:
            self._good, self._n_failures = self._state(), 0
            return True
        restore_learner(model, copy.deepcopy(self._good))
        self._n_failures += 1
        where = self._describe(broken)
        _log.warning("an update gave numbers that are not finite; it is taken back: %s", where)
        if self._n_failures == _MOST_FAILURES:
            dump = self._run.dump("agent")
            self._run.write_json(dump, where)
            raise NonFiniteError(
                f"expected finite numbers from the policy's update, but {_MOST_FAILURES} times in "
                f"a row {broken[0]} was not, at step {model.num_timesteps:,}; {dump} says what was "
                "not finite before it. Lower agent.learning_rate, or look at the "
                "environment's observations."
            )
        return False

    def _state(self) -> dict[str, Any]:
        return copy.deepcopy(learner_state(self._model))

    def _describe(self, broken: list[str]) -> dict[str, Any]:
        counts = self._not_finite()
        return {
            "role": "agent",
            "env_steps": self._model.num_timesteps,
            "failures_in_a_row": self._n_failures,
            "parameters": broken,
            "not_finite_in_the_data": {name: n for name, n in counts.items() if n},
        }
