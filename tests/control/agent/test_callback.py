import dataclasses
import math

import gymnasium as gym
import numpy as np
import pytest
import torch
from control.toys import counters, seen
from stable_baselines3 import A2C, PPO, SAC
from stable_baselines3.common.env_util import make_vec_env

from prefrl import Answer, HideReward, PreferenceCallback, PreferenceConfig, adapt_spaces
from prefrl.control.config import TrainConfig
from prefrl.control.exploration import ExplorationConfig
from prefrl.control.queries import QueryConfig
from prefrl.control.train import train
from prefrl.core.trainer import FitConfig
from prefrl.errors import ConfigError, NotEnoughDataError

DOT = "prefrl_envs:prefrl/MovingDot-v0"


def dots(n_envs=8, seed=0, env_id=DOT):
    return HideReward(make_vec_env(env_id, n_envs=n_envs, seed=seed))


def quick(**options):
    options = {"labels": 60, "segment_length": 10, "refit_growth": 0.1, **options}
    return PreferenceConfig(query=QueryConfig(warmup_segments=20, pool_size=1000), **options)


# Acting at random gives about -75, standing still anywhere -75, the best possible about -12.
RANDOM, SOLVED = -45, -25


def test_ppo_solves_moving_dot_from_comparisons():
    callback = PreferenceCallback(quick())
    PPO(
        "MlpPolicy", dots(), n_steps=128, batch_size=128, learning_rate=1e-3, gamma=0.95, seed=0
    ).learn(16_000, callback=callback)
    returns = [row["true_return_mean"] for row in callback.rows]
    assert returns[0] < RANDOM
    assert returns[-1] > SOLVED


def test_a2c_solves_moving_dot_from_comparisons():
    callback = PreferenceCallback(quick())
    A2C(
        "MlpPolicy", dots(), n_steps=64, learning_rate=lambda left: 3e-3 * left, gamma=0.95,
        seed=0, normalize_advantage=True,
    ).learn(24_000, callback=callback)  # fmt: skip
    returns = [row["true_return_mean"] for row in callback.rows if row["episodes"]]
    assert returns[0] < RANDOM
    assert returns[-1] > SOLVED


def learned_policy(*, reward_scale, oracle):
    venv = HideReward(counters(2, length=20, reward_scale=reward_scale, terminates=False))
    model = PPO("MlpPolicy", venv, n_steps=64, batch_size=64, n_epochs=2, seed=0)
    callback = PreferenceCallback(quick(labels=10), oracle=oracle)
    model.learn(512, callback=callback)
    return model.policy.state_dict(), callback


def answers_of(callback):
    learner = callback.partners.learner
    return [(c.answer, c.query) for c in learner.comparisons()]


def prefers_high_actions(left, right):
    return bool(left.actions.sum() > right.actions.sum())


def test_the_true_reward_never_reaches_the_agent():
    # With an oracle that does not look at it, a reward 1000 times as large, and of the other sign,
    # changes nothing at all.
    plain, _ = learned_policy(reward_scale=1.0, oracle=prefers_high_actions)
    other, _ = learned_policy(reward_scale=-1000.0, oracle=prefers_high_actions)
    for name, tensor in plain.items():
        assert torch.equal(tensor, other[name]), name
    # And it does change something where the oracle looks.
    true, _ = learned_policy(reward_scale=1.0, oracle=None)
    false, _ = learned_policy(reward_scale=-1.0, oracle=None)
    assert any(not torch.equal(tensor, false[name]) for name, tensor in true.items())


def test_segments_carry_no_reward():
    _, callback = learned_policy(reward_scale=1.0, oracle=None)
    segment = callback.items[next(iter(callback.items))]
    assert set(vars(segment)) == {
        "id", "observations", "actions", "states", "env_steps", "frames", "journals",
            "episode_step", "next_observations", "n_held",
    }  # fmt: skip


def test_an_oracle_may_be_an_object_with_one_method():
    class Always:
        def compare(self, left, right):
            return Answer.TIE

    _, callback = learned_policy(reward_scale=1.0, oracle=Always())
    assert {answer for answer, _ in answers_of(callback)} == {Answer.TIE}


def test_skip_only_answers_teach_nothing_and_break_nothing():
    _, callback = learned_policy(reward_scale=1.0, oracle=lambda left, right: "skip")
    assert callback.partners.used.version == 0
    assert callback.rows[-1]["labels"] == 10


def test_all_labels_are_asked_and_each_pair_once():
    _, callback = learned_policy(reward_scale=1.0, oracle=None)
    answers = answers_of(callback)
    assert len(answers) == callback.rows[-1]["labels"] == 10
    assert len({frozenset((query.left, query.right)) for _, query in answers}) == 10
    assert len({query.id for _, query in answers}) == 10


def test_the_reward_is_the_same_until_the_next_fit():
    _, callback = learned_policy(reward_scale=1.0, oracle=None)
    fits = [row["fit_steps"] for row in callback.rows]
    assert any(fits)
    same = seen(np.ones((3, 1, 2), np.float32), np.ones((3, 1, 1), np.float32))
    assert np.array_equal(callback.net.predict(same)[0], callback.net.predict(same)[0])


