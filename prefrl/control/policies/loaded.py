"""The trained agent of a run, for use or for further training."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.vec_env import VecEnv, VecNormalize

from prefrl.control.agent.agent import Agent
from prefrl.control.config import check_spaces_of_run, config_from_json, device_here
from prefrl.control.environments.making import check_environment
from prefrl.control.policies.kept import check_nets_of_run
from prefrl.errors import RunDirectoryError
from prefrl.runtime.rundir import RunDirectory

__all__ = ["Policy", "load_policy"]


class Policy:
    """A trained agent, for acting, with its Stable-Baselines3 model and ``VecNormalize``.

    ::

        policy = prefrl.load_policy("runs/quickstart")
        action, _ = policy.predict(observation)               # as the environment gives it
        evaluate_policy(policy, policy.get_env())             # the one of Stable-Baselines3
        evaluate_policy(policy.model, policy.venv)            # the same, by its model
        policy.model.learn(100_000)                           # continues on the true reward

    Args:
        agent: An agent with loaded parameters.
    """

    def __init__(self, agent: Agent) -> None:
        self._agent = agent
        self.model: BaseAlgorithm = agent.model
        """The Stable-Baselines3 model, which reads observations that ``venv`` has normalised."""
        self.venv: VecNormalize = agent.normalizer
        """Environments with the training's observation statistics, which do not change any more.
        Rewards are the environment's own."""
        self.venv.training = False
        self.venv.norm_reward = False

    def predict(
        self,
        observation: Any,
        state: tuple[NDArray[Any], ...] | None = None,
        episode_start: NDArray[np.bool_] | None = None,
        deterministic: bool = True,
    ) -> tuple[NDArray[Any], tuple[NDArray[Any], ...] | None]:
        """Returns actions like ``model.predict``, but for observations that are not normalised.

        Args:
            observation: One observation or a batch, as the environment gives them, with pictures
                stacked as in training.
            state: State of a recurrent policy.
            episode_start: Whether an episode begins with the observation, shape (B,).
            deterministic: Whether to take the most likely actions.

        Returns:
            The actions, and the new state of a recurrent policy.
        """
        seen = self.venv.normalize_obs(observation)
        return self.model.predict(seen, state, episode_start, deterministic)

    def get_env(self) -> VecEnv:
        """Returns the environments for ``predict``: not normalised, with stacked pictures."""
        return self.venv.venv

    def close(self) -> None:
        """Closes the environments."""
        self._agent.close()


def load_policy(run: RunDirectory | str | os.PathLike[str]) -> Policy:
    """Loads the trained agent of a finished run.

    No pickle is read: tensors come from ``policy.zip``, the observation statistics from
    ``observation_stats.npz``, and everything else from ``config.json``.

    Args:
        run: The run's directory.

    Raises:
        RunDirectoryError: If there is no such run, or it has no policy yet.
        ConfigError: If its environment cannot be made, or has changed.
    """
    if not isinstance(run, RunDirectory):
        run = RunDirectory.open(Path(run))
    told = run.read_json(run.config)
    if "env_id" not in told:
        raise RunDirectoryError(
            f"expected a run of an agent in an environment, got {run.root}, which is of a language "
            "model; load its model/ folder with transformers."
        )
    config = config_from_json(told)
    check_environment(config.env_id, config.env)
    check_spaces_of_run(config, run)
    check_nets_of_run(run)
    agent = Agent(
        config.env_id,
        config.algo,
        config.agent,
        seed=config.seed,
        hide_reward=False,
        device=device_here(config),
        env=config.env,
    )
    try:
        agent.restore(run)
    except RunDirectoryError:
        agent.close()
        raise
    return Policy(agent)
