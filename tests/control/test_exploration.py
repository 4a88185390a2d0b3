"""The noise of actions: its floor, and its return when the reward has changed its mind."""

import math

import numpy as np
import pytest
from stable_baselines3 import PPO

from prefrl.control.exploration import Exploration, ExplorationConfig, rank_correlation
from prefrl.errors import ConfigError

REWARD = np.linspace(0, 1, 40, dtype=np.float32).reshape(10, 4)


def agent(env_id="Pendulum-v1", log_std=-3.0):
    model = PPO("MlpPolicy", env_id, policy_kwargs={"log_std_init": -0.5}, n_steps=8, batch_size=8)
    if hasattr(model.policy, "log_std"):
        model.policy.log_std.data.fill_(log_std)
    return model


def noise(model):
    return model.policy.log_std.exp().item()


def test_the_floor_lifts_and_does_not_lower():
    model = agent(log_std=-3.0)
    Exploration(model, ExplorationConfig(min_std=0.2)).keep_noise()
    assert noise(model) == pytest.approx(0.2)
    model.policy.log_std.data.fill_(math.log(0.5))
    Exploration(model, ExplorationConfig(min_std=0.2)).keep_noise()
    assert noise(model) == pytest.approx(0.5)


def test_noise_comes_back_when_the_order_is_reversed_and_not_when_it_stays():
    model = agent()
    exploration = Exploration(model, ExplorationConfig(renew_below=0.5))
    assert exploration.compares
    assert not exploration.reward_changed(REWARD, np.exp(REWARD))
    assert noise(model) == pytest.approx(math.exp(-3.0))
    assert exploration.reward_changed(REWARD, -REWARD)
    assert noise(model) == pytest.approx(math.exp(-0.5))


def test_a_constant_reward_has_no_order_to_change():
    model = agent()
    exploration = Exploration(model, ExplorationConfig(renew_below=0.5))
    assert not exploration.reward_changed(np.zeros_like(REWARD), REWARD)


def test_by_default_nothing_happens():
    model = agent()
    exploration = Exploration(model, ExplorationConfig())
    exploration.keep_noise()
    assert not exploration.compares
    assert not exploration.reward_changed(REWARD, -REWARD)
    assert noise(model) == pytest.approx(math.exp(-3.0))


def test_discrete_actions_have_no_noise_of_their_own():
    exploration = Exploration(agent("CartPole-v1"), ExplorationConfig(min_std=1, renew_below=1))
    exploration.keep_noise()
    assert not exploration.compares
    assert not exploration.reward_changed(REWARD, -REWARD)


def test_rank_correlation_by_hand():
    assert rank_correlation(np.array([1.0, 2.0, 30.0]), np.array([5.0, 6.0, 7.0])) == 1.0
    # Ranks 0 1 2 against 1 0 2: 1 - 6 * 2 / (3 * 8).
    assert rank_correlation(np.array([1.0, 2.0, 3.0]), np.array([2.0, 1.0, 9.0])) == pytest.approx(
        0.5
    )


@pytest.mark.parametrize("bad", [{"min_std": -0.1}, {"min_std": math.nan}, {"renew_below": 1.5}])
def test_bad_settings_are_refused(bad):
    with pytest.raises(ConfigError):
        ExplorationConfig(**bad)
