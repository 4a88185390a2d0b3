"""Adapts environments that are stepped together to Stable-Baselines3.

Gymnasium's vector environments give one info for all; Stable-Baselines3 wants one for each. The
keys below hold what these environments report about their games.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecEnv
from stable_baselines3.common.vec_env.base_vec_env import VecEnvIndices, VecEnvStepReturn

from prefrl.control.environments.journals import JOURNAL_KEY, Journal
from prefrl.control.environments.states import STATE_KEY

__all__ = ["GAME_OVER_KEY", "SCORE_KEY", "Batched", "Games"]

SCORE_KEY = "prefrl/score"
"""Key in a step's info for its points, which are for people; the reward is for the oracle."""
GAME_OVER_KEY = "prefrl/game_over"
"""Key in the info of a game's last step only, along with the game's journal."""


class Games(Protocol):
    """Games side by side, each of which can be replayed from its number and actions.

    A ``gymnasium.vector.VectorEnv`` whose info from ``step`` holds, for all N games, ``score``,
    ``game_over``, ``game`` (the number) and ``step`` (within the game); and for games that ended,
    ``journals`` and ``final_score``.
    """

    num_envs: int
    single_observation_space: spaces.Space[Any]
    single_action_space: spaces.Space[Any]

    def reset(self, *, seed: Any = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        """Begins new games."""
        ...

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Steps each game."""
        ...

    def journal(self, i: int) -> tuple[int, NDArray[np.uint8]]:
        """Returns the number and the actions so far of the game in environment i."""
        ...

    def snapshot(self, i: int) -> dict[str, Any]:
        """Returns what ``restore`` needs for environment i."""
        ...

    def restore(self, snapshots: Sequence[Mapping[str, Any]]) -> Any:
        """Restores all games, and returns their observations."""
        ...

    def close(self) -> None:
        """Releases their resources."""
        ...


class Batched(VecEnv):
    """Games as a vectorised environment of Stable-Baselines3.

    Args:
        games: The games to step.
        seed: Seed of the first environment; the others follow.
    """

    def __init__(self, games: Games, *, seed: int) -> None:
        self._games = games
        super().__init__(games.num_envs, games.single_observation_space, games.single_action_space)
        self._started = time.monotonic()
        self._actions: NDArray[Any] | None = None
        self.last_observations: Any = None
        """The newest observations, shape (N, ...)."""
        self.seed(seed)

    def reset(self) -> Any:
        """Begins new games."""
        seeds = self._seeds
        self.last_observations, _ = self._games.reset(
            seed=None if all(seed is None for seed in seeds) else seeds
        )
        self._reset_seeds()
        return self.last_observations

    def step_async(self, actions: NDArray[Any]) -> None:
        """Keeps the actions for ``step_wait``."""
        self._actions = actions

    def step_wait(self) -> VecEnvStepReturn:
        """Steps each game."""
        assert self._actions is not None
        observations, rewards, terminated, truncated, told = self._games.step(self._actions)
        self.last_observations = observations
        infos = [
            {STATE_KEY: np.array([game, step], np.float64), SCORE_KEY: float(score)}
            for game, step, score in zip(told["game"], told["step"], told["score"], strict=True)
        ]
        for i in np.flatnonzero(told["game_over"]):
            actions = told["journals"][i]
            infos[i][GAME_OVER_KEY] = True
            infos[i][JOURNAL_KEY] = (int(told["game"][i]), Journal(actions))
            # In the form of Stable-Baselines3's Monitor, for its log.
            seconds = round(time.monotonic() - self._started, 6)
            infos[i]["episode"] = {"r": told["final_score"][i], "l": len(actions), "t": seconds}
        return observations, rewards.astype(np.float32), terminated | truncated, infos

    def journals(self) -> dict[int, Journal]:
        """Returns the journals of the current games, by number."""
        told = [self._games.journal(i) for i in range(self.num_envs)]
        return {game: Journal(actions) for game, actions in told}

    def snapshots(self) -> list[dict[str, Any]]:
        """Returns what ``restore`` needs, for each game."""
        return [self._games.snapshot(i) for i in range(self.num_envs)]

    def restore(self, snapshots: Sequence[Mapping[str, Any]]) -> None:
        """Restores all games by replaying them."""
        self.last_observations = self._games.restore(snapshots)
        self._reset_seeds()

    def close(self) -> None:
        """Closes the games."""
        self._games.close()

    def env_is_wrapped(self, wrapper_class: Any, indices: VecEnvIndices = None) -> list[bool]:
        """Returns False for each: no game is wrapped."""
        return [False for _ in self._get_indices(indices)]

    def get_attr(self, attr_name: str, indices: VecEnvIndices = None) -> list[Any]:
        """Returns an attribute of the games, the same for all."""
        return [getattr(self._games, attr_name) for _ in self._get_indices(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: VecEnvIndices = None) -> None:
        """Sets an attribute of all games at once."""
        setattr(self._games, attr_name, value)

    def env_method(
        self, method_name: str, *args: Any, indices: VecEnvIndices = None, **kwargs: Any
    ) -> list[Any]:
        """Always raises: methods cannot be called on single games."""
        raise NotImplementedError(f"{method_name} cannot be called on one of several games.")
