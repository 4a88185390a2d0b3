"""From a config to a Stable-Baselines3 agent: all that is particular to SB3 lives here."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3 import A2C, PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.type_aliases import Schedule
from stable_baselines3.common.vec_env import VecEnv, VecNormalize, VecTransposeImage
from torch import nn

from prefrl.control.agent.mixed_cnn import MixedNatureCNN
from prefrl.control.agent.small_pictures import SmallCNN, SmallCombined, is_small
from prefrl.control.agent.state import (
    agent_state,
    observation_statistics,
    restore_agent,
    restore_random_state,
)
from prefrl.control.environments.frames import stack_frames
from prefrl.control.environments.hide_reward import HideReward
from prefrl.control.environments.limits import Limits
from prefrl.control.environments.making import make_environments
from prefrl.control.environments.spaces import Layout, layout_of
from prefrl.errors import ConfigError, RunDirectoryError
from prefrl.runtime.rundir import RunDirectory

__all__ = ["Agent", "AgentConfig", "Algo"]

Algo = Literal["ppo", "a2c"]


@dataclass(frozen=True)
class AgentConfig:
    """The agent. None takes the algorithm's own default here."""

    n_envs: int = 8
    """Environments side by side."""
    n_steps: int | None = None
    """Steps of each environment per rollout (PPO 512, A2C 16)."""
    batch_size: int = 256
    """Transitions per gradient step (PPO)."""
    n_epochs: int = 10
    """Passes over each rollout (PPO)."""
    learning_rate: float | None = None
    """Of the optimiser (PPO 3e-4, A2C 7e-4)."""
    gamma: float = 0.98
    """Discount."""
    gae_lambda: float = 0.92
    """Of generalised advantage estimation."""
    clip_range: float = 0.2
    """Of PPO's ratio."""
    ent_coef: float = 0.0
    """Weight of the entropy bonus."""
    hidden: tuple[int, ...] | None = None
    """Units of each hidden layer, for the policy and for the value function; by default 256 twice,
    and none behind the convolutions that pictures go through first."""
    log_std_init: float = -1.0
    """Logarithm of the standard deviation of continuous actions at the start."""
    normalize_observations: bool = True
    """Standardise what the policy sees, by running statistics; pictures are left as they are."""
    frame_stack: int = 4
    """Newest pictures that the policy sees, where observations have pictures."""
    mixed_precision: bool = True
    """Compute the policy's convolutions in bfloat16 where the processor has instructions for it."""
    linear_decay: bool = False
    """Let learning rate and clip range fall to zero over the training."""

    def __post_init__(self) -> None:
        counts = {
            "n_envs": self.n_envs,
            "n_steps": self.n_steps,
            "n_epochs": self.n_epochs,
            "frame_stack": self.frame_stack,
        }
        for name, value in counts.items():
            if value is not None and value < 1:
                raise ConfigError(f"{name} must be at least 1, got {value}.")
        if self.batch_size < 2:
            raise ConfigError(f"batch_size must be at least 2, got {self.batch_size}.")
        if not (0 < self.gamma <= 1 and 0 <= self.gae_lambda <= 1):
            raise ConfigError(
                "expected 0 < gamma <= 1 and 0 <= gae_lambda <= 1, got "
                f"{self.gamma} and {self.gae_lambda}."
            )

    def steps_per_rollout(self, algo: Algo) -> int:
        """Steps of each environment per rollout."""
        return self.n_steps or {"ppo": 512, "a2c": 16}[algo]


