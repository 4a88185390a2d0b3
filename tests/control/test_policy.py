import json

import numpy as np
import pytest
from control.test_train import DOT, short
from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import VecNormalize

from prefrl import TrainConfig, load_policy, train
from prefrl.control.agent.agent import AgentConfig
from prefrl.errors import RunDirectoryError


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return train(short(tmp_path_factory.mktemp("run"))).run


def test_a_policy_is_worth_what_its_run_says_by_each_way_to_it(run):
    """Also by the lines of Stable-Baselines3 that the docs show."""
    reported = json.loads(run.summary.read_text())["eval_return_mean"]
    policy = load_policy(run.root)
    assert isinstance(policy.model, PPO)
    with np.load(run.observation_stats) as stats:
        np.testing.assert_array_equal(policy.venv.obs_rms.mean, stats["obs_rms.mean"])
    plain = make_vec_env(DOT, n_envs=5, seed=5)
    loaded = PPO.load(run.policy, device="cpu")
    by_hand = VecNormalize(make_vec_env(DOT, n_envs=5, seed=5), training=False, norm_reward=False)
    with np.load(run.observation_stats) as stats:
        by_hand.obs_rms.mean, by_hand.obs_rms.var = stats["obs_rms.mean"], stats["obs_rms.var"]
    seeded = {"n_eval_episodes": 5, "warn": False}
    returns = [
        evaluate_policy(policy, plain, **seeded)[0],
        evaluate_policy(loaded, by_hand, **seeded)[0],
    ]
    assert returns[0] == pytest.approx(returns[1], abs=1e-6)
    for way in ((policy, policy.get_env()), (policy.model, policy.venv)):
        assert evaluate_policy(*way, n_eval_episodes=12, warn=False)[0] == pytest.approx(
            reported, abs=0.35 * abs(reported)
        )
    before = policy.venv.obs_rms.mean.copy()
    policy.model.learn(400)  # goes on from where it is, on the environment's reward
    np.testing.assert_array_equal(policy.venv.obs_rms.mean, before)
    policy.close()


def test_off_policy_agents_and_single_observations_act(tmp_path):
    agent = AgentConfig(n_envs=1, batch_size=32, hidden=(16,), learning_starts=100)
    preferences = short(tmp_path).preferences
    config = TrainConfig(
        DOT,
        algo="dqn",
        steps=600,
        sync=True,
        films=False,
        run=tmp_path / "run",
        preferences=preferences,
        agent=agent,
    )
    run = train(config).run
    policy = load_policy(run)
    seen = policy.get_env().reset()[0]
    action, memory = policy.predict(seen)
    assert (action.shape, memory) == (policy.model.action_space.shape, None)
    policy.close()


def test_what_has_no_policy_is_refused(run, tmp_path):
    (tmp_path / "config.json").write_text(run.config.read_text())
    with pytest.raises(RunDirectoryError, match="only a run that trained to its end has one"):
        load_policy(tmp_path)
    (tmp_path / "config.json").write_text('{"method": "dpo"}')
    with pytest.raises(RunDirectoryError, match="of a language model"):
        load_policy(tmp_path)
