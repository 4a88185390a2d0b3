"""A script as users of Stable-Baselines3 write it, around the callback."""

import logging

import pytest
from stable_baselines3 import A2C, PPO
from stable_baselines3.common.callbacks import CallbackList, EvalCallback, EveryNTimesteps
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecNormalize

from prefrl import FitConfig, HideReward, PreferenceCallback, PreferenceConfig
from prefrl.control.agent import surroundings
from prefrl.errors import ConfigError

CONFIG = PreferenceConfig(labels=10, segment_length=10, fit=FitConfig(min_steps=5, max_steps=5))
UNBOUNDED = "InvertedPendulum-v5"


def normalized(env_id="Pendulum-v1"):
    return VecNormalize(HideReward(make_vec_env(env_id, n_envs=2, seed=0)), norm_reward=False)


def small_ppo(venv):
    return PPO("MlpPolicy", venv, n_steps=256, batch_size=128, n_epochs=1, seed=0)


def evaluating(venv, *, eval_freq=250):
    return EvalCallback(venv, eval_freq=eval_freq, n_eval_episodes=1, verbose=0)


@pytest.mark.parametrize("nested", [False, True])
def test_an_evaluation_beside_it_needs_no_wrapper_of_ours(nested):
    evaluation = VecNormalize(make_vec_env("Pendulum-v1"), training=False, norm_reward=False)
    evaluated = evaluating(evaluation, eval_freq=1 if nested else 250)
    beside = CallbackList([EveryNTimesteps(500, evaluated)]) if nested else evaluated
    model = small_ppo(normalized())
    model.learn(1024, callback=[PreferenceCallback(CONFIG), beside])
    assert evaluated.last_mean_reward < 0  # the true reward, and not the zeros of HideReward
    assert evaluation.obs_rms.count > 500  # those of the training, which saw as many


def test_the_same_evaluation_serves_a_second_part_of_the_training():
    evaluation = VecNormalize(make_vec_env("Pendulum-v1"), training=False, norm_reward=False)
    evaluated, callback = evaluating(evaluation), PreferenceCallback(CONFIG, total_steps=2048)
    model = small_ppo(normalized())
    for _ in range(2):
        model.learn(1024, callback=[callback, evaluated], reset_num_timesteps=False)
    assert evaluation.obs_rms.count > 1500


@pytest.mark.filterwarnings("ignore:Training and eval env are not of the same type")
def test_an_evaluation_that_lacks_a_wrapper_is_refused_in_one_sentence():
    plain = make_vec_env("Pendulum-v1")
    with pytest.raises(ConfigError, match="VecNormalize of HideReward of DummyVecEnv, got Dummy"):
        small_ppo(normalized()).learn(512, callback=[PreferenceCallback(CONFIG), evaluating(plain)])


def warnings_of(caplog):
    return [r.getMessage() for r in caplog.records if r.name == surroundings.__name__]


def test_a_plain_script_is_told_once_to_normalize(caplog, monkeypatch):
    monkeypatch.setattr(surroundings, "_advised", set())
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            model = small_ppo(HideReward(make_vec_env(UNBOUNDED, n_envs=2, seed=0)))
            surroundings.advise_normalization(model)
    (text,) = warnings_of(caplog)
    assert "PPO sees observations as the environment gives them" in text
    assert "prefrl.agent_settings(ENV_ID, 'ppo')" in text


def test_nothing_is_said_where_nothing_is_to_be_done(caplog, monkeypatch):
    monkeypatch.setattr(surroundings, "_advised", set())
    with caplog.at_level(logging.WARNING):
        surroundings.advise_normalization(small_ppo(normalized(UNBOUNDED)))
        bounded = HideReward(make_vec_env("Pendulum-v1", seed=0))
        surroundings.advise_normalization(A2C("MlpPolicy", bounded))
    assert not warnings_of(caplog)


def test_the_callback_gives_the_advice(caplog, monkeypatch):
    monkeypatch.setattr(surroundings, "_advised", set())
    with caplog.at_level(logging.WARNING):
        model = small_ppo(HideReward(make_vec_env("Hopper-v5", n_envs=2, seed=0)))
        model.learn(512, callback=PreferenceCallback(CONFIG))
    assert len(warnings_of(caplog)) == 1
