"""Stacks pictures for agents that see several at once; elsewhere each is kept only once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper
from stable_baselines3.common.vec_env.base_vec_env import VecEnvObs, VecEnvStepReturn

from prefrl.control.environments.frames import History
from prefrl.control.environments.spaces import layout_of

__all__ = ["StackFrames", "stack_frames"]

Frames = NDArray[np.uint8]


class StackFrames(VecEnvWrapper):
    """Shows the agent the n newest pictures at once, stacked along the channels as (n * C, H, W).

    It goes around ``HideReward``, which therefore records every picture only once.

    Args:
        venv: Environments whose observations have a picture.
        n: Number of pictures to stack.
    """

    def __init__(self, venv: VecEnv, n: int) -> None:
        self._layout = layout_of(venv.observation_space)
        assert self._layout.picture is not None
        channels, height, width = self._layout.picture
        stacked = spaces.Box(0, 255, (n * channels, height, width), np.uint8)
        space: spaces.Space[Any] = stacked
        if self._layout.picture_key is not None:
            assert isinstance(venv.observation_space, spaces.Dict)
            parts = {**venv.observation_space.spaces, self._layout.picture_key: stacked}
            space = spaces.Dict(parts)
        super().__init__(venv, observation_space=space)
        self.history = History(n, venv.num_envs, self._layout.picture)

    def reset(self) -> VecEnvObs:
        """Resets all environments."""
        observations = self.venv.reset()
        self.history.frames[:] = 0
        seen: VecEnvObs = self.show(observations)
        return seen

    def step_wait(self) -> VecEnvStepReturn:
        """Steps all environments; terminal observations are stacked too."""
        observations, rewards, dones, infos = self.venv.step_wait()
        ended = np.flatnonzero(dones)
        for i in ended.tolist():
            if (last := infos[i].get("terminal_observation")) is not None:
                infos[i]["terminal_observation"] = self._stack_last(i, last)
        self.history.forget(ended)
        return self.show(observations), rewards, dones, infos

    def show(self, observations: Any) -> Any:
        """Adds observations to the history, and returns them with stacked pictures."""
        self.history.push(self._pictures(observations))
        return self._with(observations, _stacked(self.history.frames))

    def go_back(self, frames: Frames, observations: Any, *, cut: Sequence[int] = ()) -> Any:
        """Restores the history.

        Args:
            frames: ``history.frames`` to restore.
            observations: Current observations of the environments.
            cut: Environments that begin a new episode with these.

        Returns:
            The observations with stacked pictures.
        """
        self.history.frames[:] = frames
        self.history.forget(np.array(cut, int))
        self.history.frames[-1] = self._pictures(observations)
        return self._with(observations, _stacked(self.history.frames))

    def _stack_last(self, env: int, last: Any) -> Any:
        one = {key: value[None] for key, value in last.items()} if _is_dict(last) else last[None]
        newest = self._pictures(one)
        older = self.history.frames[1:, env : env + 1]
        whole = self._with(one, _stacked(np.concatenate([older, newest[None]])))
        return {key: value[0] for key, value in whole.items()} if _is_dict(whole) else whole[0]

    def _pictures(self, observations: Any) -> Frames:
        key = self._layout.picture_key
        return self._layout.as_pictures(observations if key is None else observations[key])

    def _with(self, observations: Any, stacked: Frames) -> Any:
        key = self._layout.picture_key
        return stacked if key is None else {**observations, key: stacked}


def stack_frames(venv: VecEnv, n: int) -> StackFrames | None:
    """Stacks the pictures of observations; returns None if these have none."""
    return None if layout_of(venv.observation_space).picture is None else StackFrames(venv, n)


def _is_dict(observation: Any) -> bool:
    return isinstance(observation, Mapping)


def _stacked(frames: Frames) -> Frames:
    """Copies shape (n, N, C, H, W) to (N, n * C, H, W)."""
    n, n_envs, channels, height, width = frames.shape
    return frames.swapaxes(0, 1).reshape(n_envs, n * channels, height, width).copy()
