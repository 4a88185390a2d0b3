"""Makes a Stable-Baselines3 algorithm from settings; knows its arguments and policies by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from gymnasium import spaces
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.noise import (
    ActionNoise,
    NormalActionNoise,
    OrnsteinUhlenbeckActionNoise,
)
from stable_baselines3.common.vec_env import VecEnv
from torch import nn

from prefrl.control.agent.algorithms import ALGORITHMS, Algo, Algorithm, check_algorithm
from prefrl.control.agent.config import AgentConfig
from prefrl.control.agent.mixed_cnn import MixedNatureCNN
from prefrl.control.agent.settings import resolve
from prefrl.control.agent.small_pictures import SmallCNN, SmallCombined, is_small
from prefrl.control.environments.source import EnvConfig, make_env
from prefrl.control.environments.spaces import Layout, layout_of

__all__ = ["ACTIVATIONS", "agent_settings", "build_algorithm"]

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "tanh": nn.Tanh, "relu": nn.ReLU, "gelu": nn.GELU, "elu": nn.ELU, "leaky_relu": nn.LeakyReLU,
}  # fmt: skip
_OF_POLICY = {
    "log_std_init", "ortho_init", "n_critics", "n_quantiles", "use_expln", "lstm_hidden_size",
    "n_lstm_layers", "shared_lstm", "enable_critic_lstm",
}  # fmt: skip
_PUT_TOGETHER = {
    "n_envs", "normalize_observations", "frame_stack", "linear_decay", "clip_range_decay",
    "hidden", "critic_hidden", "activation", "learning_rate", "clip_range", "batch_size",
    "train_freq", "train_freq_unit", "action_noise", "action_noise_std",
}  # fmt: skip


def build_algorithm(
    algo: str,
    config: AgentConfig,
    venv: VecEnv,
    *,
    layout: Layout,
    seed: int,
    device: str,
    options: Mapping[str, Any] | None = None,
) -> BaseAlgorithm:
    """Makes an algorithm.

    Args:
        algo: Name of an algorithm that ``check_algorithm`` has accepted.
        config: Settings, all filled in.
        venv: The environments that it acts in.
        layout: Layout of the observations.
        seed: Seed of everything random.
        device: Device of its nets.
        options: Further arguments of its class, such as ``replay_buffer_class``.

    Returns:
        The algorithm, untrained.
    """
    algorithm = ALGORITHMS[algo]
    arguments = _arguments(algorithm, config, layout, venv.action_space) | dict(options or {})
    made: BaseAlgorithm = algorithm.load()(
        _policy_name(algorithm, venv.observation_space, layout),
        venv,
        seed=seed,
        device=device,
        **arguments,
    )
    return made


def agent_settings(
    env_id: str,
    algo: Algo = "ppo",
    *,
    agent: AgentConfig | None = None,
    env: EnvConfig | None = None,
) -> dict[str, Any]:
    """Returns the keyword arguments with which ``prefrl train`` makes an algorithm.

    ::

        PPO("MlpPolicy", venv, **prefrl.agent_settings("HalfCheetah-v5"))

    They are meant for observations that ``VecNormalize`` standardises and, with PPO, for eight
    parallel environments. ``prefrl train`` prints an environment's settings.

    Args:
        env_id: A Gymnasium id.
        algo: Name of the algorithm, as for ``--algo``.
        agent: Settings of your own; the others are filled in.
        env: Arguments and wrappers of the environment.

    Returns:
        Arguments by name, in a new dict that you may change.

    Raises:
        ConfigError: If the environment cannot be made, or the algorithm does not take a setting.
        UnsupportedSpaceError: If the algorithm does not fit the environment.
    """
    made = make_env(env_id, env)
    made.close()
    check_algorithm(algo, env_id, made.observation_space, made.action_space)
    layout = layout_of(made.observation_space)
    pictures = layout.picture is not None
    config = resolve(env_id, algo, agent or AgentConfig(), pictures=pictures, env=env).config
    return _arguments(ALGORITHMS[algo], config, layout, made.action_space)


def _arguments(
    algorithm: Algorithm, config: AgentConfig, layout: Layout, action_space: spaces.Space[Any]
) -> dict[str, Any]:
    """Returns the arguments of an algorithm's class except policy, environment, seed, device."""
    named = [name for name in algorithm.own if name not in _OF_POLICY | _PUT_TOGETHER]
    arguments = {
        **{name: getattr(config, name) for name in named},
        **_put_together(algorithm, config, action_space),
        "policy_kwargs": _policy_kwargs(algorithm, config, layout),
    }
    return {name: value for name, value in arguments.items() if value is not None}


def _put_together(
    algorithm: Algorithm, config: AgentConfig, action_space: spaces.Space[Any]
) -> dict[str, Any]:
    """Returns the arguments that are combined from several settings."""
    made: dict[str, Any] = {
        "learning_rate": _over_time(config.learning_rate, config.linear_decay),
        "batch_size": config.batch_size,
    }
    if "clip_range" in algorithm.own:
        made["clip_range"] = _over_time(config.clip_range, config.clip_range_decay)
    if config.n_steps and config.n_envs and config.batch_size:
        made["batch_size"] = min(config.batch_size, config.n_steps * config.n_envs)
    if not algorithm.on_policy:
        made["train_freq"] = (config.train_freq, config.train_freq_unit)
        made["action_noise"] = _action_noise(config, action_space)
    return made


def _over_time(value: float | None, falls: bool | None) -> float | Callable[[float], float] | None:
    """Returns the value itself, or if it falls, a schedule over the remaining progress (1 to 0)."""
    if value is None or not falls:
        return value
    return lambda left: value * left


def _action_noise(config: AgentConfig, action_space: spaces.Space[Any]) -> ActionNoise | None:
    if config.action_noise in (None, "none"):
        return None
    assert action_space.shape is not None  # Box actions have one
    mean = np.zeros(action_space.shape)
    deviation = np.full(action_space.shape, config.action_noise_std)
    normal = config.action_noise == "normal"
    return (NormalActionNoise if normal else OrnsteinUhlenbeckActionNoise)(mean, deviation)


def _policy_name(algorithm: Algorithm, space: spaces.Space[Any], layout: Layout) -> str:
    if isinstance(space, spaces.Dict):
        return f"MultiInput{algorithm.policy}"
    return f"{'Mlp' if layout.picture is None else 'Cnn'}{algorithm.policy}"


def _policy_kwargs(algorithm: Algorithm, config: AgentConfig, layout: Layout) -> dict[str, Any]:
    told = {name: getattr(config, name) for name in _OF_POLICY if name in algorithm.own}
    kwargs = {name: value for name, value in told.items() if value is not None}
    assert config.hidden is not None and config.activation is not None  # noqa: PT018 filled in
    hidden = list(config.hidden)
    kwargs["net_arch"] = hidden
    if algorithm.critic_key is not None:
        critic = hidden if config.critic_hidden is None else list(config.critic_hidden)
        kwargs["net_arch"] = {"pi": hidden, algorithm.critic_key: critic}
    kwargs["activation_fn"] = ACTIVATIONS[config.activation]
    if layout.picture is None:
        return kwargs
    in_dict = layout.picture_key is not None
    if is_small(layout.picture[1:]):
        kwargs["features_extractor_class"] = SmallCombined if in_dict else SmallCNN
        if in_dict:
            kwargs["features_extractor_kwargs"] = {"picture_key": layout.picture_key}
    elif config.mixed_precision and not in_dict:
        kwargs["features_extractor_class"] = MixedNatureCNN
    return kwargs
