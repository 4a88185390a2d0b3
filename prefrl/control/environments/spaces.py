"""Which observation and action spaces work, and how actions enter the reward net."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from prefrl.errors import UnsupportedSpaceError

__all__ = ["action_width", "check_spaces", "encode_actions", "observation_width"]


def check_spaces(observation_space: spaces.Space[Any], action_space: spaces.Space[Any]) -> None:
    """Refuses what the reward nets cannot read.

    Raises:
        UnsupportedSpaceError: For all but vector Box observations with Box or Discrete actions.
    """
    if isinstance(observation_space, spaces.Dict):
        raise UnsupportedSpaceError(
            f"expected Box observations, got a Dict with {list(observation_space.spaces)}; dict "
            "observations are not supported yet: flatten them with "
            "gymnasium.wrappers.FlattenObservation."
        )
    if not isinstance(observation_space, spaces.Box):
        raise UnsupportedSpaceError(
            f"expected Box observations, got {observation_space}; wrap the environment so that it "
            "gives an array of floats."
        )
    if observation_space.dtype == np.uint8 or len(observation_space.shape) >= 3:
        raise UnsupportedSpaceError(
            f"expected vector observations, got images of shape {observation_space.shape}; image "
            "observations are not supported yet."
        )
    if not isinstance(action_space, spaces.Box | spaces.Discrete):
        raise UnsupportedSpaceError(
            f"expected Box or Discrete actions, got {action_space}; wrap the environment so that "
            "it takes one of the two."
        )


def observation_width(space: spaces.Space[Any]) -> int:
    """How many numbers a flattened observation has (O)."""
    return int(spaces.flatdim(space))


def action_width(space: spaces.Space[Any]) -> int:
    """How many numbers an encoded action has (A)."""
    return int(spaces.flatdim(space))


def encode_actions(actions: NDArray[Any], space: spaces.Space[Any]) -> NDArray[np.float32]:
    """Actions as the reward net reads them.

    Args:
        actions: As given to the environment, shape (B, ...) for Box, (B,) for Discrete.
        space: The action space.

    Returns:
        Shape (B, A): Box actions flattened, Discrete ones one-hot.
    """
    if isinstance(space, spaces.Discrete):
        one_hot = np.zeros((len(actions), int(space.n)), np.float32)
        one_hot[np.arange(len(actions)), actions.reshape(-1) - space.start] = 1.0
        return one_hot
    return actions.reshape(len(actions), -1).astype(np.float32)
