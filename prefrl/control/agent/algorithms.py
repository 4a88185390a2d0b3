"""The algorithms by name: their classes, the spaces they fit, and the settings they take."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from gymnasium import spaces

from prefrl.control.environments.spaces import layout_of
from prefrl.errors import ConfigError, UnsupportedSpaceError

__all__ = ["ALGORITHMS", "Algo", "Algorithm", "algorithms_that_take", "check_algorithm"]

Algo = Literal[
    "ppo", "a2c", "trpo", "recurrent-ppo", "sac", "td3", "tqc", "crossq", "dqn", "qr-dqn",
]  # fmt: skip


@dataclass(frozen=True)
class Algorithm:
    """Facts about an algorithm, available without loading it."""

    name: str
    """Its name for ``--algo``."""
    path: str
    """Module and class, such as ``stable_baselines3.PPO``."""
    zoo_name: str
    """Its name in RL Zoo, which is also that of its file of settings."""
    on_policy: bool
    """Whether it learns only from the newest rollout, not from a replay buffer."""
    own: Mapping[str, Any]
    """Its library's default for each field of ``AgentConfig`` that it takes."""
    own_on_pictures: Mapping[str, Any] = field(default_factory=dict)
    """The defaults that differ if observations have a picture."""
    actions: tuple[str, ...] = ("Box",)
    """Kinds of action spaces that it can act in."""
    observations: tuple[str, ...] = ("vectors", "pictures", "dicts")
    """Kinds of observations for which it has policies."""
    policy: str = "Policy"
    """Suffix of the names of its policies."""
    critic_key: str | None = "qf"
    """Key of the critic's layers in ``net_arch``; None if there is only one net."""

    def load(self) -> Any:
        """Imports and returns its class."""
        module, _, name = self.path.rpartition(".")
        return getattr(importlib.import_module(module), name)

    def fits(self, observation_space: spaces.Space[Any], action_space: spaces.Space[Any]) -> bool:
        """Whether it can act in an environment with these spaces."""
        needed = _kinds_of_observation(observation_space)
        return type(action_space).__name__ in self.actions and needed <= set(self.observations)


_EVERYWHERE = {
    "n_envs": 1,
    "gamma": 0.99,
    "linear_decay": False,
    "normalize_observations": False,
    "frame_stack": 4,
}
_ON_POLICY = {
    **_EVERYWHERE,
    "n_steps": 2048,
    "gae_lambda": 0.95,
    "normalize_advantage": True,
    "use_sde": False,
    "sde_sample_freq": -1,
    "hidden": (64, 64),
    "critic_hidden": None,
    "activation": "tanh",
    "log_std_init": 0.0,
    "ortho_init": True,
}
_ACTOR_CRITIC = {**_ON_POLICY, "ent_coef": 0.0, "vf_coef": 0.5, "max_grad_norm": 0.5}
_PPO = {
    **_ACTOR_CRITIC,
    "learning_rate": 3e-4,
    "batch_size": 64,
    "n_epochs": 10,
    "clip_range": 0.2,
    "clip_range_decay": None,
    "clip_range_vf": None,
    "target_kl": None,
}
_A2C = {
    **_ACTOR_CRITIC,
    "learning_rate": 7e-4,
    "n_steps": 5,
    "gae_lambda": 1.0,
    "normalize_advantage": False,
    "use_rms_prop": True,
}
_TRPO = {
    **_ON_POLICY,
    "learning_rate": 1e-3,
    "batch_size": 128,
    "target_kl": 0.01,
    "cg_max_steps": 15,
    "cg_damping": 0.1,
    "line_search_shrinking_factor": 0.8,
    "line_search_max_iter": 10,
    "n_critic_updates": 10,
    "sub_sampling_factor": 1,
}
_RECURRENT_PPO = {
    **_PPO,
    "n_steps": 128,
    "batch_size": 128,
    "lstm_hidden_size": 256,
    "n_lstm_layers": 1,
    "shared_lstm": False,
    "enable_critic_lstm": True,
}
_OFF_POLICY = {
    **_EVERYWHERE,
    "learning_rate": 3e-4,
    "buffer_size": 1_000_000,
    "learning_starts": 100,
    "batch_size": 256,
    "train_freq": 1,
    "train_freq_unit": "step",
    "gradient_steps": 1,
    "hidden": (256, 256),
    "activation": "relu",
}
_CONTINUOUS = {
    **_OFF_POLICY,
    "critic_hidden": None,
    "n_critics": 2,
    "action_noise": "none",
    "action_noise_std": 0.1,
}
_MAXIMUM_ENTROPY = {
    **_CONTINUOUS,
    "ent_coef": "auto",
    "target_entropy": "auto",
    "use_sde": False,
    "sde_sample_freq": -1,
    "use_sde_at_warmup": False,
    "use_expln": False,
    "log_std_init": -3.0,
}
_SAC = {**_MAXIMUM_ENTROPY, "tau": 0.005, "target_update_interval": 1}
_TQC = {**_SAC, "top_quantiles_to_drop_per_net": 2, "n_quantiles": 25}
_CROSSQ = {
    **_MAXIMUM_ENTROPY,
    "learning_rate": 1e-3,
    "policy_delay": 3,
    "critic_hidden": (1024, 1024),
}
_TD3 = {
    **_CONTINUOUS,
    "learning_rate": 1e-3,
    "tau": 0.005,
    "hidden": (400, 300),
    "policy_delay": 2,
    "target_policy_noise": 0.2,
    "target_noise_clip": 0.5,
}
_DQN = {
    **_OFF_POLICY,
    "learning_rate": 1e-4,
    "batch_size": 32,
    "tau": 1.0,
    "train_freq": 4,
    "target_update_interval": 10_000,
    "exploration_fraction": 0.1,
    "exploration_initial_eps": 1.0,
    "exploration_final_eps": 0.05,
    "max_grad_norm": 10.0,
    "hidden": (64, 64),
}
_QR_DQN = {
    **_DQN,
    "learning_rate": 5e-5,
    "exploration_fraction": 0.005,
    "exploration_final_eps": 0.01,
    "max_grad_norm": None,
    "n_quantiles": 200,
}
_NO_HIDDEN: dict[str, Any] = {"hidden": ()}  # Stable-Baselines3's default after NatureCNN


