"""Step rewards from an ensemble of small nets, computed for all members at once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from prefrl.control.environments.rollout import Rollout
from prefrl.control.reward.config import RewardNetConfig
from prefrl.control.reward.inputs import (
    n_numbers,
    numbers_of,
    numbers_of_rollout,
    real_steps,
    standardization,
    zero_is_arbitrary,
)
from prefrl.control.segments import Segment
from prefrl.core.ensemble import aggregate, as_judge
from prefrl.core.normalize import MemberNormalizer

__all__ = ["MlpStepReward", "Steps"]


class Steps(NamedTuple):
    """A batch for ``MlpStepReward.score``."""

    inputs: Tensor
    """Inputs of B segments, shape (B, T, I)."""
    real: Tensor | None = None
    """Which steps count, shape (B, T), bool; None if all do."""


class MlpStepReward(nn.Module):
    """M multilayer perceptrons that map the inputs of a step (``config.inputs``) to its reward.

    They use leaky ReLU 0.01, as in Christiano et al. 2017, appendix A.1. The constants that
    standardise inputs and normalise outputs are buffers, so they are loaded with the weights.

    Args:
        n_observation: Numbers per observation (O).
        n_action: Numbers per encoded action (A).
        n_members: Number of members (M).
        config: Settings.
    """

    input_shift: Tensor
    input_scale: Tensor

    def __init__(
        self, n_observation: int, n_action: int, *, n_members: int, config: RewardNetConfig
    ) -> None:
        super().__init__()
        self.config = config
        n_inputs = n_numbers(config.inputs, n_observation, n_action)
        self._make_members(n_members, n_inputs)
        self.register_buffer("input_shift", torch.zeros(n_inputs))
        self.register_buffer("input_scale", torch.ones(n_inputs))
        self.normalizer = MemberNormalizer(n_members, target_std=config.reward_std)
        self.reset(torch.Generator().manual_seed(0))

    def _make_members(self, n_members: int, n_inputs: int) -> None:
        widths = [n_inputs, *self.config.hidden, 1]
        self.weights = nn.ParameterList(
            nn.Parameter(torch.zeros(n_members, fan_in, fan_out))
            for fan_in, fan_out in pairwise(widths)
        )
        self.biases = nn.ParameterList(
            nn.Parameter(torch.zeros(n_members, 1, fan_out)) for fan_out in widths[1:]
        )

    @property
    def n_before(self) -> int:
        """Number of earlier pictures on which a step's reward depends: none."""
        return 0

    @property
    def n_members(self) -> int:
        """Number of members (M)."""
        return len(self.weights[0])

    def module(self) -> nn.Module:
        """Returns itself: the module that holds the parameters."""
        return self

    @torch.no_grad()
    def reset(self, generator: torch.Generator) -> None:
        """Draws fresh hidden layers, uniform in ±1/sqrt(fan_in), and a last layer of zeros.

        A random last layer would start with confident preferences: summed over a segment, its
        outputs differ by several units, where the loss with noise is flat. A short fit would keep
        this randomness in the reward.
        """
        for weight, bias in zip(self.weights, self.biases, strict=True):
            bound = 1 / math.sqrt(weight.shape[1])
            for parameter in (weight, bias):
                # Drawn on the CPU, so that a GPU starts from the same numbers.
                drawn = torch.empty(parameter.shape).uniform_(-bound, bound, generator=generator)
                parameter.copy_(drawn)
        self.weights[-1].zero_()
        self.biases[-1].zero_()

    def collate(self, items: Sequence[Segment]) -> Steps:
        """Makes a batch from the inputs of B segments."""
        device, real = self.input_shift.device, real_steps(items)
        inputs = torch.from_numpy(numbers_of(self.config.inputs, items)).to(device)
        return Steps(inputs, None if real is None else real.to(device))

    def score(self, batch: Steps) -> Tensor:
        """Returns scores of segments: the undiscounted sums of raw step rewards.

        This is equation 1 of Christiano et al. 2017. Held steps are worth 0.

        Args:
            batch: B segments.

        Returns:
            Scores, shape (M, B).
        """
        rewards = self.step_rewards(batch.inputs)
        return (rewards if batch.real is None else rewards * batch.real).sum(-1)

    def step_rewards(self, inputs: Tensor) -> Tensor:
        """Returns raw step rewards, shape (M, ...), for inputs of shape (..., I)."""
        flat = (inputs.reshape(-1, inputs.shape[-1]) - self.input_shift) / self.input_scale
        if self.training and self.config.input_noise:
            flat = flat + self.config.input_noise * torch.randn_like(flat)
        return self._members(flat).view(self.n_members, *inputs.shape[:-1])

    def _members(self, flat: Tensor) -> Tensor:
        """Returns raw rewards of all members (M, S) for standardised inputs (S, I)."""
        hidden = flat.expand(self.n_members, *flat.shape)  # (M, S, I)
        last = len(self.weights) - 1
        for layer, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            hidden = torch.baddbmm(bias, hidden, weight)
            if layer < last:
                hidden = functional.leaky_relu(hidden, 0.01)
        return hidden.squeeze(-1)

    @torch.no_grad()
    def standardize_inputs(self, *groups: Sequence[Segment]) -> None:
        """Sets mean and standard deviation of the inputs from groups of segments."""
        inputs = torch.cat([self._real_inputs(segments) for segments in groups])
        shift, scale = standardization(self.config.inputs, inputs)
        self.input_shift.copy_(shift)
        self.input_scale.copy_(scale)

    def calibrate(self, *groups: Sequence[Segment], fitted: Sequence[Segment] = ()) -> None:
        """Sets the constants of the reward's normalisation from segments.

        Args:
            *groups: Groups of segments, with equal weight.
            fitted: Segments of the fit. If an episode ended in one of them, or they differ in
                length, the mean is not subtracted: missing steps are worth 0, so 0 has a meaning.
        """
        with as_judge(self):
            rewards = [self.step_rewards(self._real_inputs(segments)) for segments in groups]
            self.normalizer.calibrate(*rewards, centre=zero_is_arbitrary(fitted))

    def _real_inputs(self, segments: Sequence[Segment]) -> Tensor:
        """Returns the inputs of all steps that count, shape (S, I)."""
        inputs, real = self.collate(segments)
        return inputs.flatten(0, 1) if real is None else inputs[real]

    def predict(self, rollout: Rollout) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Returns rewards for the agent, normalised per member and aggregated.

        Args:
            rollout: Record of the agent's steps.

        Returns:
            The reward, shape (T, N), and the raw step rewards of the members, shape (M, T, N).
        """
        inputs = torch.from_numpy(numbers_of_rollout(self.config.inputs, rollout))
        with as_judge(self):
            raw = self.step_rewards(inputs.to(self.input_shift.device))
            reward = aggregate(self.normalizer(raw), how=self.config.aggregate)
        return reward.cpu().numpy(), raw.cpu().numpy()
