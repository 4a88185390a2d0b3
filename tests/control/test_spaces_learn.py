"""Whatever the spaces are, the agent learns from comparisons to go to the middle of a grid."""

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.envs.registration import EnvSpec
from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.utils import set_random_seed

from prefrl import (
    HideReward,
    PreferenceCallback,
    PreferenceConfig,
    TrainConfig,
    adapt_spaces,
    train,
)
from prefrl.control.agent.config import AgentConfig
from prefrl.control.queries import QueryConfig

SIDE = 3
CELL = spaces.Discrete(SIDE)


class Grid(gym.Env):
    """Pays for being near the middle; its spaces are one of several kinds."""

    def __init__(self, seen="discrete", done="multi_discrete"):
        self.seen, self.done = seen, done
        self.observation_space = {
            "discrete": spaces.Discrete(SIDE * SIDE),
            "multi_discrete": spaces.MultiDiscrete([SIDE, SIDE]),
            "multi_binary": spaces.MultiBinary([2, SIDE]),
            "tuple": spaces.Tuple([CELL, CELL]),
            "dict": spaces.Dict(a=spaces.Dict(x=CELL), y=spaces.Box(0, 1, (SIDE,), np.float32)),
        }[seen]
        self.action_space = {
            "multi_discrete": spaces.MultiDiscrete([3, 3]),
            "multi_binary": spaces.MultiBinary(4),
            "from_one": spaces.Discrete(5, start=1),
            "far": spaces.Box(0, 1000, (2,), np.float32),
        }[done]

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.place = self.np_random.integers(SIDE, size=2)
        return self._see(), {}

    def step(self, action):
        assert self.action_space.contains(action)
        self.place = np.clip(self.place + self._move(action), 0, SIDE - 1)
        return self._see(), -float(np.abs(self.place - SIDE // 2).sum()), False, False, {}

    def _move(self, action):
        if self.done == "multi_discrete":
            return action - 1
        if self.done == "multi_binary":
            return action[:2].astype(int) - action[2:]
        if self.done == "from_one":
            return [(0, 0), (1, 0), (-1, 0), (0, 1), (0, -1)][action - 1]
        return np.sign(action - 500).astype(int) * (np.abs(action - 500) > 150)

    def _see(self):
        x, y = self.place
        if self.seen == "discrete":
            return np.int64(SIDE * x + y)
        if self.seen == "multi_discrete":
            return self.place.copy()
        if self.seen == "multi_binary":
            return np.eye(SIDE, dtype=np.int8)[self.place]
        if self.seen == "tuple":
            return x, y
        return {"a": {"x": x}, "y": np.eye(SIDE, dtype=np.float32)[y]}


PREFERENCES = PreferenceConfig(
    labels=100, segment_length=10, refit_growth=0.4, query=QueryConfig(warmup_segments=50)
)
AGENT = AgentConfig(
    settings="default", n_envs=8, n_steps=100, hidden=(32,), learning_rate=1e-2, batch_size=200,
    gamma=0.5,
)  # fmt: skip


@pytest.mark.parametrize(
    ("seen", "done"),
    [
        ("discrete", "multi_discrete"),
        ("multi_discrete", "multi_binary"),
        ("multi_binary", "from_one"),
        ("tuple", "far"),
        ("dict", "multi_discrete"),
    ],
)
def test_it_learns_from_comparisons(seen, done, tmp_path, monkeypatch):
    spec = EnvSpec("Grid-v0", Grid, max_episode_steps=20, kwargs={"seen": seen, "done": done})
    monkeypatch.setitem(gym.registry, "Grid-v0", spec)
    result = train(
        TrainConfig(
            "Grid-v0", steps=8_000, sync=True, run=tmp_path / "run", films=False,
            eval_episodes=20, preferences=PREFERENCES, agent=AGENT,
        )
    )  # fmt: skip
    assert result.summary["eval_return_before_mean"] < -15
    assert result.summary["eval_return_mean"] > -10  # it is a step from the middle at first


@pytest.mark.parametrize("wrapper", [None, adapt_spaces])
def test_a_script_of_stable_baselines_learns_too(wrapper):
    set_random_seed(0)
    seen, done = ("discrete", "multi_discrete") if wrapper is None else ("tuple", "from_one")

    def grid():
        return gym.wrappers.TimeLimit(Grid(seen, done), 20)

    venv = HideReward(make_vec_env(grid, n_envs=8, seed=0, wrapper_class=wrapper))
    model = PPO(
        "MlpPolicy", venv, n_steps=100, batch_size=200, gamma=0.5, learning_rate=3e-3, seed=0
    )
    model.learn(12_000, callback=PreferenceCallback(PREFERENCES))
    assert np.mean(venv.finished_returns) > -10
