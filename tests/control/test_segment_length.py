import pytest

from prefrl.control.environments.limits import Limits
from prefrl.control.segment_length import chosen_length, length_for


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
    chosen = length_for(env_id, limits, seed=0)
    assert low <= chosen <= high
    assert length_for(env_id, limits, seed=0) == chosen
