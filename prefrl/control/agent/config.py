"""The agent's settings: every hyperparameter of every algorithm, of which a config sets some."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Annotated, Any, Literal

import tyro

from prefrl.control.agent.algorithms import ALGORITHMS, algorithms_that_take
from prefrl.errors import ConfigError

__all__ = ["FOLLOWERS", "AgentConfig", "merged"]

FOLLOWERS = {"critic_hidden": "hidden", "clip_range_decay": "linear_decay"}
"""Fields that take the value of another field unless they are given themselves."""

_NOT_OF_AN_ALGORITHM = {"settings", "source", "mixed_precision"}
_COUNTS = (
    "n_envs", "n_steps", "n_epochs", "frame_stack", "buffer_size", "train_freq", "n_critics",
    "policy_delay", "target_update_interval", "n_quantiles", "cg_max_steps", "n_critic_updates",
    "line_search_max_iter", "sub_sampling_factor", "lstm_hidden_size", "n_lstm_layers",
)  # fmt: skip
_STEPS_BETWEEN_ROWS = 1000  # for off-policy agents, whose rollouts are very short
_SHARES = ("gae_lambda", "exploration_fraction", "exploration_initial_eps", "exploration_final_eps")


def _hint(default: str) -> str:
    """Returns the end of an option's help: nothing if the default is from the settings."""
    return "" if default == "None" else f"(default: {default})"


_Int = Annotated[int | None, tyro.conf.arg(metavar="INT", help_behavior_hint=_hint)]
_Float = Annotated[float | None, tyro.conf.arg(metavar="FLOAT", help_behavior_hint=_hint)]
_Bool = Annotated[bool | None, tyro.conf.arg(metavar="{True,False}", help_behavior_hint=_hint)]
_Units = Annotated[
    tuple[int, ...] | None, tyro.conf.arg(metavar="[INT [INT ...]]", help_behavior_hint=_hint)
]
_Unit = Annotated[
    Literal["step", "episode"] | None,
    tyro.conf.arg(metavar="{step,episode}", help_behavior_hint=_hint),
]
_Noise = Annotated[
    Literal["none", "normal", "ornstein-uhlenbeck"] | None,
    tyro.conf.arg(metavar="{none,normal,ornstein-uhlenbeck}", help_behavior_hint=_hint),
]
_Activation = Annotated[
    Literal["tanh", "relu", "gelu", "elu", "leaky_relu"] | None,
    tyro.conf.arg(metavar="{tanh,relu,gelu,elu,leaky_relu}", help_behavior_hint=_hint),
]
_Learned = Annotated[
    float | str | None, tyro.conf.arg(metavar="FLOAT|auto", help_behavior_hint=_hint)
]
_Target = Annotated[
    float | Literal["auto"] | None, tyro.conf.arg(metavar="FLOAT|auto", help_behavior_hint=_hint)
]