class Agent:
    """A Stable-Baselines3 algorithm with its environments and its view of observations.

    Args:
        env_id: A Gymnasium id.
        algo: Which algorithm.
        config: Settings.
        seed: Of the environments and the algorithm.
        hide_reward: Whether the agent's reward is hidden; False trains on the true reward.
        device: Where the policy is computed.
        limits: Where its episodes are cut early.
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
    ) -> None:
        self.environments: VecEnv = make_environments(
            env_id, n_envs=config.n_envs, seed=seed, limits=limits
        )
        if hide_reward:
            self.environments = HideReward(self.environments)
        self.stacked = stack_frames(self.environments, config.frame_stack)
        """What stacks pictures; None where there are none."""
        layout = layout_of(self.environments.observation_space)
        keys = _number_keys(layout, self.environments.observation_space)
        # A true reward is brought to unit variance, as the learned one is.
        self.normalizer = VecNormalize(
            self.stacked or self.environments,
            norm_obs=config.normalize_observations and keys != [],
            norm_obs_keys=keys,
            norm_reward=not hide_reward,
            gamma=config.gamma,
        )
        venv: VecEnv = self.normalizer
        if self.stacked is not None:
            # Channels come first already. Stable-Baselines3 takes for them what is smallest.
            venv = VecTransposeImage(venv, skip=True)
        self.model: OnPolicyAlgorithm = _algorithm(
            algo, config, venv, layout=layout, seed=seed, device=device
        )
        self.frame_stack = config.frame_stack
        self.seed = seed
        self.n_iterations = 0
        """Rollouts with their updates so far."""
        self._callback: BaseCallback | None = None
        self._resumed: Mapping[str, Any] | None = None

    def start(self, total_steps: int, callbacks: Sequence[BaseCallback]) -> None:
        """Prepares for ``iterate``: what ``model.learn`` does before its loop.

        Args:
            total_steps: Environment steps of the whole training, those before a resume included.
            callbacks: As for ``model.learn``.
        """
        resumed = self._resumed is not None
        left = total_steps - self.model.num_timesteps if resumed else total_steps
        _, self._callback = self.model._setup_learn(
            left, list(callbacks), reset_num_timesteps=not resumed
        )
        self._callback.on_training_start({"total_timesteps": total_steps}, {})
        if self._resumed is not None:
            restore_random_state(self._resumed)

    def iterate(self) -> bool:
        """One rollout and the update that follows, as in the loop of ``model.learn``.

        Returns:
            Whether it came to an update: not when all steps are taken, nor when a callback ended
            the rollout.
        """
        model = self.model
        assert self._callback is not None  # start() was called
        assert model.env is not None
        if model.num_timesteps >= model._total_timesteps:
            return False
        if not model.collect_rollouts(
            model.env, self._callback, model.rollout_buffer, n_rollout_steps=model.n_steps
        ):
            return False
        self.n_iterations += 1
        model._update_current_progress_remaining(model.num_timesteps, model._total_timesteps)
        model.dump_logs(self.n_iterations)
        model.train()
        return True

    def finish(self) -> None:
        """Ends what ``start`` began."""
        assert self._callback is not None  # start() was called
        self._callback.on_training_end()

    def state_dict(self) -> dict[str, Any]:
        """All that it takes to go on bit for bit, as a copy; between two iterations."""
        return agent_state(self)

    def load_state_dict(self, state: Mapping[str, Any]) -> list[str]:
        """Brings a new agent to a state; call it before ``start``.

        Args:
            state: What ``state_dict`` gave, of an agent with the same settings.

        Returns:
            Why what follows is not bit for bit what it would have been; empty where it is.

        Raises:
            RunDirectoryError: If the state is that of an agent with other settings.
        """
        notes = restore_agent(self, state)
        self._resumed = state["random"]
        return notes

    def act(self, observations: Any, *, deterministic: bool = True) -> NDArray[Any]:
        """Actions for a batch of observations, not normalised, pictures stacked."""
        seen = self.normalizer.normalize_obs(observations)
        actions, _ = self.model.predict(seen, deterministic=deterministic)
        return actions

    def save(self, run: RunDirectory) -> None:
        """Writes ``policy.zip`` and the observation statistics, with no pickle of ours."""
        self.model.save(run.policy)
        if self.normalizer.norm_obs:
            arrays = {
                f"{name}.{part}": getattr(statistics, part)
                for name, statistics in observation_statistics(self.normalizer).items()
                for part in ("mean", "var", "count")
            }
            np.savez(run.observation_stats, **arrays)

    def restore(self, run: RunDirectory) -> None:
        """Reads the parameters and statistics of a finished run.

        Raises:
            RunDirectoryError: If they are missing or do not fit.
        """
        try:
            # Tensors only: the pickled rest of the zip is not read.
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
    """Which parts of an observation are standardised: numbers, but no pictures.

    None for all of it, where it is no dict.
    """
    if isinstance(space, spaces.Dict):
        return [key for key in space.spaces if key != layout.picture_key]
    return None if layout.picture is None else []


def _algorithm(
    algo: Algo, config: AgentConfig, venv: VecEnv, *, layout: Layout, seed: int, device: str
) -> OnPolicyAlgorithm:
    common: dict[str, Any] = {
        "n_steps": config.steps_per_rollout(algo),
        "gamma": config.gamma,
        "gae_lambda": config.gae_lambda,
        "ent_coef": config.ent_coef,
        "policy_kwargs": _policy_kwargs(config, layout),
        "seed": seed,
        "device": device,
    }

    def over_time(value: float) -> float | Schedule:
        return (lambda left: value * left) if config.linear_decay else value

    policy = "MlpPolicy" if layout.picture is None else "CnnPolicy"
    if isinstance(venv.observation_space, spaces.Dict):
        policy = "MultiInputPolicy"
    if algo == "a2c":
        rate = over_time(config.learning_rate or 7e-4)
        return A2C(policy, venv, learning_rate=rate, **common)
    n_transitions = common["n_steps"] * config.n_envs
    if n_transitions % config.batch_size == 1:
        raise ConfigError(
            f"a rollout of {n_transitions} transitions in batches of {config.batch_size} ends in a "
            "batch of one; choose a batch_size that divides it."
        )
    return PPO(
        policy,
        venv,
        learning_rate=over_time(config.learning_rate or 3e-4),
        batch_size=min(config.batch_size, n_transitions),
        n_epochs=config.n_epochs,
        clip_range=over_time(config.clip_range),
        **common,
    )


def _policy_kwargs(config: AgentConfig, layout: Layout) -> dict[str, Any]:
    default = (256, 256) if layout.picture is None else ()
    hidden = list(default if config.hidden is None else config.hidden)
    kwargs: dict[str, Any] = {
        "net_arch": {"pi": hidden, "vf": hidden},
        "activation_fn": nn.ReLU,
        "log_std_init": config.log_std_init,
    }
    if layout.picture is None:
        return kwargs
    in_dict = layout.picture_key is not None
    if is_small(layout.picture[1:]):
        kwargs["features_extractor_class"] = SmallCombined if in_dict else SmallCNN
        if in_dict:
            kwargs["features_extractor_kwargs"] = {"picture_key": layout.picture_key}
    elif config.mixed_precision and not in_dict:
        kwargs["features_extractor_class"] = MixedNatureCNN
    return kwargs
