"""The settings of ``prefrl train`` for a script."""

import pytest
import torch
from stable_baselines3 import DQN, PPO, SAC
from stable_baselines3.common.env_util import make_vec_env

from prefrl import AgentConfig, agent_settings
from prefrl.control.agent.agent import Agent
from prefrl.errors import ConfigError, UnsupportedSpaceError

COMPARED = {
    "ppo": ("n_steps", "batch_size", "n_epochs", "gamma", "gae_lambda", "vf_coef", "ent_coef"),
    "sac": ("batch_size", "buffer_size", "gamma", "tau", "learning_starts", "train_freq"),
    "dqn": ("batch_size", "buffer_size", "gamma", "exploration_fraction", "train_freq"),
}


@pytest.mark.parametrize(
    ("env_id", "algo", "kind"),
    [("HalfCheetah-v5", "ppo", PPO), ("Pendulum-v1", "sac", SAC), ("CartPole-v1", "dqn", DQN)],
)
def test_a_script_gets_the_agent_of_the_shell(env_id, algo, kind):
    small = AgentConfig() if algo == "ppo" else AgentConfig(buffer_size=1000)
    agent = Agent(env_id, algo, small, seed=0)
    settings = agent_settings(env_id, algo, agent=small)
    model = kind("MlpPolicy", make_vec_env(env_id), seed=0, device="cpu", **settings)
    for name in COMPARED[algo]:
        assert getattr(model, name) == getattr(agent.model, name), name
    there = agent.model.policy.state_dict()
    for name, tensor in model.policy.state_dict().items():
        assert torch.equal(tensor, there[name]), name
    agent.close()


def test_what_the_caller_chooses_wins():
    assert agent_settings("HalfCheetah-v5", agent=AgentConfig(n_steps=64))["n_steps"] == 64


def test_each_call_gives_settings_that_may_be_changed():
    agent_settings("HalfCheetah-v5")["policy_kwargs"]["net_arch"] = "mine"
    assert agent_settings("HalfCheetah-v5")["policy_kwargs"]["net_arch"] != "mine"


def test_an_algorithm_that_does_not_fit_is_refused():
    with pytest.raises(UnsupportedSpaceError, match="algorithms that fit"):
        agent_settings("CartPole-v1", "sac")
    with pytest.raises(ConfigError, match="expected algo to be one of"):
        agent_settings("CartPole-v1", "mine")
