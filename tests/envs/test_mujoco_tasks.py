import copy
import subprocess
import sys

import gymnasium as gym
import numpy as np
import pytest

HORIZONS = {
    "Reacher": 50,
    "InvertedPendulum": 25,
    "InvertedDoublePendulum": 50,
    "HalfCheetah": 1000,
    "Swimmer": 1000,
    "Hopper": 1000,
    "Walker2d": 1000,
    "Ant": 1000,
}


def make(name):
    return gym.make(f"prefrl_envs:prefrl/{name}-v0")


@pytest.mark.parametrize("name", HORIZONS)
def test_an_episode_has_its_full_length_whatever_happens(name):
    env = make(name)
    env.action_space.seed(0)
    env.reset(seed=0)
    for t in range(HORIZONS[name]):
        observation, reward, terminated, truncated, _ = env.step(env.action_space.sample())
        assert not terminated
        assert np.isfinite(observation).all()
        assert np.isfinite(reward)
        assert truncated == (t == HORIZONS[name] - 1)


@pytest.mark.parametrize("name", ["Hopper", "Walker2d", "Ant"])
@pytest.mark.parametrize("bound", ["low", "high"])
def test_an_agent_that_keeps_pushing_stays_finite(name, bound):
    env = make(name)
    env.reset(seed=0)
    truncated = False
    while not truncated:
        observation, reward, terminated, truncated, _ = env.step(getattr(env.action_space, bound))
        assert not terminated
        assert np.isfinite(observation).all()
        assert np.isfinite(reward)


@pytest.mark.parametrize("name", HORIZONS)
def test_a_simulation_that_diverges_starts_again_and_stays_finite(name):
    env = make(name)
    env.reset(seed=0)
    inner = env.unwrapped
    inner.set_state(inner.data.qpos, np.full_like(inner.data.qvel, 1e11))
    for _ in range(5):
        observation, reward, terminated, *_ = env.step(np.zeros(env.action_space.shape))
        assert not terminated
        assert np.isfinite(observation).all()
        assert np.isfinite(reward)
    assert abs(inner.data.qpos[0] - inner.init_qpos[0]) < 1  # not flung away


@pytest.mark.parametrize("name", HORIZONS)
def test_spaces_and_frames_per_second_are_those_of_gymnasium(name):
    ours, theirs = make(name), gym.make(f"{name}-v5")
    assert ours.observation_space == theirs.observation_space
    assert ours.action_space == theirs.action_space
    assert ours.metadata["render_fps"] == theirs.metadata["render_fps"]


@pytest.mark.parametrize("name", HORIZONS)
def test_an_environment_can_be_copied_with_its_arguments(name):
    env = gym.make(f"prefrl_envs:prefrl/{name}-v0", width=64).unwrapped
    copied = copy.deepcopy(env)
    assert type(copied) is type(env)
    assert copied.width == 64


def test_without_mujoco_an_id_is_known_and_says_what_to_install():
    code = (
        "import sys; sys.modules['mujoco'] = None\n"
        "import gymnasium as gym, prefrl_envs\n"
        "assert 'prefrl/Hopper-v0' in gym.registry\n"
        "gym.make('prefrl_envs:prefrl/MovingDot-v0').reset()\n"
        "try: gym.make('prefrl_envs:prefrl/Hopper-v0')\n"
        "except gym.error.DependencyNotInstalled as error: print(error)"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "gymnasium[mujoco]" in said.stdout


def expected_reward(name, env, before):
    """The rewards of rl-teacher's table, from the simulator's state alone."""
    data, dt = env.unwrapped.data, env.unwrapped.dt
    if name == "Reacher":
        return -np.linalg.norm(env.unwrapped.get_body_com("fingertip")
                               - env.unwrapped.get_body_com("target"))  # fmt: skip
    if name == "InvertedPendulum":
        return -(data.qpos[1] ** 2)
    if name == "InvertedDoublePendulum":
        return 10 * (data.site_xpos[0][2] - 1)
    # The ant's speed is that of its torso; the others' is that of their first coordinate.
    after = env.unwrapped.get_body_com("torso")[0] if name == "Ant" else data.qpos[0]
    speed = (after - before) / dt
    height = {"Hopper": lambda: data.qpos[1], "Walker2d": lambda: data.qpos[1] - 1,
              "Ant": lambda: data.qpos[2] - 1.2}  # fmt: skip
    return speed + height.get(name, lambda: 0.0)()


@pytest.mark.parametrize("name", HORIZONS)
def test_the_reward_is_what_a_person_can_see(name):
    env = make(name)
    env.action_space.seed(1)
    env.reset(seed=1)
    for _ in range(20):
        data = env.unwrapped.data
        before = env.unwrapped.get_body_com("torso")[0] if name == "Ant" else data.qpos[0]
        before = float(before)
        _, reward, *_ = env.step(env.action_space.sample())
        assert reward == pytest.approx(expected_reward(name, env, before), abs=1e-6)


@pytest.mark.parametrize("name", ["Reacher", "HalfCheetah", "Swimmer", "Hopper", "Walker2d", "Ant"])
def test_torque_is_free(name):
    env = make(name)
    env.reset(seed=0)
    *_, info = env.step(env.action_space.high)
    assert info["reward_ctrl"] == 0


@pytest.mark.parametrize("name", ["Hopper", "Walker2d", "Ant"])
def test_falling_costs_reward_and_does_not_end_the_episode(name):
    env = make(name)
    env.reset(seed=0)
    height = 2 if name == "Ant" else 1
    standing = [env.step(np.zeros(env.action_space.shape))[1] for _ in range(3)]
    position, velocity = env.unwrapped.data.qpos.copy(), env.unwrapped.data.qvel.copy()
    position[height] -= 0.6
    env.unwrapped.set_state(position, 0 * velocity)
    _, lying, terminated, *_ = env.step(np.zeros(env.action_space.shape))
    assert not terminated
    assert lying < np.mean(standing)
