"""A Stable-Baselines3 algorithm with its environments: makes, runs, saves and restores them."""

from __future__ import annotations

import copy
import zipfile
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.save_util import recursive_getattr
from stable_baselines3.common.vec_env import VecEnv, VecNormalize, VecTransposeImage

from prefrl.control.agent.algorithms import ALGORITHMS, Algo, check_algorithm
from prefrl.control.agent.building import build_algorithm
from prefrl.control.agent.config import AgentConfig
from prefrl.control.agent.off_policy import ReplayLoop
from prefrl.control.agent.on_policy import RolloutLoop
from prefrl.control.agent.replay_buffer import RelabelledReplayBuffer
from prefrl.control.agent.settings import resolve
from prefrl.control.agent.state import (
    agent_state,
    observation_statistics,
    restore_agent,
    restore_policy,
    restore_random_state,
    save_policy,
)
from prefrl.control.environments.hide_reward import HideReward
from prefrl.control.environments.limits import Limits
from prefrl.control.environments.making import make_environments
from prefrl.control.environments.source import EnvConfig
from prefrl.control.environments.spaces import Layout, layout_of
from prefrl.control.environments.stacking import stack_frames
from prefrl.errors import RunDirectoryError
from prefrl.runtime.rundir import RunDirectory

__all__ = ["Agent", "AgentConfig", "Algo"]