@dataclass(frozen=True)
class AgentConfig:
    """The agent's hyperparameters. A None is filled in from ``settings``."""

    settings: str = "auto"
    """Source of the values that you do not set. auto: prefrl's own settings for the task if there
    are any, else the RL Zoo's (extra zoo), else default. Or zoo, default, or a YAML file."""
    n_envs: _Int = None
    """Number of parallel environments."""
    n_steps: _Int = None
    """Steps of each environment per rollout (on-policy)."""
    batch_size: _Int = None
    """Transitions per gradient step (all but a2c)."""
    n_epochs: _Int = None
    """Passes over each rollout (ppo, recurrent-ppo)."""
    learning_rate: _Float = None
    """Learning rate of the optimiser."""
    linear_decay: _Bool = None
    """Let the learning rate fall to zero over the training, and PPO's clip range with it."""
    gamma: _Float = None
    """Discount."""
    gae_lambda: _Float = None
    """Lambda of generalised advantage estimation (on-policy)."""
    clip_range: _Float = None
    """Clip range of PPO's ratio (ppo, recurrent-ppo)."""
    clip_range_decay: _Bool = None
    """Let the clip range fall to zero; by default the value of linear_decay (ppo,
    recurrent-ppo)."""
    clip_range_vf: _Float = None
    """Clip range of the value function; by default none (ppo, recurrent-ppo)."""
    normalize_advantage: _Bool = None
    """Standardise the advantages (on-policy)."""
    ent_coef: _Learned = None
    """Weight of the entropy; for sac, tqc and crossq also auto or auto_0.1, which learns the weight
    (ppo, a2c, recurrent-ppo; sac, tqc, crossq)."""
    target_entropy: _Target = None
    """Target entropy of ent_coef auto (sac, tqc, crossq)."""
    vf_coef: _Float = None
    """Weight of the value loss (ppo, a2c, recurrent-ppo)."""
    max_grad_norm: _Float = None
    """Norm at which gradients are clipped (ppo, a2c, recurrent-ppo, dqn, qr-dqn)."""
    target_kl: _Float = None
    """Limit on the KL of an update (ppo, trpo, recurrent-ppo)."""
    use_rms_prop: _Bool = None
    """RMSProp instead of Adam (a2c)."""
    cg_max_steps: _Int = None
    """Steps of the conjugate gradients (trpo)."""
    cg_damping: _Float = None
    """Damping of the Hessian (trpo)."""
    line_search_shrinking_factor: _Float = None
    """Factor by which the line search shrinks its step (trpo)."""
    line_search_max_iter: _Int = None
    """Steps of the line search (trpo)."""
    n_critic_updates: _Int = None
    """Passes of the value function over each rollout (trpo)."""
    sub_sampling_factor: _Int = None
    """Use every n-th transition for the Hessian (trpo)."""
    buffer_size: _Int = None
    """Transitions that are kept (off-policy)."""
    learning_starts: _Int = None
    """Steps of random actions at the start (off-policy)."""
    train_freq: _Int = None
    """Steps of each environment, or episodes, between two updates (off-policy)."""
    train_freq_unit: _Unit = None
    """Unit of train_freq (off-policy)."""
    gradient_steps: _Int = None
    """Gradient steps per update; -1 for as many as there were new steps (off-policy)."""
    tau: _Float = None
    """How fast the target net follows the critic (sac, td3, tqc, dqn, qr-dqn)."""
    target_update_interval: _Int = None
    """Gradient steps between two updates of the target net; for DQN, environment steps (sac, tqc,
    dqn, qr-dqn)."""
    policy_delay: _Int = None
    """Updates of the critic per update of the policy (td3, crossq)."""
    target_policy_noise: _Float = None
    """Standard deviation of the noise on the target's actions (td3)."""
    target_noise_clip: _Float = None
    """Limit of that noise (td3)."""
    action_noise: _Noise = None
    """Noise that is added to the actions (sac, td3, tqc, crossq)."""
    action_noise_std: _Float = None
    """Standard deviation of that noise (sac, td3, tqc, crossq)."""
    exploration_fraction: _Float = None
    """Share of the training over which random actions become rarer (dqn, qr-dqn)."""
    exploration_initial_eps: _Float = None
    """Share of random actions at the start (dqn, qr-dqn)."""
    exploration_final_eps: _Float = None
    """Share of random actions afterwards (dqn, qr-dqn)."""
    n_critics: _Int = None
    """Number of critics; the lowest value counts (sac, td3, tqc, crossq)."""
    n_quantiles: _Int = None
    """Quantiles of the return (tqc, qr-dqn)."""
    top_quantiles_to_drop_per_net: _Int = None
    """How many of the highest quantiles are dropped (tqc)."""
    hidden: _Units = None
    """Units of each hidden layer of the policy, and of the value function or critic; with pictures,
    of the layers after the convolutions."""
    critic_hidden: _Units = None
    """Units of the value function or critic, if different (all but dqn, qr-dqn)."""
    activation: _Activation = None
    """Activation after each hidden layer."""
    log_std_init: _Float = None
    """Logarithm of the initial standard deviation of Box actions; for SAC and its relatives only
    with use_sde (on-policy; sac, tqc, crossq)."""
    ortho_init: _Bool = None
    """Orthogonal initial weights (on-policy)."""
    use_sde: _Bool = None
    """Noise that depends on the state, for Box actions (on-policy; sac, tqc, crossq)."""
    sde_sample_freq: _Int = None
    """Steps after which that noise is redrawn; -1 for once per rollout (on-policy; sac, tqc,
    crossq)."""
    use_sde_at_warmup: _Bool = None
    """Use that noise instead of random actions at the start (sac, tqc, crossq)."""
    use_expln: _Bool = None
    """Keep the standard deviation of that noise from growing exponentially (sac, tqc, crossq)."""
    lstm_hidden_size: _Int = None
    """Units of the LSTM (recurrent-ppo)."""
    n_lstm_layers: _Int = None
    """Layers of the LSTM (recurrent-ppo)."""
    shared_lstm: _Bool = None
    """One LSTM for policy and value function; enable_critic_lstm must then be False
    (recurrent-ppo)."""
    enable_critic_lstm: _Bool = None
    """A separate LSTM for the value function (recurrent-ppo)."""
    normalize_observations: _Bool = None
    """Standardise the policy's observations by running statistics, except pictures."""
    frame_stack: _Int = None
    """How many of the newest pictures the policy sees, if observations have pictures."""
    mixed_precision: bool = True
    """Compute the policy's convolutions in bfloat16 if the processor has instructions for it."""
    source: Annotated[str, tyro.conf.Suppress] = ""
    """Where the values are from, once they are all filled in; empty before."""

    def __post_init__(self) -> None:
        for name in _COUNTS:
            self._check(name, lambda value: value >= 1, "at least 1")
        for name in _SHARES:
            self._check(name, lambda value: 0 <= value <= 1, "between 0 and 1")
        self._check("gamma", lambda value: 0 < value <= 1, "above 0 and at most 1")
        self._check("tau", lambda value: 0 < value <= 1, "above 0 and at most 1")
        self._check("learning_rate", lambda value: value > 0, "above 0")
        self._check("batch_size", lambda value: value >= 2, "at least 2")
        self._check("learning_starts", lambda value: value >= 0, "at least 0")
        self._check("gradient_steps", lambda value: value >= 1 or value == -1, "at least 1, or -1")
        if isinstance(self.ent_coef, str):
            self._check("ent_coef", _is_learned, "a number, auto, or auto_ and where it begins")
        if self.train_freq_unit == "episode" and (self.n_envs or 1) > 1:
            raise ConfigError(
                f"expected one environment where updates come after whole episodes, got n_envs "
                f"{self.n_envs}; choose --agent.n-envs 1 or --agent.train-freq-unit step."
            )
        if self.n_steps and self.n_envs and self.batch_size:
            n_transitions = self.n_steps * self.n_envs
            if n_transitions > self.batch_size and n_transitions % self.batch_size == 1:
                raise ConfigError(
                    f"a rollout of {n_transitions} transitions in batches of {self.batch_size} "
                    "ends in a batch of one; choose a batch_size that divides it."
                )

    def _check(self, name: str, works: Any, words: str) -> None:
        value = getattr(self, name)
        if value is not None and not works(value):
            raise ConfigError(f"{name} must be {words}, got {value}.")

    def given(self) -> dict[str, Any]:
        """Returns the hyperparameters that are not None, by field."""
        values = {part.name: getattr(self, part.name) for part in fields(self)}
        return {
            name: value
            for name, value in values.items()
            if value is not None and name not in _NOT_OF_AN_ALGORITHM
        }

    def check_for(self, algo: str) -> None:
        """Refuses options that an algorithm does not accept.

        Raises:
            ConfigError: If there is no such algorithm, or it does not take a field that is given.
        """
        if algo not in ALGORITHMS:
            raise ConfigError(f"expected algo to be one of {', '.join(ALGORITHMS)}, got {algo!r}.")
        own = ALGORITHMS[algo].own
        for name, value in self.given().items():
            if name not in own:
                raise ConfigError(
                    f"{algo} does not take {name}, got {value}; leave --agent."
                    f"{name.replace('_', '-')} out, or choose an algorithm that takes it: "
                    f"{', '.join(algorithms_that_take(name))}."
                )
        if isinstance(self.ent_coef, str) and ALGORITHMS[algo].on_policy:
            raise ConfigError(
                f"expected ent_coef to be a number for {algo}, got {self.ent_coef!r}; "
                "it is learned by sac, tqc and crossq."
            )

    def transitions_per_rollout(self, algo: str) -> int:
        """Returns the steps of all environments between two rows of metrics."""
        if not ALGORITHMS[algo].on_policy:
            return _STEPS_BETWEEN_ROWS
        assert self.n_steps is not None and self.n_envs is not None  # noqa: PT018 both filled in
        return self.n_steps * self.n_envs


def merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Merges two layers of settings; the upper one wins.

    Args:
        below: Values by field.
        above: Values by field. If it gives a field that another one follows (``FOLLOWERS``), but
            not the follower, the lower layer's value of the follower is dropped.

    Returns:
        The merged values by field.
    """
    kept = {
        name: value
        for name, value in below.items()
        if not (FOLLOWERS.get(name) in above and name not in above)
    }
    dropped = {name: None for name in below if name not in kept}
    return {**kept, **dropped, **above}


def _is_learned(value: str) -> bool:
    word, _, start = value.partition("_")
    return word == "auto" and (value == word or start.replace(".", "", 1).isdigit())
