"""Rewards of a replay buffer are those of the newest reward, on what the environment showed."""

import gymnasium as gym
import numpy as np
import pytest
import torch
from control.toys import Counter, screens
from gymnasium import spaces
from stable_baselines3 import DQN, SAC, TD3, HerReplayBuffer
from stable_baselines3.common.buffers import DictReplayBuffer, ReplayBuffer
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from prefrl.control.agent.off_policy import ReplayRewards
from prefrl.control.agent.replay_buffer import RelabelledReplayBuffer, check_memory, relabelled
from prefrl.control.agent.small_pictures import SmallCombined
from prefrl.control.environments.hide_reward import HideReward
from prefrl.control.environments.stacking import StackFrames
from prefrl.control.off_policy import OffPolicyConfig
from prefrl.control.preferences import PreferenceConfig, step_reward
from prefrl.control.queries import QueryConfig
from prefrl.control.reward.config import RewardNetConfig
from prefrl.errors import ConfigError

BOX = spaces.Box(-1, 1, (2,), np.float32)


class TwoParts(Counter):
    """Shows the time in a dict of two vectors."""

    def __init__(self, **options):
        super().__init__(**options)
        part = spaces.Box(-np.inf, np.inf, (1,), np.float32)
        self.observation_space = spaces.Dict({"after": part, "before": part})

    def _see(self):
        return {"after": np.array([self.t], np.float32), "before": np.array([-self.t], np.float32)}


