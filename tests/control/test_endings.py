"""Tasks that end: to stay in them, to come to their end, and to end well."""

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3 import DQN, PPO
from stable_baselines3.common.env_util import make_vec_env

import prefrl
from prefrl.control.agent.callback import PreferenceCallback
from prefrl.control.environments.limits import LimitEpisodes, Limits
from prefrl.control.queries import QueryConfig
from prefrl.control.reward.config import RewardNetConfig

END = 5


class Corridor(gym.Env):
    """A walk between two doors, at -5 and 5, which end it. ``pays`` says what for."""

    metadata = {"render_modes": [], "render_fps": 10}  # noqa: RUF012 as in Gymnasium
    observation_space = spaces.Box(-1, 1, (1,), np.float32)
    action_space = spaces.Discrete(2)

    def __init__(self, pays):
        self.pays, self.place = pays, 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.place = int(self.np_random.integers(-2, 3))
        return self._see(), {}

    def step(self, action):
        self.place += 1 if action else -1
        ended = abs(self.place) == END
        reward = {"staying": 1.0, "leaving": -1.0, "the right door": float(self.place == END)}
        return self._see(), reward[self.pays], ended, False, {}

    def _see(self):
        return np.array([self.place / END], np.float32)


def corridors(pays, *, limits=None):
    def make():
        env = gym.wrappers.TimeLimit(Corridor(pays), 100)
        return LimitEpisodes(env, limits) if limits else env

    return prefrl.HideReward(make_vec_env(make, n_envs=8, seed=0))


def settings(**options):
    return prefrl.PreferenceConfig(
        labels=60,
        segment_length=10,
        refit_growth=1.0,
        query=QueryConfig(warmup_segments=40),
        net=RewardNetConfig(inputs="transition"),
        **options,
    )


def learner(venv):
    return PPO(
        "MlpPolicy", venv, n_steps=64, batch_size=128, learning_rate=3e-3, gamma=0.95, seed=0,
        policy_kwargs={"net_arch": [32]},
    )  # fmt: skip


def newest(callback):
    venv = callback.venv
    return np.mean(venv.finished_returns), np.mean(venv.finished_lengths)


@pytest.mark.parametrize(
    ("pays", "solved"),
    [
        ("staying", lambda returns, lengths: lengths > 80),
        ("leaving", lambda returns, lengths: lengths < 7),
        ("the right door", lambda returns, lengths: returns > 0.9),
    ],
)
def test_what_an_ending_is_worth_is_learned(pays, solved):
    callback = PreferenceCallback(settings())
    learner(corridors(pays)).learn(12_000, callback=callback)
    assert solved(*newest(callback))


@pytest.mark.parametrize("pays", ["staying", "the right door"])
def test_off_policy_agents_learn_it_too(pays):
    callback = PreferenceCallback(settings())
    agent = DQN(
        "MlpPolicy", corridors(pays), learning_rate=3e-3, gamma=0.95, seed=0, train_freq=1,
        gradient_steps=2, target_update_interval=100, exploration_fraction=0.4, batch_size=64,
        policy_kwargs={"net_arch": [32]},
    )  # fmt: skip
    agent.learn(6_000, callback=callback)
    returns, lengths = newest(callback)
    assert lengths > 40 if pays == "staying" else returns > 0.9


def test_oracles_that_differ_by_a_constant_per_step_teach_the_same():
    """Also in the steps that an episode did not live to see: nothing tells them apart."""

    def learned(constant):
        callback = None

        def compare(left, right):
            sums = [callback.items.true_rewards(one).sum() + constant * 10 for one in (left, right)]
            if sums[0] == sums[1]:
                return "tie"
            return "left" if sums[0] > sums[1] else "right"

        callback = PreferenceCallback(settings(), oracle=compare)
        agent = learner(corridors("staying"))
        agent.learn(2_000, callback=callback)
        return agent.policy.state_dict(), callback.venv.finished_lengths

    (policy, lengths), (other, other_lengths) = learned(0.0), learned(-7.0)
    assert lengths == other_lengths
    assert all((policy[name] == other[name]).all() for name in policy)


def test_hidden_endings_are_time_limits():
    venv = corridors("staying", limits=Limits(at_endings=True))
    callback = PreferenceCallback(settings())
    learner(venv).learn(2_000, callback=callback)
    assert venv.n_finished > 20
    assert not any(segment.n_held for segment in callback.pool.recent(1000))


def test_segments_of_all_lengths_are_chosen_from_the_first_episodes():
    config = prefrl.PreferenceConfig(labels=20, query=QueryConfig(warmup_segments=20))
    callback = PreferenceCallback(config)
    learner(corridors("staying")).learn(2_000, callback=callback)
    # Ten steps a second make 25 in 2.5 seconds; random walks are over earlier.
    assert 5 <= callback.config.segment_length < 25
    assert {len(segment) for segment in callback.pool.recent(1000)} == {
        callback.config.segment_length
    }
