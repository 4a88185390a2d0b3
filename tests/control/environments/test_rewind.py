"""An environment is brought back by doing again what was done to it, and it is checked."""

import random

import gymnasium as gym
import numpy as np
import pytest
from control.toys import Counter
from stable_baselines3.common.monitor import Monitor

from prefrl.control.environments import rewind
from prefrl.control.environments.guard import Guard
from prefrl.control.environments.rewind import Rewind
from prefrl.runtime.rundir.checkpoint import load_checkpoint, save_checkpoint


def through_a_checkpoint(snapshot, folder):
    save_checkpoint(folder, snapshot)
    return load_checkpoint(folder).state


def act(env, actions):
    """Observations, rewards and ends along the actions, with resets between episodes."""
    seen = []
    for action in actions:
        observation, reward, terminated, truncated, info = env.step(action)
        seen.append((observation.tobytes(), float(reward), terminated, truncated))
        if terminated or truncated:
            seen.append((info["episode"]["r"], info["episode"]["l"]))
            seen.append(env.reset()[0].tobytes())
    return seen


@pytest.mark.parametrize("seed", [5, None])
@pytest.mark.parametrize(
    ("env_id", "n_steps"),
    [("prefrl_envs:prefrl/MovingDot-v0", 80), ("Pendulum-v1", 230), ("Hopper-v5", 60)],
)
def test_it_goes_on_as_it_would_have(env_id, n_steps, seed, tmp_path):
    def made():
        return Rewind(Monitor(Guard(lambda: gym.make(env_id))))

    env, again = made(), made()
    env.action_space.seed(0)
    actions = [env.action_space.sample() for _ in range(2 * n_steps)]
    env.reset(seed=seed)  # None: the generator is made when it is first asked for
    act(env, actions[:n_steps])
    snapshot = through_a_checkpoint(env.snapshot(), tmp_path)
    assert again.restore(snapshot, seed=0) == ""
    assert again.last_observation.tobytes() == env.last_observation.tobytes()
    rest = act(env, actions[n_steps:])
    assert act(again, actions[n_steps:]) == rest
    # Episodes ended by time limit and by falling: returns and lengths came out the same.
    assert sum(len(step) == 2 for step in rest) >= 1
    assert again.snapshot()["actions"].tobytes() == env.snapshot()["actions"].tobytes()


def test_a_snapshot_right_after_a_reset_is_enough(tmp_path):
    env = Rewind(gym.make("Pendulum-v1"))
    env.reset(seed=1)
    env.reset()
    again = Rewind(gym.make("Pendulum-v1"))
    assert again.restore(through_a_checkpoint(env.snapshot(), tmp_path), seed=0) == ""
    assert np.array_equal(env.step([1.0])[0], again.step([1.0])[0])


def test_a_restored_one_can_be_saved_and_restored_again(tmp_path):
    env = Rewind(gym.make("Pendulum-v1"))
    env.reset(seed=1)
    env.reset()
    for _ in range(3):
        env.step([0.5])
        after = Rewind(gym.make("Pendulum-v1"))
        assert after.restore(through_a_checkpoint(env.snapshot(), tmp_path), seed=0) == ""
        env = after


class Moody(Counter):
    """Draws from a generator of its own that no seed reaches."""

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.mood = np.random.default_rng().uniform()
        return self._see(), {}

    def _see(self):
        return np.array([self.t, getattr(self, "mood", 0.0)], np.float32)


class Shortening(Counter):
    """Its first episode is its longest, and it remembers."""

    def reset(self, *, seed=None, options=None):
        self.length = 3
        return super().reset(seed=seed)


@pytest.mark.parametrize(
    ("kind", "other", "words"),
    [
        (lambda: Moody(length=100), None, "the same actions led elsewhere"),
        (Counter, Shortening, "its episode ended after 3 steps where it went on before"),
    ],
)
def test_what_cannot_be_repeated_begins_anew_and_says_why(kind, other, words):
    env, again = Rewind(kind()), Rewind((other or kind)())
    env.reset(seed=1)
    for _ in range(4):
        env.step(np.zeros(1))
    assert words in again.restore(env.snapshot(), seed=7)
    assert again.last_observation[0] == 0
    assert again.snapshot()["n_steps"] == 0
    assert again.snapshot()["reset"]["seed"] == 7


def test_memory_is_bounded_in_episodes_that_do_not_end(monkeypatch):
    monkeypatch.setattr(rewind, "_LONGEST_EPISODE", 5)
    env, again = Rewind(Counter(length=100)), Rewind(Counter(length=100))
    env.reset(seed=1)
    for n_steps in range(1, 8):
        env.step(np.zeros(1))
        assert len(env.snapshot()["actions"]) == (n_steps if n_steps <= 5 else 0)
    assert "has more than 5 steps" in again.restore(env.snapshot(), seed=7)
    env.reset()
    env.step(np.zeros(1))
    assert again.restore(env.snapshot(), seed=7) == ""


def test_after_it_faults_lead_to_the_same_new_environments():
    class Breaks(gym.Wrapper):
        def step(self, action):
            if action == 9:
                raise RuntimeError("broken")
            return self.env.step(action)

    def made():
        return Rewind(Monitor(Guard(lambda: Breaks(gym.make("CartPole-v1")))))

    env, again = made(), made()
    env.reset(seed=11)
    for action in (0, 9):
        env.step(action)
    env.reset()
    env.step(1)
    assert again.restore(env.snapshot(), seed=0) == ""
    first = []
    for each in (env, again):
        each.step(9)
        assert each.get_wrapper_attr("n_faults") == 2
        first.append(each.reset()[0].tolist())
    assert first[0] == first[1]


class Own(random.Random):
    """A generator that is not numpy's."""

    def uniform(self):
        return self.random()


class OldRandom(Counter):
    """Draws from numpy's older kind of generator, as dm-control's tasks do."""

    def __init__(self, random=np.random.RandomState):
        super().__init__(length=9)
        self.random = random
        self.source = random(0)

    @property
    def np_random(self):
        return self.source

    @np_random.setter
    def np_random(self, value):
        pass  # gymnasium.Env.reset would put one of the newer kind in its place

    def reset(self, *, seed=None, options=None):
        if seed is not None:
            self.source = self.random(seed)
        self.t = 0
        self.first = self.source.uniform()
        return self._see(), {}

    def _see(self):
        return np.array([self.t, self.first], np.float32)


def test_a_random_state_of_the_older_kind_is_brought_back(tmp_path):
    env, again = Rewind(OldRandom()), Rewind(OldRandom())
    env.reset(seed=4)
    env.reset()
    env.step(np.zeros(1))
    assert again.restore(through_a_checkpoint(env.snapshot(), tmp_path), seed=0) == ""
    assert again.last_observation.tobytes() == env.last_observation.tobytes()
    assert again.reset()[0].tobytes() == env.reset()[0].tobytes()


def test_a_generator_that_cannot_be_read_begins_a_new_episode(tmp_path):
    env, again = Rewind(OldRandom(random=Own)), Rewind(OldRandom(random=Own))
    env.reset(seed=4)
    env.reset()
    trouble = again.restore(through_a_checkpoint(env.snapshot(), tmp_path), seed=0)
    assert "a generator that cannot be read" in trouble
    assert again.last_observation[0] == 0
