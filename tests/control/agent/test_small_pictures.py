"""Pictures smaller than those of Atari, as MinAtar and MiniGrid show them, from start to end."""

import gymnasium as gym
import pytest
import torch

from prefrl import PreferenceConfig, TrainConfig
from prefrl.control.agent.agent import Agent, AgentConfig
from prefrl.control.queries import QueryConfig
from prefrl.control.reward.config import RewardNetConfig
from prefrl.control.train import train
from prefrl.core.trainer import FitConfig
from prefrl.errors import ConfigError

SHAPES = {"20x20": (20, 20, 1), "MinAtar": (10, 10, 4), "MiniGrid": (7, 7, 3), "wide": (3, 9, 40)}
for name, shape in SHAPES.items():
    for suffix, as_dict in (("", False), ("Dict", True)):
        gym.register(
            f"small/{name}{suffix}-v0",
            entry_point="control.toys:Screen",
            kwargs={"length": 12, "shape": shape, "as_dict": as_dict},
        )


@pytest.mark.parametrize("env_id", ["20x20", "MinAtarDict", "MiniGrid"])
def test_a_training_on_small_pictures_comes_to_its_end(tmp_path, env_id):
    config = TrainConfig(
        f"small/{env_id}-v0",
        steps=128,
        sync=True,
        films=False,
        run=tmp_path / "run",
        eval_episodes=1,
        preferences=PreferenceConfig(
            labels=20,
            segment_length=4,
            query=QueryConfig(warmup_segments=10),
            net=RewardNetConfig(frame_stack=2),
            fit=FitConfig(min_steps=3, max_steps=3),
        ),
        agent=AgentConfig(n_envs=2, n_steps=32, batch_size=32, n_epochs=1),
    )
    result = train(config)
    assert result.finished
    assert result.summary["reward_version"] >= 1


@pytest.mark.parametrize("name", SHAPES)
def test_channels_stay_where_they_are(name):
    """Stable-Baselines3 takes the smallest of three sides for the channels."""
    channels = min(SHAPES[name])
    height, width = sorted(SHAPES[name])[1:]
    agent = Agent(f"small/{name}-v0", "ppo", AgentConfig(n_envs=1, n_steps=8, batch_size=8), seed=0)
    assert agent.model.observation_space.shape == (4 * channels, height, width)
    seen = torch.zeros((1, 4 * channels, height, width))
    assert agent.model.policy.predict_values(seen).shape == (1, 1)
    agent.close()


def test_convolutions_that_cannot_work_are_refused_before_anything_is_written(tmp_path):
    pong = "prefrl_envs:prefrl/Pong-v0"
    net = RewardNetConfig(convolutions=((90, 1, 4),))
    preferences = PreferenceConfig(labels=20, segment_length=10, net=net)
    with pytest.raises(ConfigError, match="expected pictures large enough"):
        train(TrainConfig(pong, run=tmp_path / "run", preferences=preferences))
    assert not (tmp_path / "run").exists()
