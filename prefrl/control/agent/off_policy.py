"""The off-policy side of an agent: its iteration, how rewards reach it, and its state."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping
from typing import Any, cast

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.noise import VectorizedActionNoise
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.type_aliases import TrainFreq
from torch import nn

from prefrl.control.agent.novelty import BufferNovelty
from prefrl.control.agent.replay_buffer import relabelled
from prefrl.control.environments.hide_reward import HideReward
from prefrl.control.environments.rollout import Rollout
from prefrl.control.environments.spaces import encode_actions, layout_of
from prefrl.control.off_policy import OffPolicyConfig
from prefrl.control.preferences import StepReward
from prefrl.errors import ConfigError
from prefrl.runtime.partners import UsedReward

__all__ = ["ReplayLoop", "ReplayRewards", "stretch_of"]

_Critic = tuple[nn.Module, nn.Module | None, torch.optim.Optimizer, Callable[[], nn.Module]]

_STEPS = 1000  # of all environments: an iteration's length, between asking, scoring and checks


def stretch_of(segment_length: int, n_envs: int) -> int:
    """Returns the steps per environment of a stretch, the off-policy substitute of a rollout."""
    return max(segment_length, math.ceil(_STEPS / n_envs))


class ReplayLoop:
    """The loop of ``OffPolicyAlgorithm.learn``, about a thousand steps at a time.

    Args:
        model: An off-policy algorithm.
        is_between: Returns whether a checkpoint would miss nothing, because the callback has taken
            all that was recorded.
    """

    def __init__(self, model: OffPolicyAlgorithm, is_between: Callable[[], bool]) -> None:
        self._model = model
        self._is_between = is_between

    def iterate(self, callback: BaseCallback, n_iterations: int) -> bool:
        """Alternates acting and learning; returns False if a callback ended it early."""
        model = self._model
        began = model.num_timesteps
        while model.num_timesteps < model._total_timesteps:
            assert model.env is not None
            assert model.replay_buffer is not None
            rollout = model.collect_rollouts(
                model.env,
                callback,
                cast(TrainFreq, model.train_freq),  # set up by _setup_learn
                model.replay_buffer,
                action_noise=model.action_noise,
                learning_starts=model.learning_starts,
                log_interval=4,
            )
            if not rollout.continue_training:
                return False
            if model.num_timesteps > model.learning_starts:
                n_steps = model.gradient_steps
                n_steps = n_steps if n_steps >= 0 else rollout.episode_timesteps
                if n_steps > 0:
                    model.train(batch_size=model.batch_size, gradient_steps=n_steps)
            if model.num_timesteps >= began + _STEPS and self._is_between():
                break
        return True

    def state_dict(self) -> dict[str, Any]:
        """The state besides nets, optimisers and counters; the buffer is saved separately."""
        return {"action_noise": [noise.noise_prev for noise in self._remembering_noises()]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores a state, once the model is set up to learn."""
        for noise, previous in zip(self._remembering_noises(), state["action_noise"], strict=True):
            noise.noise_prev = previous

    def _remembering_noises(self) -> list[Any]:
        noise = self._model.action_noise
        noises = noise.noises if isinstance(noise, VectorizedActionNoise) else [noise]
        return [one for one in noises if hasattr(one, "noise_prev")]

    def describe(self) -> dict[str, int]:
        """Counts the non-finite numbers in its training data, by name."""
        buffer = self._model.replay_buffer
        assert buffer is not None
        n = buffer.size()
        parts: dict[str, Any] = {"actions": buffer.actions[:n]}
        seen: Any = buffer.observations
        parts |= seen if isinstance(seen, dict) else {"observations": seen}
        return {name: int((~np.isfinite(part[:n])).sum()) for name, part in parts.items()}