class Agent:
    """A Stable-Baselines3 algorithm with its environments and the wrappers of their observations.

    Args:
        env_id: A Gymnasium id.
        algo: Name of the algorithm.
        config: Settings; those left open are filled in.
        seed: Seed of the environments and the algorithm.
        hide_reward: Whether the agent's reward is hidden; False trains on the true reward.
        device: Device of the policy.
        limits: Limits that cut its episodes early.
        env: Arguments and wrappers of the environments.
    """

    def __init__(
        self,
        env_id: str,
        algo: Algo,
        config: AgentConfig,
        *,
        seed: int,
        hide_reward: bool = True,
        device: str = "cpu",
        limits: Limits | None = None,
        env: EnvConfig | None = None,
    ) -> None:
        config = resolve(env_id, algo, config, env=env).config
        n_envs, gamma, frame_stack = config.n_envs, config.gamma, config.frame_stack
        assert n_envs is not None
        assert gamma is not None
        assert frame_stack is not None
        self.environments: VecEnv = make_environments(
            env_id, n_envs=n_envs, seed=seed, limits=limits, env=env
        )
        spaces_of = self.environments.observation_space, self.environments.action_space
        check_algorithm(algo, env_id, *spaces_of)
        if hide_reward:
            self.environments = HideReward(self.environments)
        self.stacked = stack_frames(self.environments, frame_stack)
        """The wrapper that stacks pictures; None without pictures."""
        layout = layout_of(self.environments.observation_space)
        keys = _number_keys(layout, self.environments.observation_space)
        # For on-policy agents a true reward is scaled to unit variance of its return, like the
        # learned one; off-policy agents get it unchanged.
        self.normalizer = VecNormalize(
            self.stacked or self.environments,
            norm_obs=bool(config.normalize_observations) and keys != [],
            norm_obs_keys=keys,
            norm_reward=not hide_reward and ALGORITHMS[algo].on_policy,
            gamma=gamma,
        )
        venv: VecEnv = self.normalizer
        if self.stacked is not None:
            # Channels already come first; Stable-Baselines3 would take the smallest axis for them.
            venv = VecTransposeImage(venv, skip=True)
        relabels = hide_reward and not ALGORITHMS[algo].on_policy
        options = {"replay_buffer_class": RelabelledReplayBuffer} if relabels else {}
        self.model = build_algorithm(
            algo, config, venv, layout=layout, seed=seed, device=device, options=options
        )
        self._loop = self._loop_of(self.model)
        self.frame_stack = frame_stack
        self.seed = seed
        self.n_iterations = 0
        """Number of completed iterations, each with its update."""
        self._memory: tuple[NDArray[Any], ...] | None = None
        self._callback: BaseCallback | None = None
        self._resumed: Mapping[str, Any] | None = None

    def _loop_of(self, model: BaseAlgorithm) -> RolloutLoop | ReplayLoop:
        if isinstance(model, OnPolicyAlgorithm):
            return RolloutLoop(model)
        assert isinstance(model, OffPolicyAlgorithm)  # there are no others among ALGORITHMS
        hidden = self.environments if isinstance(self.environments, HideReward) else None
        return ReplayLoop(model, lambda: hidden is None or hidden.n_recorded == 0)

    def start(self, total_steps: int, callbacks: Sequence[BaseCallback]) -> None:
        """Prepares for ``iterate``, as ``model.learn`` does before its loop.

        Args:
            total_steps: Environment steps of the whole training, including those before a resume.
            callbacks: As for ``model.learn``.
        """
        resumed = self._resumed is not None
        left = total_steps - self.model.num_timesteps if resumed else total_steps
        _, self._callback = self.model._setup_learn(
            left, list(callbacks), reset_num_timesteps=not resumed
        )
        self._callback.on_training_start({"total_timesteps": total_steps}, {})
        if self._resumed is not None:
            self._loop.load_state_dict(self._resumed["loop"])
            restore_random_state(self._resumed["random"])

    def iterate(self) -> bool:
        """Acts and learns for one iteration of the loop of ``model.learn``.

        For on-policy agents that is one rollout and its update, for off-policy agents about a
        thousand steps.

        Returns:
            Whether it completed the iteration: False if all steps have been taken, or a callback
            ended the rollout.
        """
        assert self._callback is not None  # start() was called
        if self.model.num_timesteps >= self.model._total_timesteps:
            return False
        if not self._loop.iterate(self._callback, self.n_iterations):
            return False
        self.n_iterations += 1
        return True

    @property
    def replay_buffer(self) -> RelabelledReplayBuffer | None:
        """Replay buffer of an off-policy agent whose reward is hidden; else None."""
        buffer = getattr(self.model, "replay_buffer", None)
        return buffer if isinstance(buffer, RelabelledReplayBuffer) else None

    def optimizers(self) -> list[torch.optim.Optimizer]:
        """Returns all optimisers of the agent."""
        names, _ = self.model._get_torch_save_params()
        parts = [recursive_getattr(self.model, name) for name in names]
        return [part for part in parts if isinstance(part, torch.optim.Optimizer)]

    def not_finite(self) -> dict[str, int]:
        """Counts the non-finite numbers in its training data, by name."""
        return self._loop.describe()

    def finish(self) -> None:
        """Tells the callbacks that the training has ended."""
        assert self._callback is not None  # start() was called
        self._callback.on_training_end()

    def state_dict(self) -> dict[str, Any]:
        """Copies all state needed to continue bit for bit; call it between two iterations.

        The content of ``replay_buffer`` is not included; ``ReplayFiles`` saves it.
        """
        return {**agent_state(self), "loop": copy.deepcopy(self._loop.state_dict())}

    def load_state_dict(self, state: Mapping[str, Any]) -> list[str]:
        """Restores a state into a new agent; call it before ``start``.

        Args:
            state: State of an agent with the same settings, from ``state_dict``.

        Returns:
            Reasons why the continuation is not exact bit for bit; empty if it is.

        Raises:
            RunDirectoryError: If the state is that of an agent with other settings.
        """
        notes = restore_agent(self, state)
        self._resumed = {"random": state["random"], "loop": copy.deepcopy(state["loop"])}
        return notes

    def restore_policy(self, state: Mapping[str, Any]) -> None:
        """Restores only the policy, for acting; training cannot continue from it.

        Args:
            state: State of an agent with the same settings, from ``state_dict``.

        Raises:
            RunDirectoryError: If the state is that of an agent with other settings.
        """
        restore_policy(self, state)

    def act(
        self,
        observations: Any,
        *,
        deterministic: bool = True,
        begins: NDArray[np.bool_] | None = None,
    ) -> NDArray[Any]:
        """Returns actions for a batch of observations.

        Args:
            observations: Observations that are not normalised, with stacked pictures.
            deterministic: Whether to take the most likely actions.
            begins: Whether an episode begins with the observation, shape (B,), which resets the
                state of an LSTM. None means that all begin.
        """
        seen = self.normalizer.normalize_obs(observations)
        if begins is None or begins.all():
            self._memory = None
        actions, self._memory = self.model.predict(
            seen, state=self._memory, episode_start=begins, deterministic=deterministic
        )
        return actions

    def save(self, run: RunDirectory) -> None:
        """Writes ``policy.zip`` and the observation statistics, without pickles of our own."""
        save_policy(self.model, self.normalizer, run)

    def restore(self, run: RunDirectory) -> None:
        """Reads the parameters and statistics of a finished run.

        Raises:
            RunDirectoryError: If they are missing or do not fit.
        """
        try:
            run.policy.stat()  # otherwise Stable-Baselines3 complains of a missing policy.zip.zip
            # Reads only tensors, and not the pickled rest of the zip.
            self.model.set_parameters(str(run.policy), device=self.model.device)
            if self.normalizer.norm_obs:
                with np.load(run.observation_stats, allow_pickle=False) as arrays:
                    for name, stats in observation_statistics(self.normalizer).items():
                        stats.mean, stats.var = arrays[f"{name}.mean"], arrays[f"{name}.var"]
                        stats.count = float(arrays[f"{name}.count"])
        except (OSError, ValueError, KeyError, RuntimeError, zipfile.BadZipFile) as error:
            raise RunDirectoryError(
                f"expected a saved policy in {run.root} that fits its config, but {error}; only a "
                "run that trained to its end has one."
            ) from error

    def close(self) -> None:
        """Closes the environments."""
        self.normalizer.close()


def _number_keys(layout: Layout, space: spaces.Space[Any]) -> list[str] | None:
    """Returns the parts of a dict observation to standardise: all but its picture.

    For other observations it is None, which means all, or empty for a picture.
    """
    if isinstance(space, spaces.Dict):
        return [key for key in space.spaces if key != layout.picture_key]
    return None if layout.picture is None else []
