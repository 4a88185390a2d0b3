"""Evaluations of the agent on the true reward during training, from which it learns nothing."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping

from prefrl.control.agent.agent import Agent
from prefrl.control.agent.state import random_state, restore_random_state
from prefrl.control.config import TrainConfig
from prefrl.control.policies.evaluate import evaluate_as_configured
from prefrl.control.policies.kept import keep_policy
from prefrl.runtime.rundir import RunDirectory
from prefrl.runtime.rundir.tables import CsvTable

__all__ = ["Evaluations"]

_log = logging.getLogger(__name__)
_SEED = 2_000_003  # for other episodes than in the training and in the final evaluation


class Evaluations:
    """Evaluates the agent at regular steps, over whole episodes in separate environments.

    Each evaluation is a row of ``evaluations.csv``, and its policy is kept. The training is the
    same with and without them, as they do not change its random states.

    Args:
        config: Config of the training, with the interval and number of episodes.
        run: Run directory that receives rows and policies.
        go_on: Called at each step of an evaluation; False ends it without a result.
    """

    def __init__(
        self, config: TrainConfig, run: RunDirectory, *, go_on: Callable[[], bool]
    ) -> None:
        self._config, self._run, self._go_on = config, run, go_on
        self._n_rows, self._next = 0, config.evaluate_every
        self._table: CsvTable | None = None

    def step(self, agent: Agent) -> None:
        """Evaluates the agent if an evaluation is due; call it between two of its iterations."""
        steps, every = agent.model.num_timesteps, self._config.evaluate_every
        if every is None or self._next is None or steps < self._next:
            return
        started, random = time.monotonic(), random_state()
        config = self._config
        try:
            found = evaluate_as_configured(agent, config, seed=_SEED, go_on=self._go_on)
        finally:
            restore_random_state(random)
        if not self._go_on():  # it was told to stop; the evaluation is due again after a resume
            return
        self._next = (steps // every + 1) * every
        try:
            keep_policy(self._run, agent, steps)
        except OSError as error:
            _log.warning("the policy of step %d is not kept: %s", steps, error)
        if self._table is None:
            self._table = CsvTable(self._run.evaluations, keep=self._n_rows)
        self._n_rows += 1
        mean, std = float(found.returns.mean()), float(found.returns.std())
        self._table.append(
            {
                "env_steps": steps,
                "return_mean": mean,
                "return_std": std,
                "episodes": len(found.returns),
                "episodes_cut": found.n_cut,
                "seconds": time.monotonic() - started,
            }
        )
        # Under the same names as from Stable-Baselines3's EvalCallback.
        agent.model.logger.record("eval/mean_reward", mean)
        agent.model.logger.record("eval/std_reward", std)

    def state_dict(self) -> dict[str, int | None]:
        """The state for a checkpoint."""
        return {"n_rows": self._n_rows, "next": self._next}

    def load_state_dict(self, state: Mapping[str, int | None]) -> None:
        """Restores a state; later rows of the table will be written again."""
        self._n_rows = state.get("n_rows") or 0
        self._next = state.get("next") or self._next
