"""Training in parts: several calls of ``learn()`` are one training."""

import math

import pytest
import torch
from control.toys import Counting, counters
from stable_baselines3 import PPO, SAC
from stable_baselines3.common.env_util import make_vec_env

from prefrl import FitConfig, HideReward, PreferenceCallback, PreferenceConfig, QueryConfig
from prefrl.errors import ConfigError
from prefrl.runtime.rundir.tables import read_rows
from prefrl.runtime.rundir.weights import latest_weights

DOT = "prefrl_envs:prefrl/MovingDot-v0"
CONTINUOUS_DOT = "prefrl_envs:prefrl/MovingDotContinuous-v0"
CONFIG = PreferenceConfig(
    labels=24,
    segment_length=10,
    query=QueryConfig(warmup_segments=20),
    refit_growth=0.3,
    fit=FitConfig(min_steps=20, max_steps=20),
)


def ppo(venv=None, **options):
    venv = venv or HideReward(counters(2, length=20, terminates=False))
    return PPO("MlpPolicy", venv, n_steps=64, batch_size=64, n_epochs=2, seed=0, **options)


@pytest.mark.parametrize("reset", [False, True])
def test_the_budget_counts_over_all_parts(reset):
    oracle = Counting()
    callback, model = PreferenceCallback(CONFIG, oracle=oracle), ppo()
    for _ in range(4):
        model.learn(512, callback=callback, reset_num_timesteps=reset)
    assert oracle.n == 24 == callback.rows[-1]["labels"]
    assert callback.run_steps == 2048 == callback.rows[-1]["env_steps"]
    steps = [row["env_steps"] for row in callback.rows]
    assert steps == sorted(set(steps))


def small_sac():
    venv = HideReward(make_vec_env(CONTINUOUS_DOT, n_envs=1, seed=0))
    return SAC(
        "MlpPolicy", venv, learning_starts=100, train_freq=8, batch_size=8, seed=0,
        policy_kwargs={"net_arch": [8]},
    )  # fmt: skip


@pytest.mark.parametrize(("make", "n_steps"), [(ppo, 2048), (small_sac, 4000)])
def test_four_parts_are_as_one(make, n_steps):
    """Bit for bit: nothing is drawn between the parts."""

    def trained(n_parts):
        oracle = Counting()
        callback = PreferenceCallback(CONFIG, oracle=oracle, total_steps=n_steps)
        model = make()
        for _ in range(n_parts):
            model.learn(n_steps // n_parts, callback=callback, reset_num_timesteps=False)
        return oracle.n, callback, model

    (n_once, once, first), (n_parts, parts, second) = trained(1), trained(4)
    assert n_once == n_parts == 24
    assert once.partners.used == parts.partners.used
    assert parts.partners.used.version > 1
    for name, tensor in first.policy.state_dict().items():
        assert torch.equal(tensor, second.policy.state_dict()[name]), name
    for name, tensor in once.net.state_dict().items():
        assert torch.equal(tensor, parts.net.state_dict()[name]), name


def test_labels_are_spread_over_the_steps_that_are_announced():
    callback, model = PreferenceCallback(CONFIG, total_steps=4096), ppo()
    model.learn(1024, callback=callback)
    assert 0 < callback.rows[-1]["labels"] < 24
    model.learn(3072, callback=callback, reset_num_timesteps=False)
    assert callback.rows[-1]["labels"] == 24


def test_what_lies_on_disk_is_the_reward_in_use_after_each_part(tmp_path):
    callback = PreferenceCallback(CONFIG, run=tmp_path / "run", oracle=Counting(), total_steps=2048)
    model = ppo()
    for _ in range(2):
        model.learn(1024, callback=callback, reset_num_timesteps=False)
        weights = latest_weights(callback.run.reward)
        assert weights.version == callback.partners.used.version
        for name, tensor in callback.net.state_dict().items():
            assert torch.equal(tensor, weights.tensors[name]), name
        fits = [int(row["fit"]) for row in read_rows(callback.run.fits)]
        assert fits == list(range(1, weights.version + 1))
    assert len(read_rows(callback.run.metrics)) == 2048 // 128


def test_another_agent_goes_on_with_the_same_reward():
    oracle = Counting()
    callback = PreferenceCallback(CONFIG, oracle=oracle)
    ppo().learn(1024, callback=callback)
    version, other = callback.partners.used.version, ppo()
    before = {name: tensor.clone() for name, tensor in other.policy.state_dict().items()}
    other.learn(512, callback=callback)
    assert oracle.n == 24
    assert callback.partners.used.version == version > 0
    assert callback.run_steps == 1536
    # It learns from its first rollout on: the reward is there.
    assert any(not torch.equal(t, before[name]) for name, t in other.policy.state_dict().items())


def test_an_environment_of_another_kind_is_refused():
    callback = PreferenceCallback(CONFIG)
    ppo().learn(512, callback=callback)
    other = ppo(HideReward(make_vec_env(DOT, n_envs=2)))
    with pytest.raises(ConfigError, match="expected an environment with the observation_space"):
        other.learn(512, callback=callback)


def test_what_was_broken_off_is_not_taken_for_what_follows():
    class Interrupted(Counting):
        def compare(self, left, right):
            if self.n == 3:
                self.n += 1
                raise KeyboardInterrupt
            return super().compare(left, right)

    oracle = Interrupted()
    callback, model = PreferenceCallback(CONFIG, oracle=oracle), ppo()
    with pytest.raises(KeyboardInterrupt):
        model.learn(2048, callback=callback)
    model.learn(2048, callback=callback)
    assert callback.rows[-1]["labels"] == 24
    assert math.isfinite(callback.rows[-1]["predicted_reward_std"])


def test_a_total_of_no_steps_is_refused():
    with pytest.raises(ConfigError, match="total_steps must be at least 1, got 0"):
        PreferenceCallback(total_steps=0)
