import os

import pytest

from prefrl.control.environments.limits import Limits
from prefrl.control.segment_length import FirstLook, chosen_length, first_look


@pytest.mark.parametrize(
    ("fps", "lengths", "expected"),
    [
        (125, [1000], 50),  # Hopper
        (20, [1000], 50),  # HalfCheetah
        (10, [50], 25),  # Reacher
        (4, [100], 10),  # toy text
        (50, [10, 14, 20, 22, 30], 14),  # CartPole: three quarters are no shorter
        (30, [1, 1, 2], 2),  # Blackjack
        (30, [], 50),
    ],
)
def test_a_segment_is_two_seconds_if_episodes_last_as_long(fps, lengths, expected):
    assert chosen_length(fps, lengths) == expected


@pytest.mark.parametrize(
    ("env_id", "limits", "low", "high"),
    [
        ("CartPole-v1", None, 8, 25),
        ("Pendulum-v1", None, 50, 50),
        ("Pendulum-v1", Limits(horizon=30), 30, 30),
        ("prefrl_envs:prefrl/HalfCheetah-v0", None, 50, 50),
    ],
)
def test_some_episodes_are_played_to_see_how_long_they_are(env_id, limits, low, high):
    look = first_look(env_id, limits, seed=0)
    assert low <= look.segment_length <= high
    assert first_look(env_id, limits, seed=0).lengths == look.lengths
    assert look.n_processes(8) == 0  # they are fast


def test_slow_environments_get_processes():
    cores = os.cpu_count()
    assert FirstLook(30, [50], step_seconds=0.05, busy=0.1).n_processes(8) == 8  # they sleep
    assert FirstLook(30, [50], step_seconds=0.05, busy=0.9).n_processes(8) == min(8, cores)
    assert FirstLook(30, [50], step_seconds=0.05, busy=0.9).n_processes(1) == 1
    assert FirstLook(30, [50], step_seconds=0.0005, busy=0.1).n_processes(8) == 0
