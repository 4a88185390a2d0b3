"""What off-policy agents do in their own way."""

import copy
import sys

import gymnasium as gym
import numpy as np
import pytest
import torch
from stable_baselines3 import DQN, SAC
from stable_baselines3.common.vec_env import DummyVecEnv

import prefrl
from prefrl.control.agent.agent import Agent, AgentConfig
from prefrl.control.agent.callback import PreferenceCallback
from prefrl.control.agent.novelty import distance_to_nearest
from prefrl.control.agent.off_policy import stretch_of
from prefrl.control.agent.replay_buffer import RelabelledReplayBuffer
from prefrl.control.environments.hide_reward import HideReward
from prefrl.control.off_policy import OffPolicyConfig
from prefrl.control.preferences import PreferenceConfig
from prefrl.control.queries import QueryConfig
from prefrl.core.trainer import FitConfig
from prefrl.errors import ConfigError, UnsupportedSpaceError

DOT = "prefrl_envs:prefrl/MovingDot-v0"
CONTINUOUS = "prefrl_envs:prefrl/MovingDotContinuous-v0"
SMALL = {"hidden": (16,), "learning_starts": 100, "batch_size": 16, "train_freq": 10}


def preferences(labels=20, **options):
    return PreferenceConfig(
        labels=labels,
        segment_length=10,
        query=QueryConfig(warmup_segments=30),
        fit=FitConfig(min_steps=20, max_steps=20),
        **options,
    )


def dots(env_id=CONTINUOUS, n_envs=1):
    return HideReward(DummyVecEnv([lambda: gym.make(env_id)] * n_envs))


class Watched(PreferenceCallback):
    """Keeps how many updates there were, at which version of the reward, after each step."""

    def _on_step(self):
        self.seen = getattr(self, "seen", [])
        self.seen.append((self.model._n_updates, self.partners.used.version))
        return True


def test_a_plain_script_needs_no_class_and_learns_nothing_before_there_is_a_reward():
    model = SAC(
        "MlpPolicy", dots(), policy_kwargs={"net_arch": [16]}, learning_starts=50, train_freq=10,
        batch_size=16, seed=0, device="cpu",
    )  # fmt: skip
    callback = Watched(preferences(), seed=0)
    model.learn(3000, callback=callback)
    assert isinstance(model.replay_buffer, RelabelledReplayBuffer)
    assert {updates for updates, version in callback.seen if version == 0} == {0}
    assert callback.seen[-1][0] == pytest.approx(200, abs=2)  # of 2,000 steps, one for each ten
    assert model.learning_starts == 50
    rows = callback.rows
    assert [row["env_steps"] for row in rows] == [1000, 2000, 3000]
    assert rows[-1]["labels"] == 20
    assert rows[-1]["reward_version"] >= 1


def test_a_buffer_of_ours_by_name_does_too():
    model = SAC(
        "MlpPolicy", dots(), policy_kwargs={"net_arch": [8]}, learning_starts=50, train_freq=50,
        replay_buffer_class=prefrl.RelabelledReplayBuffer, seed=0, device="cpu",
    )  # fmt: skip
    buffer = model.replay_buffer
    model.learn(1200, callback=PreferenceCallback(preferences(), seed=0))
    assert model.replay_buffer is buffer
    assert buffer.rewards_of is not None


def test_learn_and_iterate_are_the_same():
    ends = []
    for by_hand in (False, True):
        made = Agent(CONTINUOUS, "sac", AgentConfig(**SMALL), seed=1)
        callback = PreferenceCallback(preferences(), seed=1)
        if by_hand:
            made.start(2500, [callback])
            while made.iterate():
                pass
            made.finish()
        else:
            made.model.learn(2500, callback=callback)
        ends.append((made.model.policy.state_dict(), [r["env_steps"] for r in callback.rows]))
    assert ends[0][1] == ends[1][1]
    for name, tensor in ends[0][0].items():
        assert torch.equal(tensor, ends[1][0][name]), name


def test_train_freq_in_episodes():
    made = Agent(
        CONTINUOUS,
        "sac",
        AgentConfig(**{**SMALL, "train_freq": 3, "train_freq_unit": "episode"}, gradient_steps=5),
        seed=0,
    )
    callback = PreferenceCallback(preferences(), seed=0)
    made.start(2500, [callback])
    while made.iterate() and made.model.num_timesteps < 2500:
        assert made.environments.n_recorded == 0  # a checkpoint would miss nothing
    assert [row["env_steps"] for row in callback.rows] == [1050, 2100]


@pytest.mark.parametrize("algo", ["sac", "td3", "tqc", "crossq", "dqn", "qr-dqn"])
def test_on_the_true_reward(algo):
    env_id = DOT if "dqn" in algo else CONTINUOUS
    made = Agent(env_id, algo, AgentConfig(**SMALL), seed=0, hide_reward=False)
    before = copy.deepcopy(made.model.policy.state_dict())
    made.start(300, [])
    while made.iterate():
        pass
    assert made.model.num_timesteps == 300
    assert any(not torch.equal(t, before[k]) for k, t in made.model.policy.state_dict().items())
    rewards = made.model.replay_buffer.rewards[:300]
    assert -3 < rewards.min() < rewards.max() <= 0  # as they are, of a distance