class ReplayRewards:
    """Gives an off-policy agent the learned reward whenever it draws a batch.

    A step's reward has a standard deviation of 1 over recent data and is not scaled further: the
    value loss of off-policy agents is not clipped together with the policy's gradient, and these
    agents get true rewards unscaled, too. Before the first fit there is no reward: the agent acts
    at random without learning, or explores.

    Args:
        model: The agent.
        venv: The environments that it acts in, with hidden rewards.
        net: The reward model, into which newer weights are loaded.
        config: Settings.
        segment_length: Steps per segment.

    Raises:
        ConfigError: If its replay buffer cannot be relabelled, or the settings do not suit the
            agent.
        UnsupportedSpaceError: If the reward depends on more pictures than the agent sees, or the
            settings do not allow pictures.
    """

    def __init__(
        self,
        model: OffPolicyAlgorithm,
        venv: HideReward,
        net: StepReward,
        config: OffPolicyConfig,
        *,
        segment_length: int,
    ) -> None:
        self._model, self._venv, self._net, self._config = model, venv, net, config
        self._layout = layout_of(venv.observation_space)
        self.n_steps = stretch_of(segment_length, venv.num_envs)
        """Steps of each environment in a stretch."""
        self._buffer = relabelled(model.replay_buffer, type(model).__name__)
        model.replay_buffer = self._buffer
        self._buffer.newest_share = config.newest_share
        self._buffer.n_newest = max(1, config.newest_steps // venv.num_envs)
        self._starts = int(model.learning_starts)
        if self._layout.picture is not None:
            nowhere = np.zeros(1, int), np.zeros(1, int)
            seen = self._buffer.stored(self._buffer.observations, nowhere)
            self._layout.unstacked(seen, net.n_before + 1)  # so that it raises now, if at all
        self._novelty = BufferNovelty(self._buffer, self._layout) if config.explore_steps else None
        self._critic = _critic_of(model) if config.reset_critic else None
        self._version = 0
        self._take_reward()

    def start(self, used: UsedReward) -> None:
        """Called when the training, or another part of it, begins, with the reward in the net."""
        self._version = 0 if used.tells_nothing else used.version
        self._take_reward()

    def is_due(self, n_recorded: int) -> bool:
        """Whether a stretch is complete, by the steps per environment since the last one."""
        return n_recorded >= self.n_steps

    def before_update(self, rollout: Rollout) -> None:
        """Called before the partners are asked for a newer reward."""

    def deliver(
        self,
        rollout: Rollout,
        reward: NDArray[np.float32],
        used: UsedReward,
        told: Mapping[str, Any],
    ) -> None:
        """Called at the end of a stretch; takes up a new reward.

        Args:
            rollout: Record of the stretch.
            reward: Learned rewards of its steps, shape (T, N).
            used: The reward in the net.
            told: Local variables of the algorithm's loop, as callbacks get them.
        """
        explores = self._explores
        is_new = not (explores or used.tells_nothing) and used.version > self._version
        if not explores:  # a reward fitted during exploration counts as new at its end
            self._version = 0 if used.tells_nothing else used.version
        self._take_reward()
        if not is_new:
            return
        if self._critic is not None:
            _begin_anew(*self._critic)
        if self._config.updates_after_fit and self._model.num_timesteps > self._starts:
            self._model.train(self._config.updates_after_fit, self._model.batch_size)

    def _take_reward(self) -> None:
        """Sets the source of rewards, and prevents gradient steps while there is none."""
        explores = self._explores
        if explores and self._novelty is not None:
            self._buffer.rewards_of = self._novelty.rewards
        else:
            self._buffer.rewards_of = self.rewards
        waits = not (explores or self._version)
        self._model.learning_starts = sys.maxsize if waits else self._starts

    @property
    def _explores(self) -> bool:
        """Whether the agent is still rewarded for new states."""
        return self._model.num_timesteps < self._config.explore_steps

    def rewards(
        self,
        observations: Any,
        actions: NDArray[Any],
        next_observations: Any,
        ended: NDArray[np.bool_],
    ) -> NDArray[np.float32]:
        """Returns the learned rewards of stored transitions, in one pass.

        Args:
            observations: Observations as in the buffer, shape (B, ...), or a dict of them, with
                stacked pictures.
            actions: Actions as in the buffer, shape (B, A), with Box actions in [-1, 1].
            next_observations: Observations after the actions, like ``observations``.
            ended: Whether the environment ended the episode with the step, shape (B,).

        Returns:
            Rewards, shape (B,).
        """
        space = self._venv.action_space
        done = actions.reshape(len(actions), *(space.shape or ()))
        if isinstance(space, spaces.Box):
            done = np.asarray(self._model.policy.unscale_action(done))
        batch = Rollout(
            observations=self._layout.numbers(observations)[None],
            actions=encode_actions(done, space)[None],
            true_rewards=np.zeros((1, len(actions))),
            dones=np.zeros((1, len(actions)), np.bool_),
            states=None,
            frames=self._layout.unstacked(observations, self._net.n_before + 1),
            next_observations=self._layout.numbers(next_observations)[None],
            ended=ended[None],
        )
        reward, _ = self._net.predict(batch)  # (1, B)
        return np.asarray(reward[0])

    def forget(self, env: int) -> None:
        """Called when an environment's episode was cut off; does nothing here."""

    def finish(self) -> None:
        """Called at the end of training: restores the agent's original settings."""
        self._model.learning_starts = self._starts

    def state_dict(self) -> dict[str, Any]:
        """The state for a checkpoint."""
        novelty = None if self._novelty is None else self._novelty.state_dict()
        return {"version": self._version, "starts": self._starts, "novelty": novelty}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores a state."""
        self._version, self._starts = state["version"], state["starts"]
        if self._novelty is not None:
            self._novelty.load_state_dict(state["novelty"])
        self._take_reward()


def _critic_of(model: OffPolicyAlgorithm) -> _Critic:
    """Returns the critic, its target and optimiser, and a function that makes a new critic.

    Raises:
        ConfigError: If the model has no critic that is a torch module.
    """
    for name in ("critic", "q_net", "quantile_net"):
        found = getattr(model, name, None)
        if isinstance(found, nn.Module):
            # DQN has only this net, whose optimiser belongs to the policy.
            owner: Any = found if hasattr(found, "optimizer") else model.policy
            make = getattr(model.policy, f"make_{name}")
            return found, getattr(model, f"{name}_target", None), owner.optimizer, make
    raise ConfigError(
        f"expected an algorithm with a critic of torch for reset_critic, got {type(model).__name__}"
        "; leave reset_critic out."
    )


@torch.no_grad()
def _begin_anew(
    critic: nn.Module,
    target: nn.Module | None,
    optimizer: torch.optim.Optimizer,
    make: Callable[[], nn.Module],
) -> None:
    """Reinitialises the critic, its target and the optimiser's state."""
    critic.load_state_dict(make().state_dict())
    if target is not None:
        target.load_state_dict(critic.state_dict())
    optimizer.state.clear()
