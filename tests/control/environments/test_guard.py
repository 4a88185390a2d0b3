"""Environments that raise, or give NaN: a new one, a truncated episode, and a limit."""

import logging

import numpy as np
import pytest
from control.toys import Counter

from prefrl.control.environments.guard import FAULT_KEY, Guard
from prefrl.errors import EnvironmentFaultError


class Breaking(Counter):
    """Breaks at a step of its own count, in one of several ways; starts at a random time."""

    def __init__(self, break_at, how):
        super().__init__(length=100)
        self.break_at, self.how = break_at, how

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t = int(self.np_random.integers(1000))
        self.n_steps = 0
        if self.how == "reset" and self.n_steps == self.break_at:
            raise OSError("no device")
        return self._see(), {}

    def step(self, action):
        self.n_steps += 1
        observation, reward, *rest = super().step(action)
        if self.n_steps == self.break_at:
            if self.how == "raise":
                raise RuntimeError("the simulator diverged")
            if self.how == "reward":
                reward = float("inf")
            if self.how == "observation":
                observation = observation * np.nan
        return observation, reward, *rest


def guard(break_at, how):
    made = []

    def make():
        made.append(Breaking(break_at if not made else None, how))
        return made[-1]

    return Guard(make), made


@pytest.mark.parametrize(
    ("how", "words"),
    [("raise", "diverged"), ("reward", "reward is inf"), ("observation", "not finite at [0, 1]")],
)
def test_a_step_that_fails_truncates_at_the_last_known_observation(how, words, caplog):
    env, made = guard(3, how)
    env.reset(seed=1)
    known = [env.step(np.zeros(1)) for _ in range(2)]
    with caplog.at_level(logging.WARNING):
        observation, reward, terminated, truncated, info = env.step(np.zeros(1))
    np.testing.assert_array_equal(observation, known[-1][0])
    assert (reward, terminated, truncated) == (0.0, False, True)
    assert words in info[FAULT_KEY]
    assert words in caplog.text
    assert len(made) == 2
    assert env.n_faults == 1


def test_the_new_environment_is_seeded_so_that_it_can_be_repeated():
    def first_observation_after_the_fault(seed):
        env, _ = guard(1, "raise")
        env.reset(seed=seed)
        env.step(np.zeros(1))
        return env.reset()[0].tolist()

    assert first_observation_after_the_fault(1) == first_observation_after_the_fault(1)
    assert first_observation_after_the_fault(1) != first_observation_after_the_fault(2)


def test_a_reset_that_fails_is_tried_in_a_new_environment():
    env, made = guard(0, "reset")
    assert np.isfinite(env.reset(seed=1)[0]).all()
    assert len(made) == 2


def test_what_breaks_too_often_stops_the_run():
    env = Guard(lambda: Breaking(1, "raise"))
    env.reset(seed=1)
    for _ in range(5):
        assert env.step(np.zeros(1))[3]
        env.reset()
    with pytest.raises(EnvironmentFaultError, match=r"broke 6 times within 10,000 steps.*diverged"):
        env.step(np.zeros(1))


def test_rare_faults_never_stop_it():
    env = Guard(lambda: Breaking(3000, "raise"))
    env.reset(seed=1)
    for _ in range(20 * 3000):
        if any(env.step(np.zeros(1))[2:4]) and env.n_faults == 19:
            break
    # Counter ends after 100 steps of its own; without a reset it goes on, and breaks at 3,000.
    assert env.n_faults >= 15


def test_large_numbers_are_not_a_fault():
    class Large(Counter):
        def _see(self):
            return np.full(2, 3e38, np.float32)  # its square overflows

    env = Guard(Large)
    env.reset(seed=1)
    assert FAULT_KEY not in env.step(np.zeros(1))[4]
