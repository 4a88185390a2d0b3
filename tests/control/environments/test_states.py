import builtins
import subprocess
import sys

import gymnasium as gym
import numpy as np
import pytest

from prefrl.control.environments.states import (
    STATE_KEY,
    RecordState,
    log_mujoco_warnings,
    read_state,
    write_state,
)
from prefrl.errors import ConfigError


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


@pytest.mark.parametrize("task", ["Reacher", "InvertedDoublePendulum", "Swimmer", "Ant"])
def test_a_mujoco_state_is_qpos_then_qvel_before_the_step(task):
    env = RecordState(gym.make(f"prefrl_envs:prefrl/{task}-v0"))
    env.reset(seed=0)
    data = env.unwrapped.data
    before = np.concatenate([data.qpos, data.qvel])
    state = env.step(env.action_space.high)[4][STATE_KEY]
    assert state.dtype == np.float64
    assert np.array_equal(state, before)  # a copy: the step has moved data since
    assert not np.array_equal(before[: len(data.qpos)], data.qpos)


def test_mujoco_is_not_imported_for_an_environment_without_it():
    code = (
        "import sys, gymnasium as gym; from prefrl.control.environments.states import RecordState;"
        "env = RecordState(gym.make('prefrl_envs:prefrl/MovingDot-v0')); env.reset();"
        "assert env.step(0)[4]['prefrl/state'].shape == (2,); print('mujoco' in sys.modules)"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "False"


@pytest.mark.parametrize("kind", [AttributeError, RuntimeError])
def test_a_gl_that_mujoco_cannot_be_imported_with_is_refused_with_what_to_do(monkeypatch, kind):
    real = builtins.__import__

    def refuse(name, *args, **kwargs):
        if name == "mujoco":
            raise kind("no such GL")
        return real(name, *args, **kwargs)

    monkeypatch.setenv("MUJOCO_GL", "osmesa")
    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(ConfigError, match=r"got 'osmesa' \(no such GL\); unset it"):
        log_mujoco_warnings.__wrapped__()  # past its cache
