import gymnasium as gym
import numpy as np
import pytest
from control.toys import Counter, counters
from gymnasium import spaces
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import DummyVecEnv, VecMonitor, VecNormalize

from prefrl.control.agent.episodes import typical_return
from prefrl.control.environments.batched import GAME_OVER_KEY, SCORE_KEY
from prefrl.control.environments.hide_reward import HideReward, find_hide_reward
from prefrl.control.environments.making import make_environments
from prefrl.control.environments.spaces import action_width, encode_actions, layout_of
from prefrl.control.environments.states import RecordState
from prefrl.errors import ConfigError, UnsupportedSpaceError


def test_the_agent_gets_zero_and_the_record_has_everything():
    venv = HideReward(counters(2, length=3))
    venv.record(5)
    venv.reset()
    rewards = [venv.step(np.full((2, 1), 0.5, np.float32))[1] for _ in range(5)]
    assert not np.any(rewards)
    taken = venv.take()
    assert taken.observations[:, 0, 0].tolist() == [0, 1, 2, 0, 1]
    assert taken.actions[:, 1, 0].tolist() == [0.5] * 5
    assert taken.true_rewards[:, 0].tolist() == [0.5, 10.5, 20.5, 0.5, 10.5]
    assert taken.dones[:, 0].tolist() == [False, False, True, False, False]
    assert list(venv.finished_returns) == [31.5, 31.5]
    assert venv.finished_rewards == venv.finished_returns
    assert list(venv.finished_lengths) == [3, 3]
    assert len(venv.take().dones) == 0


@pytest.mark.parametrize("terminates", [True, False])
def test_the_record_knows_what_came_of_each_step(terminates):
    venv = HideReward(
        make_vec_env(lambda: RecordState(Counter(length=3, terminates=terminates)), n_envs=2)
    )
    venv.record(5)
    venv.reset()
    for _ in range(5):
        venv.step(np.zeros((2, 1), np.float32))
    taken = venv.take()
    assert taken.next_observations[:, 1, 0].tolist() == [1, 2, 3, 1, 2]  # the last one, too
    assert taken.ended[:, 0].tolist() == [False, False, terminates, False, False]
    assert taken.dones[:, 0].tolist() == [False, False, True, False, False]
    assert taken.final_states[2].tolist() == [[3.0 * terminates]] * 2


def test_observations_are_those_of_the_environment_not_the_normalised_ones():
    venv = VecNormalize(HideReward(counters(1, length=9)), norm_reward=False)
    hidden = find_hide_reward(venv)
    hidden.record(4)
    venv.reset()
    for _ in range(4):
        venv.step(np.zeros((1, 1), np.float32))
    assert hidden.take().observations[:, 0].tolist() == [[t, -t] for t in (0, 1, 2, 3)]


def test_a_reset_in_between_ends_the_episode():
    venv = HideReward(counters(1, length=9))
    venv.record(4)
    venv.reset()
    venv.step(np.zeros((1, 1), np.float32))
    venv.reset()
    venv.step(np.zeros((1, 1), np.float32))
    assert venv.take().dones[:, 0].tolist() == [True, False]
    assert venv.n_finished == 0


def test_a_state_brings_the_counts_back_and_an_episode_can_be_given_up():
    venv = HideReward(counters(2, length=3))
    venv.reset()
    for _ in range(5):
        venv.step(np.zeros((2, 1), np.float32))
    state = venv.state_dict()
    venv.step(np.zeros((2, 1), np.float32))  # touches no state that was taken before
    again = HideReward(counters(2, length=3))
    for _ in range(2):  # nor does it matter what was there
        again.load_state_dict(state)
    assert (again._returns.tolist(), again._lengths.tolist()) == ([10, 10], [2, 2])
    assert (list(again.finished_returns), list(again.finished_lengths)) == ([30, 30], [3, 3])
    assert (again.n_finished, again.interrupted) == (2, set())
    again.interrupt(1)
    assert (again._returns.tolist(), again._lengths.tolist()) == ([10, 0], [2, 0])
    assert again.interrupted == {1}


