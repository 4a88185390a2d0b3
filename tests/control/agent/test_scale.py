"""The learned reward is scaled as VecNormalize scales a true one."""

import numpy as np
import pytest
from control.toys import counters
from stable_baselines3.common.vec_env import VecNormalize

from prefrl.control.agent.scale import ReturnScale

GAMMA = 0.9


def rewards_and_dones(n_steps=600, n_envs=2, *, length=7):
    """What the toy environments pay, and when their episodes end."""
    venv = counters(n_envs, length=length)
    venv.reset()
    taken = [venv.step(np.zeros((n_envs, 1)))[1:3] for _ in range(n_steps)]
    return np.stack([r for r, _ in taken]).astype(np.float32), np.stack([d for _, d in taken])


def test_the_moments_are_those_of_vec_normalize():
    rewards, dones = rewards_and_dones()
    scale = ReturnScale(2, GAMMA)
    for rollout in range(0, 600, 50):
        scale(rewards[rollout : rollout + 50], dones[rollout : rollout + 50])

    theirs = VecNormalize(counters(2), norm_obs=False, gamma=GAMMA)
    theirs.reset()
    for _ in range(600):
        theirs.step(np.zeros((2, 1)))
    mean, var, count = scale.state_dict()["moments"]
    assert [mean, var, count] == pytest.approx(
        [theirs.ret_rms.mean, theirs.ret_rms.var, theirs.ret_rms.count]
    )
    assert scale(rewards[:1], dones[:1]) == pytest.approx(
        theirs.normalize_reward(rewards[:1]), rel=1e-3
    )


def test_by_hand():
    # Returns 1, 1.9, then the episode ends: 1 again. Mean 1.3, variance 0.18.
    ones, ends = np.ones((3, 1), np.float32), np.array([[False], [True], [False]])
    assert ReturnScale(1, GAMMA)(ones, ends) == pytest.approx(1 / np.sqrt(0.18), rel=1e-3)


def test_the_discounted_return_of_what_comes_out_has_a_deviation_of_one():
    rng = np.random.default_rng(0)
    rewards = rng.normal(size=(4000, 3)).astype(np.float32)
    scaled = ReturnScale(3, GAMMA)(rewards, np.zeros((4000, 3), bool))
    returns = np.zeros((4000, 3))
    for t, reward in enumerate(scaled):
        returns[t] = returns[t - 1] * GAMMA + reward
    assert returns.std() == pytest.approx(1, rel=0.01)


def test_a_jump_of_the_reward_moves_it_by_one_rollouts_share():
    rng = np.random.default_rng(0)
    scale, nothing = ReturnScale(2, GAMMA), np.zeros((500, 2), bool)
    for _ in range(20):
        before = scale(rng.normal(size=(500, 2)).astype(np.float32), nothing)
    after = scale(5 * rng.normal(size=(500, 2)).astype(np.float32), nothing)
    # The variance of 20 rollouts and of one with 25 times as much: 45/21, not 25.
    assert after.std() / before.std() == pytest.approx(5 / np.sqrt(45 / 21), rel=0.1)


def test_huge_rewards_are_clipped():
    spike = np.zeros((100, 1), np.float32)
    spike[50] = 1e6
    assert ReturnScale(1, GAMMA)(spike, np.zeros((100, 1), bool)).max() <= 10


def test_it_goes_on_from_its_state_and_forgets_a_cut_episode():
    rewards, dones = rewards_and_dones(100)
    whole, half = ReturnScale(2, GAMMA), ReturnScale(2, GAMMA)
    whole(rewards[:60], dones[:60])
    half.load_state_dict(whole.state_dict())
    np.testing.assert_array_equal(
        whole(rewards[60:80], dones[60:80]), half(rewards[60:80], dones[60:80])
    )
    half.forget(1)
    assert half.state_dict()["returns"][1] == 0
    assert half.state_dict()["returns"][0] == whole.state_dict()["returns"][0] != 0
