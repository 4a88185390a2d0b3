"""One place makes environments: with arguments and wrappers, which are refused in one sentence."""

import gymnasium as gym
import numpy as np
import pytest
from control.toys import Counter
from gymnasium import spaces
from gymnasium.envs.registration import EnvSpec

from prefrl import EnvConfig
from prefrl.control.environments.making import (
    check_environment,
    check_first_step,
    make_environments,
    restore,
    snapshots,
)
from prefrl.control.environments.source import make_env, make_games
from prefrl.control.films.games import open_renderer
from prefrl.errors import ConfigError, FilmError, UnsupportedSpaceError

POINTS = "prefrl_envs:prefrl/Pong-v0"


class Sized(Counter):
    """Has no ``render_mode``; may raise, and may give rewards of several numbers."""

    def __init__(self, size, trouble="", n_rewards=1):
        if trouble:
            raise OSError(f"no device\n{trouble}")
        super().__init__(length=size)
        self.n_rewards = n_rewards

    def step(self, action):
        observation, reward, *rest = super().step(action)
        return observation, np.full(self.n_rewards, reward), *rest


class Doubled(gym.ObservationWrapper):
    """Shows everything twice."""

    def __init__(self, env):
        super().__init__(env)
        self.observation_space = spaces.Box(-np.inf, np.inf, (4,), np.float32)

    def observation(self, observation):
        return np.tile(observation, 2)


class Shorter(gym.Wrapper):
    """Sees the time limit of ``gymnasium.make``; is seen by what mends broken environments."""

    def step(self, action):
        observation, reward, terminated, truncated, info = self.env.step(action)
        info["truncated within"] = truncated
        if float(action[0]) < -0.9:
            raise RuntimeError("the wrapper broke")
        return observation, reward, terminated, truncated, info


def not_a_wrapper(env):
    return env.action_space


A_NUMBER = 5
HERE = f"{__name__}:"
SIZED = "Sized-v0"


@pytest.fixture(autouse=True)
def sized(monkeypatch):
    for env_id, limit in ((SIZED, None), ("Limited-v0", 3)):
        # Gymnasium's checker warns of rewards that are arrays, and warnings are errors here.
        spec = EnvSpec(env_id, Sized, max_episode_steps=limit, disable_env_checker=True)
        monkeypatch.setitem(gym.registry, env_id, spec)


def test_arguments_and_wrappers_reach_the_environments():
    env = EnvConfig(kwargs={"size": 4}, wrapper=(HERE + "Doubled", HERE + "Doubled"))
    made = make_env(SIZED, env)
    assert made.unwrapped.length == 4
    wrapped = EnvConfig(kwargs={"size": 2}, wrapper=(HERE + "Doubled",))
    venv = make_environments(SIZED, n_envs=2, seed=0, env=wrapped)
    assert venv.reset().tolist() == [[0, 0, 0, 0]] * 2
    venv.step(np.zeros((2, 1), np.float32))
    again = make_environments(SIZED, n_envs=2, seed=0, env=wrapped)
    again.reset()
    assert restore(again, snapshots(venv), seeds=[0, 1]) == ["", ""]
    _, _, dones, infos = again.step(np.zeros((2, 1), np.float32))
    assert dones.all()
    assert infos[0]["terminal_observation"].tolist() == [2, -2, 2, -2]
    check_environment(SIZED, wrapped)


def test_wrappers_stand_between_the_time_limit_and_the_guard():
    env = EnvConfig(kwargs={"size": 90}, wrapper=(HERE + "Shorter",))
    venv = make_environments("Limited-v0", n_envs=1, seed=0, env=env)
    venv.reset()
    told = [venv.step(np.zeros((1, 1)))[3][0]["truncated within"] for _ in range(3)]
    assert told == [False, False, True]
    _, _, dones, infos = venv.step(np.full((1, 1), -1.0))
    assert dones[0]
    assert "the wrapper broke" in infos[0]["prefrl/fault"]


def test_a_guard_makes_it_anew_with_the_same_arguments():
    env = EnvConfig(kwargs={"size": 7}, wrapper=(HERE + "Shorter", HERE + "Doubled"))
    venv = make_environments(SIZED, n_envs=1, seed=0, env=env)
    venv.reset()
    venv.step(np.full((1, 1), -1.0))
    assert venv.get_attr("length") == [7]
    assert venv.step(np.zeros((1, 1)))[0].shape == (1, 4)


