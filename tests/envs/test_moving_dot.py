import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from stable_baselines3.common.env_checker import check_env as check_env_of_sb3

DOT = "prefrl_envs:prefrl/MovingDot-v0"
CONTINUOUS = "prefrl_envs:prefrl/MovingDotContinuous-v0"


@pytest.mark.parametrize("env_id", [DOT, CONTINUOUS])
def test_it_is_a_proper_environment(env_id):
    check_env(gym.make(env_id, render_mode="rgb_array").unwrapped)
    check_env_of_sb3(gym.make(env_id, render_mode="rgb_array"))


def test_moves_and_reward_by_hand():
    env = gym.make(DOT).unwrapped
    env.reset(seed=0)
    env.set_state(np.array([0.7, 0.5]))
    observation, reward, *_ = env.step(2)  # right
    assert observation.tolist() == pytest.approx([0.8, 0.5])
    # distance from (0.8, 0.5) to (1, 1)
    assert reward == pytest.approx(-np.sqrt(0.2**2 + 0.5**2))
    for action, place in [(0, (0.8, 0.5)), (1, (0.7, 0.5)), (3, (0.7, 0.4)), (4, (0.7, 0.5))]:
        assert env.step(action)[0].tolist() == pytest.approx(place)


def test_continuous_moves_are_bounded_and_stay_inside():
    env = gym.make(CONTINUOUS).unwrapped
    env.reset(seed=0)
    env.set_state(np.array([0.95, -0.95]))
    observation, *_ = env.step(np.array([1.0, -1.0], np.float32))
    assert observation.tolist() == pytest.approx([1.0, -1.0])


def test_every_episode_has_50_steps_and_no_end_of_its_own():
    env = gym.make(DOT)
    for seed in range(3):
        env.reset(seed=seed)
        for t in range(50):
            _, _, terminated, truncated, _ = env.step(4)
            assert not terminated
            assert truncated == (t == 49)


def test_a_picture_shows_where_the_dot_is():
    env = gym.make(DOT, render_mode="rgb_array").unwrapped
    env.reset(seed=0)
    pictures = []
    for place in ([-1.0, -1.0], [0.0, 0.0]):
        env.set_state(np.array(place))
        pictures.append(env.render().astype(int))
    assert pictures[0].shape == (256, 256, 3)
    assert pictures[1][128, 128].tolist() == [213, 94, 0]  # the dot, in the middle
    assert pictures[0][128, 128].tolist() == [246, 248, 250]
    rows, columns = np.nonzero((pictures[0] == [213, 94, 0]).all(-1))
    assert rows.mean() > 200  # down and left
    assert columns.mean() < 56
