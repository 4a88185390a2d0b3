"""What goes wrong in a script is a PrefrlError that says so; what a rule of one's own is given."""

import dataclasses

import gymnasium as gym
import numpy as np
import pytest
import torch
from control.agent.test_script_run import CONFIG
from control.toys import counters
from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env

from prefrl import (
    HideReward,
    PreferenceCallback,
    PrefrlError,
    QueryConfig,
    RewardNetConfig,
)
from prefrl.errors import ConfigError, NonFiniteError


class NoNumber(gym.RewardWrapper):
    """Its reward is NaN."""

    def reward(self, reward):
        return float("nan")


class Diverged(torch.nn.Linear):
    """Gives NaN for everything."""

    def __init__(self, n_inputs):
        super().__init__(n_inputs, 1)

    def forward(self, inputs):
        return super().forward(inputs) * float("nan")


def learn(callback, venv=None):
    venv = HideReward(venv or counters(2, length=20, terminates=False))
    PPO("MlpPolicy", venv, n_steps=64, batch_size=64, n_epochs=1, seed=0).learn(1024, callback)


def test_a_true_reward_that_is_nan_is_named():
    venv = make_vec_env("Pendulum-v1", n_envs=2, seed=0, wrapper_class=NoNumber)
    with pytest.raises(NonFiniteError, match="expected finite true returns, got nan"):
        learn(PreferenceCallback(CONFIG), venv)


@pytest.mark.parametrize("how", ["fitted", "poisoned"])
def test_a_learned_reward_that_is_nan_is_named(how):
    def poison(row):
        for parameter in callback.net.parameters():
            parameter.data.fill_(float("nan"))

    net = RewardNetConfig(member=Diverged if how == "fitted" else None)
    callback = PreferenceCallback(
        dataclasses.replace(CONFIG, net=net), on_rollout=poison if how == "poisoned" else None
    )
    with pytest.raises(PrefrlError, match="a finite reward for the items that might be asked"):
        learn(callback)


@pytest.mark.parametrize("said", [np.array([True, False]), np.array([1.0]), float("nan")])
def test_an_oracle_that_returns_a_wrong_shape_is_named(said):
    with pytest.raises(ConfigError, match="expected the oracle to return an Answer"):
        learn(PreferenceCallback(CONFIG, oracle=lambda left, right: said))


@pytest.mark.parametrize("ranked", [2, 3])
def test_a_rule_is_given_the_shapes_that_are_documented(ranked):
    """(M, C) for pairs, (M, C, P) where K items are ranked by P pairs; C tuples of K items."""
    seen = []

    def rule(candidates, n, rng):
        seen.append((candidates.preferences.shape, len(candidates.items), len(candidates)))
        assert {len(items) for items in candidates.items} == {ranked}
        return np.arange(n)

    query = QueryConfig(selection=rule, ranked=ranked, warmup_segments=20)
    learn(PreferenceCallback(dataclasses.replace(CONFIG, query=query)))
    pairs = () if ranked == 2 else (3,)
    assert seen
    assert all(shape == (3, c, *pairs) and c == length for shape, c, length in seen)
