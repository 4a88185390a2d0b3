"""A training from the options of ``prefrl train``, by name."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from prefrl.control.config import TrainConfig
from prefrl.control.preferences import PreferenceConfig
from prefrl.control.presets import PRESETS, for_algorithm, preset_for
from prefrl.control.queries import QueryConfig
from prefrl.errors import ConfigError
from prefrl.runtime.named_options import filled, flat_options

__all__ = ["config_of_options", "is_about_the_reward"]

_COMMAND = "prefrl train"


def config_of_options(options: Mapping[str, Any]) -> TrainConfig:
    """Builds a training config from options by name.

    Args:
        options: Values by their names in ``prefrl train --help``. The options of a part have its
            name and a dot, as in ``agent.gamma``, or are in a nested mapping, as in
            ``{"agent": {"gamma": 0.99}}``. ``env_id`` is the environment. ``preset`` names the
            settings to start from; ``auto``, the default, takes ``atari`` if the environment shows
            pictures, else ``control``.

    Raises:
        ConfigError: If there is no such option, or it cannot have the value.
    """
    told = flat_options(options)
    env_id = told.get("env_id")
    if not isinstance(env_id, str):
        raise ConfigError(f"expected env_id to be the id of an environment, got {env_id!r}.")
    preset = told.pop("preset", "auto")
    if preset == "auto":
        about = {name: value for name, value in told.items() if name.startswith("env.")}
        preset = preset_for(env_id, filled(PRESETS["control"], about, command=_COMMAND).env)
    if preset not in PRESETS:
        known = ", ".join(["auto", *PRESETS])
        raise ConfigError(f"expected preset to be one of {known}, got {preset!r}.")
    start = PRESETS[preset]
    return filled(for_algorithm(start, told.get("algo", start.algo)), told, command=_COMMAND)


def is_about_the_reward(option: str) -> bool:
    """Whether an option is about learning the reward, and not about the task or the agent."""
    fields = (*dataclasses.fields(PreferenceConfig), *dataclasses.fields(QueryConfig))
    names = {"oracle", *(field.name for field in fields)} - {"query"}
    return option.partition(".")[0] in names
