"""A replay buffer that computes rewards with the newest reward model whenever a batch is drawn."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, cast

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.buffers import DictReplayBuffer, ReplayBuffer
from stable_baselines3.common.type_aliases import DictReplayBufferSamples, ReplayBufferSamples
from stable_baselines3.common.vec_env import VecNormalize

from prefrl.control.environments.spaces import action_width, layout_of
from prefrl.errors import ConfigError

__all__ = ["RelabelledReplayBuffer", "check_memory", "relabelled"]

Rewards = Callable[[Any, NDArray[Any], Any, NDArray[np.bool_]], NDArray[np.float32]]
"""Maps B stored transitions to rewards, (B,). The arguments are the raw observations, actions and
next observations, and whether the environment ended the episode with the step, (B,)."""


class RelabelledReplayBuffer(ReplayBuffer):
    """A replay buffer that computes the rewards of transitions when it draws them.

    ::

        SAC("MlpPolicy", prefrl.HideReward(venv), replay_buffer_class=prefrl.RelabelledReplayBuffer)

    The current reward scores each batch in one pass. So a new reward relabels the whole buffer at
    no cost, as in Ibarz et al. 2018, section 2 (PEBBLE, Lee et al. 2021, writes new rewards into
    the buffer). It accepts vectors, pictures, and dicts of both. ``PreferenceCallback`` sets the
    source of rewards; until then the stored rewards count. It also replaces a plain buffer by one
    of this class.
    """

    rewards_of: Rewards | None = None
    """Source of the rewards; None uses the stored ones."""
    n_added: int = 0
    """Number of steps ever added, including those that were overwritten; each is of all
    environments."""
    newest_share: float = 0.0
    """Share of each batch that is drawn from the newest steps alone (QPA, Hu et al. 2024)."""
    n_newest: int = 1000
    """Number of steps of each environment that count as newest."""

    def __init__(
        self, buffer_size: int, observation_space: spaces.Space[Any], *args: Any, **kwargs: Any
    ) -> None:
        if isinstance(observation_space, spaces.Dict):
            DictReplayBuffer.__init__(
                cast(DictReplayBuffer, self), buffer_size, observation_space, *args, **kwargs
            )
        else:
            super().__init__(buffer_size, observation_space, *args, **kwargs)

    def add(self, *args: Any, **kwargs: Any) -> None:
        """Adds a step of all environments."""
        if isinstance(self.observation_space, spaces.Dict):
            DictReplayBuffer.add(cast(DictReplayBuffer, self), *args, **kwargs)
        else:
            super().add(*args, **kwargs)
        self.n_added += 1

    def sample(self, batch_size: int, env: VecNormalize | None = None) -> Any:
        """Draws a batch from the whole buffer, or partly from the newest steps."""
        if not self.newest_share:
            steps = np.random.randint(0, self.size(), size=batch_size)
            return self._get_samples(steps, env)
        n_newest = round(self.newest_share * batch_size)
        ages = np.concatenate(
            [
                np.random.randint(0, min(self.n_newest, self.size()), size=n_newest),
                np.random.randint(0, self.size(), size=batch_size - n_newest),
            ]
        )
        return self._get_samples((self.pos - 1 - ages) % self.buffer_size, env)

    def _get_samples(self, batch_inds: NDArray[Any], env: VecNormalize | None = None) -> Any:
        """Returns transitions at some steps, of random environments, with current rewards."""
        where = batch_inds, np.random.randint(0, self.n_envs, size=len(batch_inds))
        seen = self.stored(self.observations, where)
        then = self.stored(self.next_observations, where)
        actions = self.actions[where]
        # An episode that a time limit cut has not ended.
        ends = self.dones[where] * (1 - self.timeouts[where])
        if self.rewards_of is None:
            rewards = self._normalize_reward(self.rewards[where], env)
        else:
            rewards = self.rewards_of(seen, actions, then, ends > 0)
        parts = (
            self._as_tensors(self._normalize_obs(seen, env)),
            self.to_torch(actions),
            self._as_tensors(self._normalize_obs(then, env)),
            self.to_torch(ends.reshape(-1, 1)),
            self.to_torch(rewards.reshape(-1, 1).astype(np.float32)),
        )
        if isinstance(self.observation_space, spaces.Dict):
            return DictReplayBufferSamples(*parts)
        return ReplayBufferSamples(*parts)

    @staticmethod
    def stored(observations: Any, where: Any) -> Any:
        """Returns the entries of an array, or of each array in a dict, at some positions."""
        if isinstance(observations, dict):
            return {key: part[where] for key, part in observations.items()}
        return observations[where]

    def _as_tensors(self, observations: Any) -> Any:
        if isinstance(observations, dict):
            return {key: self.to_torch(part) for key, part in observations.items()}
        return self.to_torch(observations)

    def __getstate__(self) -> dict[str, Any]:
        """Returns all but the source of rewards, for ``model.save_replay_buffer``."""
        return {name: value for name, value in vars(self).items() if name != "rewards_of"}


def relabelled(buffer: ReplayBuffer | None, algorithm: str) -> RelabelledReplayBuffer:
    """Converts a buffer, with its content, to one whose rewards can come from a model.

    Args:
        buffer: An agent's replay buffer.
        algorithm: Name of the agent's class, for messages.

    Raises:
        ConfigError: If it is of another class, which the conversion would break, or does not keep
            whole transitions.
    """
    if buffer is not None and buffer.optimize_memory_usage:
        raise ConfigError(
            "expected a replay buffer that keeps whole transitions, got one with "
            "optimize_memory_usage; leave that out, and take a smaller buffer_size."
        )
    if isinstance(buffer, RelabelledReplayBuffer):
        return buffer
    if type(buffer) not in (ReplayBuffer, DictReplayBuffer):
        raise ConfigError(
            f"expected {algorithm} with Stable-Baselines3's plain replay buffer, got "
            f"{type(buffer).__name__}; leave replay_buffer_class out, or give "
            "prefrl.RelabelledReplayBuffer."
        )
    made = RelabelledReplayBuffer.__new__(RelabelledReplayBuffer)
    made.__dict__.update(vars(buffer))
    return made


def check_memory(
    buffer_size: int, frame_stack: int, observation: spaces.Space[Any], action: spaces.Space[Any]
) -> None:
    """Refuses a replay buffer that does not fit into this machine's memory.

    Memory is allocated as the buffer fills, so one that does not fit would end a training after
    hours.

    Args:
        buffer_size: Number of transitions that it holds, with two observations each.
        frame_stack: Number of pictures in an observation, if it has any.
        observation: The environment's observation space.
        action: The environment's action space.

    Raises:
        ConfigError: If it does not fit; names a size that takes half of the memory.
    """
    layout = layout_of(observation)
    pixels = 0 if layout.picture is None else frame_stack * int(np.prod(layout.picture))
    numbers = 2 * layout.width + action_width(action) + 3  # reward, end, time limit
    each = 2 * pixels + 8 * numbers  # at most 8 bytes for a number
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if buffer_size * each > memory:
        raise ConfigError(
            f"expected a replay buffer that fits into {memory / 2**30:.0f} GiB of memory, but "
            f"{buffer_size:,} transitions of {each / 1024:.1f} KiB take "
            f"{buffer_size * each / 2**30:.0f} GiB; lower agent.buffer_size, "
            f"to {memory // 2 // each:,} at most to leave half of it."
        )
