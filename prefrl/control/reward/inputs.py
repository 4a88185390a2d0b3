"""The inputs of a reward net besides pictures, and the steps of segments that count."""

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
"""The inputs of a step's reward. state: the observation; action: also the action; transition: also
the change to the next observation, and whether the episode ended with the step. auto counts as
action until a look at the environment has replaced it."""

_SMALLEST = 1e-6


def n_numbers(inputs: Inputs, n_observation: int, n_action: int) -> int:
    """Returns the number of inputs (I), for observations of O and actions of A numbers."""
    own = n_observation + (0 if inputs == "state" else n_action)
    return own + n_observation + 1 if inputs == "transition" else own


def numbers_of(inputs: Inputs, segments: Sequence[Segment]) -> NDArray[np.float32]:
    """Returns the inputs of segments, shape (B, T, I); shorter ones are padded to T steps."""
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
    """Stacks arrays of B segments, shape (B, T, ...), repeating the last step of shorter ones."""
    longest = max(map(len, parts))
    if all(len(part) == longest for part in parts):
        return np.stack(parts)
    places = np.arange(longest)
    return np.stack([part[np.minimum(places, len(part) - 1)] for part in parts])


def numbers_of_rollout(inputs: Inputs, rollout: Rollout) -> NDArray[np.float32]:
    """Returns the inputs of a rollout, shape (T, N, I)."""
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
    assert next_observations is not None  # all records have them
    # The difference, because consecutive observations are almost equal.
    change = next_observations - observations
    parts = [observations, actions, change, ended[..., None].astype(np.float32)]
    return np.concatenate(parts, axis=-1)


def real_steps(segments: Sequence[Segment]) -> Tensor | None:
    """Returns a mask of steps that are neither held nor padding, (B, T); None if all are real."""
    if zero_is_arbitrary(segments):
        return None
    n_real = torch.tensor([segment.n_real for segment in segments])
    return torch.arange(max(map(len, segments))) < n_real[:, None]


def zero_is_arbitrary(segments: Sequence[Segment]) -> bool:
    """Whether comparisons of the segments leave the zero of the reward undetermined.

    They determine it if an episode ended by itself in any segment, or segments differ in length:
    then some have fewer steps than others, and a constant added to each step's reward changes which
    is better.
    """
    longest = max(map(len, segments), default=0)
    return all(segment.n_real == longest for segment in segments)


def standardization(inputs: Inputs, numbers: Tensor) -> tuple[Tensor, Tensor]:
    """Returns mean and standard deviation of the inputs, shape (I,), over S steps, shape (S, I).

    The input that says whether the episode ended is not standardised: endings are rare, and the
    first one must not be a hundred standard deviations away.
    """
    shift, scale = numbers.mean(0), numbers.std(0, correction=0)
    scale = torch.where(scale > _SMALLEST, scale, torch.ones_like(scale))
    if inputs == "transition":
        shift[-1], scale[-1] = 0.0, 1.0
    return shift, scale