@pytest.mark.parametrize(("algorithm", "env_id"), [(SAC, CONTINUOUS), (DQN, DOT)])
def test_a_critic_begins_anew_with_its_target_and_optimiser(algorithm, env_id):
    model = algorithm(
        "MlpPolicy", dots(env_id), policy_kwargs={"net_arch": [8]}, learning_starts=10, seed=0,
        train_freq=10, device="cpu",
    )  # fmt: skip
    callback = PreferenceCallback(
        preferences(off_policy=OffPolicyConfig(reset_critic=True)), seed=0
    )
    model.learn(1400, callback=callback)
    critic = model.critic if algorithm is SAC else model.q_net
    target = model.critic_target if algorithm is SAC else model.q_net_target
    optimizer = model.critic.optimizer if algorithm is SAC else model.policy.optimizer
    before = copy.deepcopy(critic.state_dict())
    assert optimizer.state
    rewards = callback._rewards
    used = prefrl.control.agent.off_policy.UsedReward(version=rewards._version + 1)
    rewards.deliver(None, None, used, {})
    assert not any(torch.equal(t, before[name]) for name, t in critic.state_dict().items())
    for name, tensor in critic.state_dict().items():
        assert torch.equal(tensor, target.state_dict()[name])
    assert not optimizer.state


def test_updates_after_a_fit_come_on_top():
    counts = []
    for more in (0, 50):
        model = SAC(
            "MlpPolicy", dots(), policy_kwargs={"net_arch": [8]}, learning_starts=10, seed=0,
            train_freq=100, batch_size=8, device="cpu",
        )  # fmt: skip
        options = OffPolicyConfig(updates_after_fit=more)
        callback = PreferenceCallback(preferences(off_policy=options), seed=0)
        model.learn(1000, callback=callback)
        counts.append(model._n_updates)
        assert callback.rows[-1]["reward_version"] == 1
    assert counts[1] == counts[0] + 50


def test_it_explores_before_it_has_a_reward():
    model = SAC(
        "MlpPolicy", dots(), policy_kwargs={"net_arch": [8]}, learning_starts=10, seed=0,
        train_freq=10, device="cpu",
    )  # fmt: skip
    options = OffPolicyConfig(explore_steps=1500)
    callback = Watched(preferences(off_policy=options), seed=0)
    model.learn(2100, callback=callback)
    assert max(updates for updates, version in callback.seen if version == 0) > 50
    assert model.replay_buffer.rewards_of == callback._rewards.rewards  # not any more
    assert model.learning_starts == 10


def test_the_distance_to_the_kth_nearest_by_hand():
    states = np.array([[0.0], [10.0]])
    seen = np.array([[0.0], [1.0], [3.0], [6.0], [11.0]])
    # The first is among them, and does not count; the second is not.
    assert distance_to_nearest(states, seen, k=2).tolist() == [3.0, 4.0]
    assert distance_to_nearest(states, seen, k=50).tolist() == [11.0, 10.0]
    rng = np.random.default_rng(0)
    states, seen = rng.normal(size=(6, 3)), rng.normal(size=(40, 3))
    slow = [np.sort(np.linalg.norm(seen - state, axis=1))[4] for state in states]
    np.testing.assert_allclose(distance_to_nearest(states, seen), slow)


def test_pictures_are_not_explored_by_distances():
    made = Agent(
        "prefrl_envs:prefrl/MovingDotPixels-v0", "dqn", AgentConfig(buffer_size=100), seed=0
    )
    options = OffPolicyConfig(explore_steps=100)
    callback = PreferenceCallback(preferences(off_policy=options), seed=0)
    with pytest.raises(UnsupportedSpaceError, match="explore_steps"):
        made.start(1000, [callback])


def test_what_stands_for_a_rollout():
    assert stretch_of(50, 1) == 1000
    assert stretch_of(50, 8) == 125
    assert stretch_of(50, 64) == 50


def test_after_its_training_an_agent_has_the_settings_that_it_came_with():
    model = SAC("MlpPolicy", dots(), policy_kwargs={"net_arch": [8]}, learning_starts=20)
    too_many = preferences(labels=1)  # but it ends before there are segments for a first label
    model.learn(500, callback=PreferenceCallback(too_many, seed=0))
    assert model._n_updates == 0
    assert model.learning_starts == 20


def test_the_agent_is_held_back_by_no_number_that_it_reaches():
    made = Agent(CONTINUOUS, "sac", AgentConfig(**SMALL), seed=0)
    made.start(10**6, [PreferenceCallback(preferences(), seed=0)])
    assert made.model.learning_starts == sys.maxsize


@pytest.mark.parametrize(
    "bad", [{"explore_steps": -1}, {"updates_after_fit": -1}, {"newest_share": 1.5}]
)
def test_bad_settings_are_refused(bad):
    with pytest.raises(ConfigError, match=next(iter(bad))):
        OffPolicyConfig(**bad)
