"""How rewards reach an agent, which depends on the kind of algorithm."""

from __future__ import annotations

from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm

from prefrl.control.agent.off_policy import ReplayRewards
from prefrl.control.agent.on_policy import RolloutRewards
from prefrl.control.environments.hide_reward import HideReward
from prefrl.control.preferences import PreferenceConfig, StepReward
from prefrl.control.segment_length import MOST
from prefrl.errors import ConfigError

__all__ = ["Delivery", "delivery_to"]

Delivery = RolloutRewards | ReplayRewards
"""An object that gives the learned reward to an agent."""


def delivery_to(
    model: BaseAlgorithm, venv: HideReward, net: StepReward, config: PreferenceConfig
) -> Delivery:
    """Returns the object that delivers the learned reward to an agent.

    Args:
        model: The agent.
        venv: The environments that it acts in.
        net: The reward model.
        config: Settings.

    Raises:
        ConfigError: If its algorithm or its replay buffer is not supported.
    """
    if isinstance(model, OnPolicyAlgorithm):
        return RolloutRewards(model, net, config, n_envs=venv.num_envs)
    if isinstance(model, OffPolicyAlgorithm):
        length = config.segment_length
        return ReplayRewards(
            model,
            venv,
            net,
            config.off_policy,
            segment_length=MOST if length == "auto" else length,
        )
    raise ConfigError(
        "expected an algorithm of Stable-Baselines3 that learns by rollouts or from a replay "
        f"buffer, as PPO or SAC, got {type(model).__name__}."
    )