def _on_policy(name: str, path: str, zoo_name: str, own: Mapping[str, Any]) -> Algorithm:
    return Algorithm(
        name,
        path,
        zoo_name,
        on_policy=True,
        own=own,
        own_on_pictures=_NO_HIDDEN,
        actions=("Box", "Discrete", "MultiDiscrete", "MultiBinary"),
        policy="LstmPolicy" if "lstm_hidden_size" in own else "Policy",
        critic_key="vf",
    )


def _q_network(name: str, path: str, zoo_name: str, own: Mapping[str, Any]) -> Algorithm:
    return Algorithm(
        name,
        path,
        zoo_name,
        on_policy=False,
        own=own,
        own_on_pictures=_NO_HIDDEN,
        actions=("Discrete",),
        critic_key=None,
    )


def _all() -> Iterator[Algorithm]:
    yield _on_policy("ppo", "stable_baselines3.PPO", "ppo", _PPO)
    yield _on_policy("a2c", "stable_baselines3.A2C", "a2c", _A2C)
    yield _on_policy("trpo", "sb3_contrib.TRPO", "trpo", _TRPO)
    yield _on_policy("recurrent-ppo", "sb3_contrib.RecurrentPPO", "ppo_lstm", _RECURRENT_PPO)
    yield Algorithm("sac", "stable_baselines3.SAC", "sac", on_policy=False, own=_SAC)
    yield Algorithm(
        "td3",
        "stable_baselines3.TD3",
        "td3",
        on_policy=False,
        own=_TD3,
        own_on_pictures={"hidden": (256, 256)},
    )
    yield Algorithm("tqc", "sb3_contrib.TQC", "tqc", on_policy=False, own=_TQC)
    yield Algorithm(
        "crossq",
        "sb3_contrib.CrossQ",
        "crossq",
        on_policy=False,
        own=_CROSSQ,
        observations=("vectors",),
    )
    yield _q_network("dqn", "stable_baselines3.DQN", "dqn", _DQN)
    yield _q_network("qr-dqn", "sb3_contrib.QRDQN", "qrdqn", _QR_DQN)


ALGORITHMS: Mapping[str, Algorithm] = {algorithm.name: algorithm for algorithm in _all()}
"""The algorithms by name. A test checks that the values of ``own`` are the libraries' defaults."""


def algorithms_that_take(setting: str) -> list[str]:
    """Returns the names of the algorithms that accept a field of ``AgentConfig``."""
    return [name for name, algorithm in ALGORITHMS.items() if setting in algorithm.own]


def check_algorithm(
    algo: str,
    env_id: str,
    observation_space: spaces.Space[Any],
    action_space: spaces.Space[Any],
) -> None:
    """Refuses an algorithm that cannot act in an environment.

    Args:
        algo: Name of the algorithm.
        env_id: Id of the environment, for the message.
        observation_space: The environment's observation space.
        action_space: The environment's action space.

    Raises:
        ConfigError: If there is no such algorithm.
        UnsupportedSpaceError: If it does not fit; the message names algorithms that do.
    """
    if algo not in ALGORITHMS:
        raise ConfigError(f"expected algo to be one of {', '.join(ALGORITHMS)}, got {algo!r}.")
    algorithm = ALGORITHMS[algo]
    fitting = [
        name for name, other in ALGORITHMS.items() if other.fits(observation_space, action_space)
    ]
    if type(action_space).__name__ not in algorithm.actions:
        needs, has = f"{' or '.join(algorithm.actions)} actions", str(action_space)
    elif algo not in fitting:
        missing = _kinds_of_observation(observation_space) - set(algorithm.observations)
        needs, has = f"observations that are {algorithm.observations[0]}", min(missing)
    else:
        return
    raise UnsupportedSpaceError(
        f"{algo} needs {needs}, but {env_id} has {has}; algorithms that fit: {', '.join(fitting)}."
    )


def _kinds_of_observation(space: spaces.Space[Any]) -> set[str]:
    kinds = {"dicts"} if isinstance(space, spaces.Dict) else set()
    if layout_of(space).picture is not None:
        return {*kinds, "pictures"}
    return kinds or {"vectors"}
