"""What whoever compares is told that the agent should do."""

import gymnasium as gym
import pytest

from prefrl.control.goals import goal_of


@pytest.mark.parametrize(
    ("config", "goal"),
    [
        ({"env_id": "HalfCheetah-v5", "goal": "Lie on your back."}, "Lie on your back."),
        ({"env_id": "HalfCheetah-v5", "goal": None}, "Run to the right as fast as possible."),
        ({"env_id": "prefrl_envs:prefrl/Swimmer-v0"}, "Swim forward as fast as possible."),
        ({"env_id": "LunarLanderContinuous-v3"}, "Land softly between the flags."),
        ({"env_id": "HalfCheetah-v5", "goal": ""}, None),
        ({"env_id": "mine:My-own-v0"}, None),
        ({"env_id": "my_envs:mine/HalfCheetah-v0"}, None),
        ({"env_id": "my_envs:HalfCheetah-v0"}, None),
        ({"env_id": "mine/HalfCheetah-v0"}, None),
        ({"method": "ppo"}, None),
    ],
)
def test_a_goal_is_ones_own_or_that_of_a_known_task(config, goal):
    assert goal_of(config) == goal


def test_each_task_without_a_game_that_prefrl_ships_has_one():
    import prefrl_envs  # noqa: F401

    ours = [name for name in gym.registry if name.startswith("prefrl/")]
    ours = [name for name in ours if "atari" not in str(gym.spec(name).entry_point)]
    assert len(ours) >= 11
    assert [name for name in ours if goal_of({"env_id": name}) is None] == []
