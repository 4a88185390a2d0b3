import gymnasium as gym
import numpy as np
import pytest

from prefrl.control.states import STATE_KEY, RecordState, read_state, write_state


@pytest.mark.parametrize("env_id", ["Hopper-v5", "prefrl_envs:prefrl/MovingDot-v0"])
def test_the_state_before_a_step_leads_to_the_same_step_again(env_id):
    env = RecordState(gym.make(env_id))
    env.action_space.seed(0)
    env.reset(seed=0)
    for _ in range(5):
        action = env.action_space.sample()
        observation, _, _, _, info = env.step(action)
    other = gym.make(env_id)
    other.reset(seed=1)
    write_state(other, info[STATE_KEY])
    assert np.array_equal(read_state(other), info[STATE_KEY])
    again, *_ = other.step(action)
    np.testing.assert_allclose(again, observation, atol=1e-6)


def test_an_environment_that_cannot_tell_is_left_alone():
    env = RecordState(gym.make("CartPole-v1"))
    env.reset(seed=0)
    assert STATE_KEY not in env.step(0)[4]
    assert read_state(env) is None
