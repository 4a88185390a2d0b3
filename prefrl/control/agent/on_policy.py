"""The on-policy side of an agent: its iteration, how rewards reach it, and its state."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm

from prefrl.control.agent.novelty import RolloutNovelty
from prefrl.control.agent.scale import ReturnScale
from prefrl.control.environments.rollout import Rollout
from prefrl.control.exploration import Exploration
from prefrl.control.preferences import PreferenceConfig, StepReward
from prefrl.runtime.partners import UsedReward

__all__ = ["RolloutLoop", "RolloutRewards", "forget_rollout", "last_values_of", "write_rewards"]

_BUFFERS = ("observations", "rewards", "values", "log_probs", "advantages", "returns")


class RolloutLoop:
    """The loop of ``OnPolicyAlgorithm.learn``, one rollout with its update at a time.

    Args:
        model: An on-policy algorithm.
    """

    def __init__(self, model: OnPolicyAlgorithm) -> None:
        self._model = model

    def iterate(self, callback: BaseCallback, n_iterations: int) -> bool:
        """Acts and learns; returns False if a callback ended it before the update.

        Args:
            callback: Callback, as in ``learn``.
            n_iterations: Number of earlier iterations.
        """
        model = self._model
        assert model.env is not None
        if not model.collect_rollouts(
            model.env, callback, model.rollout_buffer, n_rollout_steps=model.n_steps
        ):
            return False
        model._update_current_progress_remaining(model.num_timesteps, model._total_timesteps)
        model.dump_logs(n_iterations + 1)
        model.train()
        return True

    def state_dict(self) -> dict[str, Any]:
        """The state besides nets, optimisers and counters: that of an LSTM."""
        states = getattr(self._model, "_last_lstm_states", None)
        return {"lstm": None if states is None else [list(part) for part in states]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores a state, once the model is set up to learn."""
        if state["lstm"] is not None:
            kind = type(self._model._last_lstm_states)  # type: ignore[attr-defined]
            parts = [tuple(part) for part in state["lstm"]]
            self._model._last_lstm_states = kind(*parts)  # type: ignore[attr-defined]

    def describe(self) -> dict[str, int]:
        """Counts the non-finite numbers in its training data, by name."""
        buffer = self._model.rollout_buffer
        return {
            name: int((~np.isfinite(getattr(buffer, name))).sum())
            for name in _BUFFERS
            if getattr(buffer, name, None) is not None
        }


class RolloutRewards:
    """Writes the learned reward into each rollout of an on-policy agent, before its update.

    Args:
        model: The agent.
        net: The reward model, into which newer weights are loaded.
        config: Settings.
        n_envs: Number of parallel environments (N).
    """

    def __init__(
        self, model: OnPolicyAlgorithm, net: StepReward, config: PreferenceConfig, *, n_envs: int
    ) -> None:
        self._model, self._net, self._config = model, net, config
        self.n_steps = model.n_steps
        """Steps of each environment in a rollout."""
        self._scale = ReturnScale(n_envs, model.gamma)
        # The reward for novelty is another one, so it has its own constants.
        self._novelty, self._scale_of_novelty = RolloutNovelty(), ReturnScale(n_envs, model.gamma)
        self._exploration = Exploration(model, config.exploration)
        self._before: NDArray[np.float32] | None = None
        self._version = 0

    def start(self, used: UsedReward) -> None:
        """Called when the training, or another part of it, begins, with the reward in the net."""
        self._version = used.version

    def is_due(self, n_recorded: int) -> bool:
        """Whether to deliver rewards: always, as this is called only at the end of a rollout."""
        return True

    def before_update(self, rollout: Rollout) -> None:
        """Called before the partners are asked for a newer reward."""
        if self._exploration.compares:
            self._before, _ = self._net.predict(rollout)

    def deliver(
        self,
        rollout: Rollout,
        reward: NDArray[np.float32],
        used: UsedReward,
        told: Mapping[str, Any],
    ) -> None:
        """Called at the end of a rollout; writes rewards into it.

        Args:
            rollout: Record of the rollout.
            reward: Learned rewards of its steps, shape (T, N).
            used: The reward in the net.
            told: Local variables of the algorithm's loop, as callbacks get them.
        """
        if self._before is not None and used.version > self._version:
            self._exploration.reward_changed(self._before, reward)
        self._version = used.version
        self._exploration.keep_noise()
        buffer = self._model.rollout_buffer
        if used.only_ties and self._config.exploration.novelty and rollout.frames is None:
            reward = self._scale_of_novelty(self._novelty(rollout), rollout.dones)
        elif used.tells_nothing:
            forget_rollout(buffer)
            return
        elif self._config.scale == "return":
            reward = self._scale(reward, rollout.dones)
        last_values = last_values_of(buffer)
        write_rewards(buffer, reward, last_values=last_values, dones=told["dones"])

    def forget(self, env: int) -> None:
        """Called when the episode of an environment was cut off."""
        self._scale.forget(env)
        self._scale_of_novelty.forget(env)

    def finish(self) -> None:
        """Called at the end of training."""

    def state_dict(self) -> dict[str, Any]:
        """The state for a checkpoint."""
        return {
            "scale": self._scale.state_dict(),
            "novelty": self._novelty.state_dict(),
            "scale_of_novelty": self._scale_of_novelty.state_dict(),
            "version": self._version,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores a state."""
        self._scale.load_state_dict(state["scale"])
        self._novelty.load_state_dict(state["novelty"])
        self._scale_of_novelty.load_state_dict(state["scale_of_novelty"])
        self._version = state["version"]


def last_values_of(buffer: RolloutBuffer) -> torch.Tensor:
    """Returns the values of the observations after the last step of a full buffer, shape (N,).

    They are derived from the last advantages, because not all algorithms give them to callbacks
    (RecurrentPPO does not). If the last step ended an episode, its value is wrong but not used.
    """
    after = buffer.advantages[-1] - buffer.rewards[-1] + buffer.values[-1]
    return torch.as_tensor(after / buffer.gamma)


def write_rewards(
    buffer: RolloutBuffer,
    rewards: NDArray[np.float32],
    *,
    last_values: torch.Tensor,
    dones: NDArray[Any],
) -> None:
    """Adds learned rewards to a full buffer and computes returns and advantages again.

    Stable-Baselines3 has put gamma * V(last observation) into the reward of steps at which a time
    limit cut an episode (``OnPolicyAlgorithm.collect_rollouts``). This must stay, so the learned
    reward is added to it. As the hidden reward is zero, the buffer's rewards contain nothing else.

    Args:
        buffer: A full buffer, with rewards of shape (T, N).
        rewards: Learned rewards, shape (T, N).
        last_values: Values of the observations after the last step, shape (N,) or (N, 1).
        dones: Whether the last step ended its episode, shape (N,).
    """
    buffer.rewards += rewards
    buffer.compute_returns_and_advantage(last_values=last_values, dones=dones)


def forget_rollout(buffer: RolloutBuffer) -> None:
    """Makes a full buffer teach nothing: sets advantages to 0, and returns to the values.

    This is for rollouts before the first fit: without a reward the agent must not change.
    """
    buffer.advantages[:] = 0.0
    buffer.returns[:] = buffer.values
