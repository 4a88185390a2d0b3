"""What Gymnasium knows of an environment before it is made."""

from __future__ import annotations

import importlib

import gymnasium as gym
from gymnasium.envs.registration import EnvSpec

__all__ = ["spec_of"]


def spec_of(env_id: str) -> EnvSpec:
    """The specification of an environment, by an id with or without its module."""
    module, _, name = env_id.rpartition(":")
    if module:
        importlib.import_module(module)
    return gym.spec(name)
