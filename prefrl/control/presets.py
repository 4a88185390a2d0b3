"""Named settings: starting points whose values may all be overridden.

Figures without a source are ours. Differences from the papers are noted beside them.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from prefrl.control.agent.algorithms import Algo
from prefrl.control.agent.config import AgentConfig
from prefrl.control.config import TrainConfig
from prefrl.control.environments.making import shows_pictures
from prefrl.control.environments.source import EnvConfig
from prefrl.control.preferences import PreferenceConfig
from prefrl.control.queries import QueryConfig
from prefrl.control.reward.config import RewardNetConfig
from prefrl.core.trainer import FitConfig
from prefrl.errors import ConfigError

__all__ = ["PRESETS", "for_algorithm", "preset", "preset_for"]

# A preset must not depend on whether RL Zoo is installed, so other settings are the defaults.
_PPO_ON_PICTURES = AgentConfig(  # as RL Baselines3 Zoo tunes PPO for Atari
    settings="default",
    n_envs=8,
    n_steps=128,
    batch_size=256,
    n_epochs=4,
    learning_rate=2.5e-4,
    gamma=0.99,
    gae_lambda=0.95,
    clip_range=0.1,
    ent_coef=0.01,
    linear_decay=True,
)
_LONGEST_GAME = 27_000  # steps, half an hour of play (108,000 frames), after which ALE ends it

_ATARI = TrainConfig(
    env_id="",
    steps=2_000_000,
    eval_max_steps=_LONGEST_GAME,
    preferences=PreferenceConfig(
        labels=3000,
        segment_length=25,
        initial_fraction=500 / 3000,
        first_labels=300,
        pretraining_epochs=20,
        refit_growth=0.05,
        newest_labels=3000,
        query=QueryConfig(warmup_segments=200, max_open=500),
        net=RewardNetConfig(
            hidden=(64,),
            inputs="state",
            convolutions=((8, 4, 16), (4, 2, 32), (3, 1, 32)),
            fit_frames=8,
            reward_std=0.05,
        ),
        fit=FitConfig(
            batch_size=16,
            min_steps=150,
            max_steps=150,
            restart=False,
            check_comparisons=500,
            l2=0.02,  # with more, the convolutions vanish in the first fit
        ),
    ),
    agent=_PPO_ON_PICTURES,
)

# Christiano et al. 2017, appendix A.2. There the reward is fitted continuously, with a label per
# ten steps of the agent; here it is fitted from the last parameters at each percent of new labels.
# Their L2 coefficient of 1e-4 is taken as that of a mean loss, which is 0.05 for a sum over 500
# comparisons. The first 500 labels are about the first 1,000 segments, because random play rarely
# scores: in Seaquest, 96 % of pairs among the openings are ties, but then only 64 %.
_CHRISTIANO_ATARI = TrainConfig(
    env_id="",
    steps=50_000_000,
    algo="a2c",
    eval_max_steps=_LONGEST_GAME,
    preferences=PreferenceConfig(
        labels=5500,
        segment_length=25,
        decay_steps=5e6,
        initial_fraction=500 / 5500,
        first_labels=500,
        pretraining_epochs=200,
        refit_growth=0.01,
        newest_labels=3000,
        query=QueryConfig(warmup_segments=1000, max_open=500),
        net=RewardNetConfig(
            hidden=(64,), inputs="state", batch_norm=True, dropout=0.5, reward_std=0.05
        ),
        fit=FitConfig(
            batch_size=16, min_steps=200, max_steps=200, learning_rate=3e-4, l2=0.05, restart=False
        ),
    ),
    agent=AgentConfig(
        settings="default", n_envs=16, n_steps=5, learning_rate=7e-4, gamma=0.99, gae_lambda=1.0,
        ent_coef=0.01, linear_decay=True,
    ),
)  # fmt: skip

# Ibarz et al. 2018, without demonstrations, and with PPO instead of DQN.
_IBARZ_ATARI = replace(
    _CHRISTIANO_ATARI,
    algo="ppo",
    preferences=replace(
        _CHRISTIANO_ATARI.preferences,
        labels=6800,
        members=1,
        initial_fraction=500 / 6800,
        pretraining_epochs=None,
        newest_labels=6800,
        query=QueryConfig(selection="uniform", warmup_segments=1000, max_open=500),
        net=replace(_CHRISTIANO_ATARI.preferences.net, input_noise=0.1, dropout=0.2),
        fit=replace(_CHRISTIANO_ATARI.preferences.fit, bagging=False, score_l2=1e-4),
    ),
    agent=_PPO_ON_PICTURES,
)

PRESETS = {
    "control": TrainConfig(env_id=""),
    "atari": _ATARI,
    "christiano-atari": _CHRISTIANO_ATARI,
    "ibarz-atari": _IBARZ_ATARI,
}
"""The presets by name. ``control`` has the classes' defaults; ``atari`` is ours, for few cores."""


def preset(name: str, env_id: str, **overrides: Any) -> TrainConfig:
    """Makes the config of a training with named settings.

    Args:
        name: One of ``PRESETS``.
        env_id: A Gymnasium id.
        **overrides: Other values for fields of ``TrainConfig``.

    Raises:
        ConfigError: If there is no such preset, or the values do not fit.
    """
    if name not in PRESETS:
        raise ConfigError(f"expected preset to be one of {', '.join(PRESETS)}, got {name!r}.")
    start = for_algorithm(PRESETS[name], overrides.get("algo", PRESETS[name].algo))
    return replace(start, env_id=env_id, **overrides)


def for_algorithm(start: TrainConfig, algo: Algo) -> TrainConfig:
    """Adapts a preset to an algorithm; another algorithm gets its own settings by name."""
    return start if algo == start.algo else replace(start, algo=algo, agent=AgentConfig())


def preset_for(env_id: str, env: EnvConfig | None = None) -> str:
    """Returns the preset for an environment: ``atari`` if it shows pictures.

    Raises:
        ConfigError: If the environment cannot be made.
    """
    return "atari" if shows_pictures(env_id, env) else "control"