def test_the_margin_of_a_game_is_in_the_units_of_the_oracle():
    """A row of Seaquest's points is worth 20 each, and 1 to the oracle; a lost game costs it 10."""
    games = make_environments("prefrl_envs:prefrl/Seaquest-v0", n_envs=4, seed=0)
    venv, rng, total = HideReward(games), np.random.default_rng(0), np.zeros(4)
    venv.reset()
    while venv.n_finished < 2:
        before = venv.n_finished
        _, _, _, infos = venv.step(rng.integers(18, size=4))
        total += [min(1.0, info[SCORE_KEY]) for info in infos]
        for i in (i for i, info in enumerate(infos) if GAME_OVER_KEY in info):
            assert venv.n_finished > before
            assert venv.finished_rewards[before] == pytest.approx(total[i] - 10)
            total[i], before = 0, before + 1
    assert any(score > 0 for score in venv.finished_returns)
    assert venv.finished_rewards != venv.finished_returns
    expected = np.mean(venv.finished_rewards) * 25 / max(venv.finished_lengths)
    assert typical_return(venv, 25) == pytest.approx(expected)
    again = HideReward(games)
    again.load_state_dict(venv.state_dict())
    assert again.finished_rewards == venv.finished_rewards
    assert (again._rewards == venv._rewards).all()


def test_wrapping_a_normalised_environment_is_refused():
    with pytest.raises(ConfigError, match="inside of VecNormalize"):
        HideReward(VecNormalize(counters()))


def test_an_environment_without_it_is_named():
    with pytest.raises(ConfigError, match=r"prefrl\.HideReward"):
        find_hide_reward(counters())


class Spaces(gym.Env):
    def __init__(self, observation_space, action_space):
        self.observation_space = observation_space
        self.action_space = action_space


BOX = spaces.Box(-1, 1, (2,), np.float32)


@pytest.mark.parametrize(
    ("observation", "action", "message"),
    [
        (spaces.Tuple([BOX, BOX]), BOX, "wrapper_class=prefrl.adapt_spaces"),
        (spaces.Box(0, 1, (84, 84, 3), np.float32), BOX, "pictures of uint8"),
        (spaces.Discrete(100_000), BOX, "at most 10,000 one-hot numbers"),
        (BOX, spaces.Discrete(3, start=1), "counted from 0.*adapt_spaces"),
        (BOX, spaces.MultiDiscrete([2, 2], start=[0, 1]), "counted from 0.*adapt_spaces"),
        (BOX, spaces.MultiDiscrete([[2, 2]]), "in one row.*adapt_spaces"),
        (BOX, spaces.Tuple([BOX]), "Box, Discrete, MultiDiscrete or MultiBinary.*adapt_spaces"),
        (BOX, spaces.Box(0, np.inf, (1,)), "a lower and an upper bound"),
    ],
)
def test_spaces_that_are_not_supported_are_refused(observation, action, message):
    with pytest.raises(UnsupportedSpaceError, match=message):
        HideReward(DummyVecEnv([lambda: Spaces(observation, action)]))


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (lambda: Counter(), "of Stable-Baselines3, got Counter"),
        (lambda: gym.make_vec("CartPole-v1", 2), "got CartPoleVectorEnv"),
        (lambda: HideReward(counters()), "wrap it once"),
        (lambda: VecMonitor(HideReward(counters())), "wrap it once"),
    ],
)
def test_what_cannot_be_wrapped_is_refused(made, words):
    with pytest.raises(ConfigError, match=words):
        HideReward(made())


@pytest.mark.parametrize(
    ("space", "value", "numbers"),
    [
        (spaces.Discrete(3, start=5), [6], [0, 1, 0]),
        (spaces.MultiDiscrete([2, 3]), [[1, 2]], [0, 1, 0, 0, 1]),
        (spaces.MultiDiscrete([[2], [2]], start=[[1], [0]]), [[[2], [0]]], [0, 1, 1, 0]),
        (spaces.MultiBinary([2, 2]), [[[1, 0], [0, 1]]], [1, 0, 0, 1]),
        (spaces.Box(0, 1, (2, 1), bool), [[[True], [False]]], [1, 0]),
    ],
)
def test_choices_enter_the_reward_net_one_hot(space, value, numbers):
    encoded = encode_actions(np.array(value), space)
    assert encoded.dtype == np.float32
    np.testing.assert_array_equal(encoded, [numbers])
    assert action_width(space) == len(numbers)
    np.testing.assert_array_equal(layout_of(space).split(np.array(value))[0], [numbers])
    in_dict = layout_of(spaces.Dict(a=BOX, b=space))
    whole = {"a": np.zeros((1, 2), np.float32), "b": np.array(value)}
    np.testing.assert_array_equal(in_dict.split(whole)[0], [[0, 0, *numbers]])
    np.testing.assert_array_equal(in_dict.numbers(whole), [[0, 0, *numbers]])


def test_a_choice_that_the_space_does_not_have_is_no_other_choice():
    with pytest.raises(ValueError, match=r"expected choices of Discrete\(3\), got \[-1\]"):
        encode_actions(np.array([-1]), spaces.Discrete(3))
