import os
from dataclasses import replace

import pytest

from prefrl.control.config import TrainConfig, with_settings
from prefrl.control.environments.limits import Limits
from prefrl.control.preferences import PreferenceConfig
from prefrl.control.reward.config import RewardNetConfig
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
    def n_processes(n_envs, step_seconds, busy):
        return FirstLook(30, [50], step_seconds, busy, ends=False).n_processes(n_envs)

    cores = os.cpu_count()
    assert n_processes(8, 0.05, busy=0.1) == 8  # they sleep
    assert n_processes(8, 0.05, busy=0.9) == min(8, cores)
    assert n_processes(1, 0.05, busy=0.9) == 1
    assert n_processes(8, 0.0005, busy=0.1) == 0


@pytest.mark.parametrize(
    ("env_id", "endings", "inputs"),
    [
        ("CartPole-v1", "shown", "transition"),
        ("CartPole-v1", "hidden", "action"),
        ("Pendulum-v1", "shown", "action"),  # cut by a time limit
    ],
)
def test_a_reward_reads_what_came_of_a_step_where_episodes_end(env_id, endings, inputs):
    config = TrainConfig(env_id, endings=endings)
    assert with_settings(config)[0].preferences.net.inputs == inputs
    told = PreferenceConfig(net=RewardNetConfig(inputs="state"))
    config = replace(config, preferences=told)
    assert with_settings(config)[0].preferences.net.inputs == "state"