@pytest.mark.parametrize(
    ("env", "words"),
    [
        (None, r"got none: .*missing 1 required positional argument: 'size'; .*--env\.kwargs"),
        ({"kwargs": {"size": 3, "nope": 1}}, r"got \{.*unexpected keyword argument 'nope'"),
        ({"kwargs": {"size": 3, "trouble": "at all"}}, "raised OSError: no device at all; fix"),
        ({"wrapper": ("nowhere:Gone",)}, "nowhere:Gone to be there, but No module named"),
        ({"wrapper": (HERE + "Gone",)}, "has no attribute 'Gone'"),
        ({"wrapper": (HERE + "A_NUMBER",)}, "to be a class of wrappers, got int"),
        (
            {"kwargs": {"size": 3}, "wrapper": (HERE + "not_a_wrapper",)},
            "to give an environment, got Box",
        ),
        (
            {"kwargs": {"size": 3}, "wrapper": ("gymnasium.wrappers:RescaleAction",)},
            "from the environment alone, but it raised TypeError",
        ),
    ],
)
def test_what_cannot_be_made_is_said_in_one_sentence(env, words):
    env = env and EnvConfig(**env)
    for function in (check_environment, make_env):
        with pytest.raises(ConfigError, match=words) as caught:
            function(SIZED, env)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"kwargs": {"render_mode": "human"}}, "without render_mode"),
        ({"kwargs": {"size": np.int64(3)}}, "config.json can hold"),
        ({"kwargs": {"size": (3, 4)}}, "config.json can hold"),
        ({"kwargs": [1]}, "arguments by name"),
        ({"kwargs": {1: 2}}, "arguments by name"),
        ({"wrapper": ("Class",)}, "as module:Class, got 'Class'"),
        ({"wrapper": ("module:",)}, "as module:Class"),
    ],
)
def test_a_config_that_cannot_work_is_refused(fields, words):
    with pytest.raises(ConfigError, match=words):
        EnvConfig(**fields)


def test_a_reward_of_several_numbers_is_refused_before_work_starts():
    check_first_step(SIZED, EnvConfig(kwargs={"size": 3}))
    with pytest.raises(UnsupportedSpaceError, match="one number, got 2 of them from Sized"):
        check_first_step(SIZED, EnvConfig(kwargs={"size": 3, "n_rewards": 2}))


def test_what_always_breaks_at_its_first_step_is_refused():
    with pytest.raises(ConfigError, match=r"broke at its first step 3 times, .* RuntimeError: alw"):
        check_first_step(SIZED, EnvConfig(kwargs={"size": 3}, wrapper=(HERE + "Broken",)))


def test_what_breaks_once_is_left_to_the_guard(caplog):
    Moody.works = False
    check_first_step(SIZED, EnvConfig(kwargs={"size": 3}, wrapper=(HERE + "Moody",)))
    assert "broke at its first step: RuntimeError: this time" in caplog.text


class Broken(gym.Wrapper):
    """Never works."""

    def reset(self, *, seed=None, options=None):
        raise RuntimeError("always")


class Moody(gym.Wrapper):
    """Works the second time."""

    works = False

    def reset(self, *, seed=None, options=None):
        if not type(self).works:
            type(self).works = True
            raise RuntimeError("this time")
        return super().reset(seed=seed, options=options)


def test_games_that_are_stepped_together_take_no_wrappers():
    pytest.importorskip("ale_py")
    with pytest.raises(ConfigError, match=r"no env.wrapper for .*Pong-v0, whose games"):
        make_games(POINTS, EnvConfig(wrapper=(HERE + "Shorter",)), 1)
    with pytest.raises(ConfigError, match=r"no env.wrapper for .*Pong-v0, whose games"):
        check_environment(POINTS, EnvConfig(wrapper=(HERE + "Shorter",)))


def test_games_that_are_stepped_together_take_arguments_of_their_own():
    pytest.importorskip("ale_py")
    with pytest.raises(ConfigError, match="unexpected keyword argument 'nope'"):
        check_environment(POINTS, EnvConfig(kwargs={"nope": 1}))


@pytest.mark.filterwarnings("ignore:.*render_modes")
def test_without_a_render_mode_there_are_no_films():
    env = EnvConfig(kwargs={"size": 3})
    check_environment(SIZED, env)
    with pytest.raises(FilmError, match="to be made with render_mode='rgb_array' in a process"):
        open_renderer(SIZED, env=env)
