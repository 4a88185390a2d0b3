"""Step rewards from an ensemble of small nets, all members in one kernel."""

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
    """What is read of B segments, shape (B, T, I)."""
    real: Tensor | None = None
    """Which steps count, shape (B, T), bool; None where all do."""


class MlpStepReward(nn.Module):
    """M multilayer perceptrons from what ``config.inputs`` says of a step to its reward.

    Leaky ReLU 0.01 as in Christiano et al. 2017, appendix A.1. Inputs are standardised with
    constants that are buffers here, as are the normalisation constants of the output: whoever loads
    the weights has them too.

    Args:
        n_observation: Numbers per observation (O).
        n_action: Numbers per encoded action (A).
        n_members: M.
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
        """Number of earlier pictures that a step's reward depends on: none."""
        return 0

    @property
    def n_members(self) -> int:
        """How many members there are (M)."""
        return len(self.weights[0])

    def module(self) -> nn.Module:
        """Itself: the module that holds the parameters."""
        return self

    @torch.no_grad()
    def reset(self, generator: torch.Generator) -> None:
        """Draws fresh hidden layers, uniform in ±1/sqrt(fan_in), and a last layer of zeros.

        A random last layer would start with confident preferences: summed over a segment, its
        outputs differ by several units, where the loss with noise is flat. A short fit would keep
        that chance as part of the reward.
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
        """Inputs of B segments."""
        device, real = self.input_shift.device, real_steps(items)
        inputs = torch.from_numpy(numbers_of(self.config.inputs, items)).to(device)
        return Steps(inputs, None if real is None else real.to(device))

    def score(self, batch: Steps) -> Tensor:
        """Scores of segments: the undiscounted sum of raw step rewards.

        Christiano et al. 2017, equation 1. Steps that are held are worth 0.

        Args:
            batch: B segments.

        Returns:
            Shape (M, B).
        """
        rewards = self.step_rewards(batch.inputs)
        return (rewards if batch.real is None else rewards * batch.real).sum(-1)

    def step_rewards(self, inputs: Tensor) -> Tensor:
        """Raw step rewards, shape (M, ...), of inputs of shape (..., I)."""
        flat = (inputs.reshape(-1, inputs.shape[-1]) - self.input_shift) / self.input_scale
        if self.training and self.config.input_noise:
            flat = flat + self.config.input_noise * torch.randn_like(flat)
        return self._members(flat).view(self.n_members, *inputs.shape[:-1])

    def _members(self, flat: Tensor) -> Tensor:
        """Raw rewards of all members, shape (M, S), of standardised inputs of shape (S, I)."""
        hidden = flat.expand(self.n_members, *flat.shape)  # (M, S, I)
        last = len(self.weights) - 1
        for layer, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            hidden = torch.baddbmm(bias, hidden, weight)
            if layer < last:
                hidden = functional.leaky_relu(hidden, 0.01)
        return hidden.squeeze(-1)

    @torch.no_grad()
    def standardize_inputs(self, *groups: Sequence[Segment]) -> None:
        """Takes mean and standard deviation of the inputs from groups of segments."""
        inputs = torch.cat([self._real_inputs(segments) for segments in groups])
        shift, scale = standardization(self.config.inputs, inputs)
        self.input_shift.copy_(shift)
        self.input_scale.copy_(scale)

    def calibrate(self, *groups: Sequence[Segment], fitted: Sequence[Segment] = ()) -> None:
        """Takes the constants of the reward's normalisation from segments.

        Args:
            *groups: Segments; every group counts the same.
            fitted: Segments that it was fitted to. Where an episode ended in one of them, or they
                differ in length, the mean stays: steps that are not there are worth 0, so 0 is not
                arbitrary.
        """
        with as_judge(self):
            rewards = [self.step_rewards(self._real_inputs(segments)) for segments in groups]
            self.normalizer.calibrate(*rewards, centre=zero_is_arbitrary(fitted))

    def _real_inputs(self, segments: Sequence[Segment]) -> Tensor:
        """Inputs of all steps that count, shape (S, I)."""
        inputs, real = self.collate(segments)
        return inputs.flatten(0, 1) if real is None else inputs[real]

    def predict(self, rollout: Rollout) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Rewards for the agent, normalised per member and aggregated.

        Args:
            rollout: What it did.

        Returns:
            The reward, shape (T, N), and the raw step rewards of the members, shape (M, T, N).
        """
        inputs = torch.from_numpy(numbers_of_rollout(self.config.inputs, rollout))
        with as_judge(self):
            raw = self.step_rewards(inputs.to(self.input_shift.device))
            reward = aggregate(self.normalizer(raw), how=self.config.aggregate)
        return reward.cpu().numpy(), raw.cpu().numpy()
