"""Inputs of a reward net besides pictures, and which steps of segments count."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from prefrl.control.environments.rollout import Rollout
from prefrl.control.segments import Segment

__all__ = [
    "Inputs",
    "n_numbers",
    "numbers_of",
    "numbers_of_rollout",
    "real_steps",
    "stacked",
    "standardization",
    "zero_is_arbitrary",
]  # fmt: skip

Inputs = Literal["auto", "state", "action", "transition"]
"""What a step's reward may depend on: the observation; and the action; and what came of it, as the
difference to the next observation and whether the episode ended there. Until somebody has looked at
the environment, auto is action."""

_SMALLEST = 1e-6


def n_numbers(inputs: Inputs, n_observation: int, n_action: int) -> int:
    """Number of inputs (I), for observations of O and actions of A numbers."""
    own = n_observation + (0 if inputs == "state" else n_action)
    return own + n_observation + 1 if inputs == "transition" else own


def numbers_of(inputs: Inputs, segments: Sequence[Segment]) -> NDArray[np.float32]:
    """Inputs of segments, shape (B, T, I); shorter segments are padded to T steps."""
    after = [segment.next_observations for segment in segments]
    there = [part for part in after if part is not None]
    return _numbers(
        inputs,
        stacked([segment.observations for segment in segments]),
        stacked([segment.actions for segment in segments]),
        stacked(there) if there and len(there) == len(after) else None,
        stacked([segment.ended for segment in segments]),
    )


def stacked(parts: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """Arrays of B segments as one, shape (B, T, ...): the last step of shorter ones is repeated."""
    longest = max(map(len, parts))
    if all(len(part) == longest for part in parts):
        return np.stack(parts)
    places = np.arange(longest)
    return np.stack([part[np.minimum(places, len(part) - 1)] for part in parts])


def numbers_of_rollout(inputs: Inputs, rollout: Rollout) -> NDArray[np.float32]:
    """Inputs of a rollout, shape (T, N, I)."""
    ended = np.zeros_like(rollout.dones) if rollout.ended is None else rollout.ended
    seen, after = rollout.observations, rollout.next_observations
    return _numbers(inputs, seen, rollout.actions, after, ended)


def _numbers(
    inputs: Inputs,
    observations: NDArray[np.float32],
    actions: NDArray[np.float32],
    next_observations: NDArray[np.float32] | None,
    ended: NDArray[np.bool_],
) -> NDArray[np.float32]:
    if inputs == "state":
        return observations
    if inputs != "transition":
        return np.concatenate([observations, actions], axis=-1)
    assert next_observations is not None  # all that is recorded has them
    # A difference: two observations hardly differ, and what they differ in is what happened.
    change = next_observations - observations
    parts = [observations, actions, change, ended[..., None].astype(np.float32)]
    return np.concatenate(parts, axis=-1)


def real_steps(segments: Sequence[Segment]) -> Tensor | None:
    """Mask of steps that are neither held nor padding, shape (B, T); None if all are real."""
    if zero_is_arbitrary(segments):
        return None
    n_real = torch.tensor([segment.n_real for segment in segments])
    return torch.arange(max(map(len, segments))) < n_real[:, None]


def zero_is_arbitrary(segments: Sequence[Segment]) -> bool:
    """Whether comparisons of such segments say nothing of what a reward of 0 is.

    They do where an episode ended by itself in any of them, or they differ in length: then some are
    shorter than others, and a constant that is added to each step changes who is better.
    """
    longest = max(map(len, segments), default=0)
    return all(segment.n_real == longest for segment in segments)


def standardization(inputs: Inputs, numbers: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of the inputs, shape (I,) each, from S steps, shape (S, I).

    Whether an episode ended is read as it is: endings are rare, and one that is the first ever must
    not be a hundred deviations away.
    """
    shift, scale = numbers.mean(0), numbers.std(0, correction=0)
    scale = torch.where(scale > _SMALLEST, scale, torch.ones_like(scale))
    if inputs == "transition":
        shift[-1], scale[-1] = 0.0, 1.0
    return shift, scale