def test_short_rollouts_are_logged_together_and_none_is_left_out(monkeypatch):
    monkeypatch.setattr("prefrl.control.agent.callback._MOST_ROWS", 2)
    logged = []
    config = quick(labels=20, fit=FitConfig(min_steps=5, max_steps=5))
    callback = PreferenceCallback(config, on_rollout=logged.append)
    model = A2C("MlpPolicy", dots(), n_steps=5, seed=0)
    model.learn(3600, callback=callback)
    # Of 40 steps: 25 make a thousand.
    assert [row["rollout"] for row in logged] == [25, 50, 75, 90]
    assert [row["env_steps"] for row in logged] == [1000, 2000, 3000, 3600]
    assert all(math.isfinite(row["disagreement"]) for row in logged)
    assert sum(row["fit_steps"] > 0 for row in logged) >= 1
    assert callback.rows == logged[-2:]


def test_a_reward_in_the_open_is_refused():
    model = PPO("MlpPolicy", counters(2), n_steps=16, batch_size=32)
    with pytest.raises(ConfigError, match=r"prefrl\.HideReward"):
        model.learn(64, callback=PreferenceCallback(labels=5))


@pytest.mark.parametrize("algorithm", [PPO, SAC])
def test_from_ties_alone_nothing_is_learned_and_half_of_the_labels_wait(algorithm):
    """What a net says that was fitted to ties is chance."""
    options = {"n_steps": 64, "batch_size": 64} if algorithm is PPO else {"learning_starts": 100}
    config = quick(exploration=ExplorationConfig(novelty=False))
    callback = PreferenceCallback(config, oracle=lambda left, right: "tie")
    venv = dots(env_id=DOT if algorithm is PPO else "prefrl_envs:prefrl/MovingDotContinuous-v0")
    agent = algorithm("MlpPolicy", venv, seed=0, **options)
    before = {name: t.clone() for name, t in agent.policy.state_dict().items()}
    agent.learn(3_000, callback=callback)
    newest = callback.rows[-1]
    assert newest["reward_version"] >= 1
    # More than half of the 60 were due when the first were asked; after that no more are.
    assert 30 < newest["labels"] == callback.rows[0]["labels"] < 50
    assert all(torch.equal(before[name], t) for name, t in agent.policy.state_dict().items())


class Corridor(gym.Env):
    """Forty places in a row, shown as one-hot codes; sixty steps to the left or to the right."""

    observation_space = gym.spaces.Discrete(40)
    action_space = gym.spaces.Discrete(2)
    farthest = 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.place, self.n_steps = 0, 0
        return 0, {}

    def step(self, action):
        self.place = min(39, max(0, self.place + (1 if action else -1)))
        Corridor.farthest = max(Corridor.farthest, self.place)
        self.n_steps += 1
        return self.place, 0.0, False, self.n_steps == 60, {}


@pytest.mark.parametrize("novelty", [False, True])
def test_as_long_as_all_answers_are_ties_an_agent_looks_for_what_is_new(novelty):
    Corridor.farthest = 0
    venv = HideReward(make_vec_env(Corridor, 4, seed=0, wrapper_class=adapt_spaces))
    agent = PPO("MlpPolicy", venv, n_steps=128, batch_size=128, learning_rate=1e-3, seed=0)
    config = quick(exploration=ExplorationConfig(novelty=novelty))
    agent.learn(8_000, callback=PreferenceCallback(config))
    # A random walk of sixty steps seldom comes farther than twenty, in one of a thousand to thirty.
    assert (Corridor.farthest == 39) == novelty


def test_one_answer_that_is_no_tie_is_enough():
    answers = iter(["tie"] * 20)
    callback = PreferenceCallback(quick(), oracle=lambda left, right: next(answers, "left"))
    agent = PPO("MlpPolicy", dots(), n_steps=64, batch_size=64, seed=0)
    before = {name: t.clone() for name, t in agent.policy.state_dict().items()}
    agent.learn(3_000, callback=callback)
    assert callback.rows[-1]["labels"] == 60
    assert not all(torch.equal(before[name], t) for name, t in agent.policy.state_dict().items())


def test_a_first_fit_that_would_never_come_is_refused():
    config = PreferenceConfig(labels=200, first_labels=300, segment_length=10)
    with pytest.raises(ConfigError, match="300 labels that the first fit waits for, got 200"):
        config.check_budget(100_000)
    dataclasses.replace(config, labels_from=("earlier",)).check_budget(100_000)


def test_more_labels_than_pairs_are_refused():
    model = PPO("MlpPolicy", HideReward(counters(2)), n_steps=16, batch_size=32)
    with pytest.raises(ConfigError, match="expected segments enough for 5000 labels"):
        model.learn(640, callback=PreferenceCallback(quick(labels=5000)))


def test_episodes_shorter_than_a_segment_are_refused():
    venv = HideReward(counters(4, length=7, terminates=False))
    model = PPO("MlpPolicy", venv, n_steps=64, batch_size=64)
    with pytest.raises(NotEnoughDataError, match="had 7 steps; lower segment_length"):
        model.learn(5000, callback=PreferenceCallback(quick()))


@pytest.mark.parametrize("wrong", [{"labels": 0}, {"members": 0}, {"segment_length": 1}])
def test_settings_that_cannot_work_are_refused(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        PreferenceConfig(**wrong)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_ppo_solves_pendulum_from_comparisons(tmp_path):
    config = TrainConfig(
        "Pendulum-v1",
        steps=200_000,
        run=tmp_path / "run",
        films=False,
        preferences=PreferenceConfig(labels=300),
    )
    result = train(config)
    assert result.summary["eval_return_before_mean"] < -900
    assert result.eval_return_mean > -350
    assert math.isfinite(result.summary["reward_correlation"])