def fresh(net, seed):
    """Other parameters, as a publication brings them."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
        net.normalizer.shift.normal_(generator=generator)


def trained(algorithm, venv, *, n_steps, buffer_size=1000, policy="MlpPolicy", **options):
    """An agent that has acted, its rewards, and what was recorded, by the step."""
    hidden = venv
    while not isinstance(hidden, HideReward):
        hidden = hidden.venv
    config = PreferenceConfig(
        query=QueryConfig(warmup_segments=2),
        net=RewardNetConfig(hidden=(8,), frame_stack=2, convolutions=((3, 1, 4),)),
    )
    net = step_reward(hidden, config)
    model = algorithm(
        policy, venv, buffer_size=buffer_size, learning_starts=10**6, seed=0, device="cpu",
        train_freq=1, **options,
    )  # fmt: skip
    hidden.record(8, n_before=net.n_before, grows=True)
    rewards = ReplayRewards(model, hidden, net, OffPolicyConfig(), segment_length=5)
    model.learning_starts = 10**6
    model.learn(n_steps)
    return model, rewards, net, hidden.take()


def everything(buffer, env=None):
    """All steps of the first environment, in the order in which they are stored."""
    state = np.random.get_state()
    np.random.seed(0)
    one = buffer.n_envs
    buffer.n_envs = 1  # so that the draw of an environment gives the first
    try:
        return buffer._get_samples(np.arange(buffer.size()), env)
    finally:
        buffer.n_envs = one
        np.random.set_state(state)


CASES = {
    "several environments": (SAC, lambda: HideReward(DummyVecEnv([Counter] * 3)), {}),
    "bounds of 2": (SAC, lambda: HideReward(DummyVecEnv([lambda: gym.make("Pendulum-v1")])), {}),
    "noise": (TD3, lambda: HideReward(DummyVecEnv([lambda: gym.make("Pendulum-v1")])), {}),
    "standardised": (
        SAC,
        lambda: VecNormalize(HideReward(DummyVecEnv([Counter] * 2)), norm_reward=False),
        {},
    ),
    "discrete": (DQN, lambda: HideReward(DummyVecEnv([lambda: gym.make("CartPole-v1")])), {}),
    "a dict": (
        SAC,
        lambda: HideReward(DummyVecEnv([TwoParts])),
        {"policy": "MultiInputPolicy"},
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_rewards_are_those_of_predict_and_of_the_newest_weights(case):
    algorithm, make, options = CASES[case]
    model, _, net, rollout = trained(algorithm, make(), n_steps=60, **options)
    buffer = model.replay_buffer
    for seed in (1, 2):
        fresh(net, seed)
        predicted, _ = net.predict(rollout)  # (T, N)
        drawn = everything(buffer, model.get_vec_normalize_env())
        np.testing.assert_allclose(drawn.rewards[:, 0], predicted[:, 0], rtol=1e-4, atol=1e-5)
        assert predicted[:, 0].std() > 0.01


def test_a_buffer_that_has_wrapped_round_is_relabelled_whole():
    venv = HideReward(DummyVecEnv([lambda: gym.make("Pendulum-v1")]))
    model, _, net, rollout = trained(SAC, venv, n_steps=70, buffer_size=50)
    assert model.replay_buffer.full
    assert model.replay_buffer.pos == 20
    fresh(net, 3)
    predicted, _ = net.predict(rollout)
    order = np.r_[50:70, 20:50]  # what lies where, by the step
    drawn = everything(model.replay_buffer)
    np.testing.assert_allclose(drawn.rewards[:, 0], predicted[order, 0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("as_dict", [False, True])
def test_stacked_pictures_are_scored_as_those_that_were_recorded(as_dict):
    shape = (12, 12, 1)
    venv = StackFrames(HideReward(screens(2, shape=shape, as_dict=as_dict, length=7)), 3)
    kwargs = {"net_arch": [8]}
    if as_dict:
        kwargs["features_extractor_class"] = SmallCombined
        kwargs["features_extractor_kwargs"] = {"picture_key": "picture"}
    policy = "MultiInputPolicy" if as_dict else "MlpPolicy"
    model, _, net, rollout = trained(
        DQN, venv, n_steps=40, buffer_size=80, policy=policy, policy_kwargs=kwargs
    )
    fresh(net, 4)
    predicted, _ = net.predict(rollout)
    drawn = everything(model.replay_buffer)
    np.testing.assert_allclose(drawn.rewards[:, 0], predicted[:, 0], rtol=1e-3, atol=1e-4)
    assert predicted.std() > 1e-3


@pytest.mark.parametrize("terminates", [True, False])
def test_a_time_limit_is_no_end(terminates):
    venv = HideReward(DummyVecEnv([lambda: Counter(length=7, terminates=terminates)]))
    model, *_ = trained(SAC, venv, n_steps=21)
    ends = np.flatnonzero(everything(model.replay_buffer).dones[:, 0])
    assert ends.tolist() == ([6, 13, 20] if terminates else [])


@pytest.mark.parametrize("n_envs", [1, 3])
def test_it_draws_what_a_plain_buffer_draws(n_envs):
    rng = np.random.default_rng(0)
    plain = ReplayBuffer(90, BOX, BOX, n_envs=n_envs)
    ours = RelabelledReplayBuffer(90, BOX, BOX, n_envs=n_envs)
    for _ in range(40):
        step = [rng.normal(size=(n_envs, 2)) for _ in range(3)] + [rng.normal(size=n_envs)]
        for buffer in (plain, ours):
            buffer.add(*step, np.zeros(n_envs), [{}] * n_envs)
    drawn = []
    for buffer in (plain, ours):
        np.random.seed(5)
        drawn.append(buffer.sample(16))
    for name in ("observations", "actions", "next_observations", "dones", "rewards"):
        torch.testing.assert_close(getattr(drawn[0], name), getattr(drawn[1], name))


def test_a_share_of_a_batch_is_of_the_newest_steps():
    buffer = RelabelledReplayBuffer(100, BOX, BOX)
    for step in range(130):
        seen = np.full((1, 2), step)
        buffer.add(seen, seen, np.zeros((1, 2)), np.zeros(1), np.zeros(1), [{}])
    buffer.newest_share, buffer.n_newest = 0.5, 10
    np.random.seed(0)
    steps = buffer.sample(2000).observations[:, 0].numpy()
    assert 30 <= steps.min() < 35  # what is older was overwritten
    assert steps.max() == 129
    assert (steps >= 120).mean() == pytest.approx(0.5 + 0.5 * 10 / 100, abs=0.03)


def test_a_plain_buffer_keeps_its_content():
    plain = ReplayBuffer(10, BOX, BOX)
    plain.add(np.ones((1, 2)), np.ones((1, 2)), np.ones((1, 2)), np.ones(1), np.zeros(1), [{}])
    made = relabelled(plain, "SAC")
    assert isinstance(made, RelabelledReplayBuffer)
    assert made.sample(4).rewards.tolist() == [[1]] * 4
    assert relabelled(made, "SAC") is made


def test_a_dict_buffer_is_one_of_ours_from_the_start():
    space = spaces.Dict({"a": BOX, "b": BOX})
    made = RelabelledReplayBuffer(10, space, BOX)
    seen = {"a": np.ones((1, 2)), "b": np.zeros((1, 2))}
    made.add(seen, seen, np.ones((1, 2)), np.ones(1), np.zeros(1), [{}])
    assert made.sample(3).observations["a"].tolist() == [[1, 1]] * 3
    assert isinstance(relabelled(DictReplayBuffer(10, space, BOX), "SAC"), RelabelledReplayBuffer)


def test_what_cannot_be_relabelled_is_refused():
    class Mine(ReplayBuffer):
        pass

    with pytest.raises(ConfigError, match="plain replay buffer, got Mine"):
        relabelled(Mine(10, BOX, BOX), "SAC")
    with pytest.raises(ConfigError, match="plain replay buffer, got NoneType"):
        relabelled(None, "SAC")
    assert issubclass(HerReplayBuffer, DictReplayBuffer)  # so it is refused by its exact class
    lean = ReplayBuffer(10, BOX, BOX, optimize_memory_usage=True, handle_timeout_termination=False)
    with pytest.raises(ConfigError, match="optimize_memory_usage"):
        relabelled(lean, "SAC")


def test_a_buffer_without_memory_for_it_is_refused():
    check_memory(1_000_000, 4, BOX, BOX)
    with pytest.raises(ConfigError, match=r"take [\d,]+ GiB; lower agent.buffer_size, to [\d,]+ "):
        check_memory(10**12, 4, BOX, BOX)
    picture = spaces.Box(0, 255, (84, 84, 1), np.uint8)
    with pytest.raises(ConfigError, match=r"transitions of 55\.\d KiB"):
        check_memory(10**9, 4, picture, spaces.Discrete(6))
