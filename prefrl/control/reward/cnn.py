"""Step rewards from pictures, computed for all members at once.

The net is that of Christiano et al. 2017, appendix A.2: convolutions over the newest four frames,
leaky ReLU 0.01, a layer of 64 units, one output. Optional are batch normalisation, dropout and
noise, as there and in Ibarz et al. 2018, appendix A.3.
"""

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

from prefrl.control.convolutions import fitting, sides_behind
from prefrl.control.environments.rollout import Rollout
from prefrl.control.environments.spaces import Layout
from prefrl.control.reward.config import RewardNetConfig
from prefrl.control.reward.inputs import (
    n_numbers,
    numbers_of,
    numbers_of_rollout,
    real_steps,
    stacked,
    standardization,
    zero_is_arbitrary,
)
from prefrl.control.segments import Segment
from prefrl.core.ensemble import aggregate, as_judge
from prefrl.core.normalize import MemberNormalizer
from prefrl.runtime.devices import computes_in_bfloat16

__all__ = ["CnnStepReward", "Pictures"]

_SLOPE = 0.01
_BN_MOMENTUM = 0.05
_CHUNK = {"cpu": 128, "cuda": 8192}  # steps at once; on a CPU more would not fit into the cache


class Pictures(NamedTuple):
    """A batch for ``CnnStepReward.score``."""

    frames: Tensor
    """Pictures, shape (B, K + T, C, H, W), uint8; the first K = frame_stack - 1 are from before."""
    numbers: Tensor
    """The other inputs, shape (B, T, I)."""
    age: Tensor | None = None
    """Steps since the episode began, shape (B, T), to blacken earlier pictures. None if they are
    black already."""
    real: Tensor | None = None
    """Which steps count, shape (B, T), bool; None if all do."""


class CnnStepReward(nn.Module):
    """M convolutional nets that map the newest pictures, numbers and action to a step reward.

    All members see the same pictures: the first convolution computes the filters of all members,
    and later ones are grouped by member. The constants of the normalisation are buffers, as in
    ``MlpStepReward``.

    Args:
        layout: Layout of the observations; they have a picture.
        n_action: Numbers per encoded action (A).
        n_members: Number of members (M).
        config: Settings.

    Raises:
        ConfigError: If the pictures are too small for the convolutions, but too large for smaller
            ones (``fitting``).
    """

    input_shift: Tensor
    input_scale: Tensor

    def __init__(
        self, layout: Layout, n_action: int, *, n_members: int, config: RewardNetConfig
    ) -> None:
        super().__init__()
        assert layout.picture is not None
        self.config, self._n_members = config, n_members
        n_read = n_numbers(config.inputs, layout.width, n_action)
        channels, *sides = layout.picture
        self._make_members(n_members, n_read, (channels * config.frame_stack, *sides))
        self.register_buffer("input_shift", torch.zeros(n_read))
        self.register_buffer("input_scale", torch.ones(n_read))
        self.normalizer = MemberNormalizer(n_members, target_std=config.reward_std)
        self.reset(torch.Generator().manual_seed(0))

    def _make_members(self, n_members: int, n_read: int, picture: tuple[int, ...]) -> None:
        """Makes the layers of M members, for I numbers and a picture of shape (C, H, W)."""
        config, (n_inputs, *sides) = self.config, picture
        groups, modules = 1, list[nn.Module]()
        layers = fitting(config.convolutions, sides)
        for kernel, stride, filters, padding in layers:
            n_outputs = n_members * filters
            modules.append(nn.Conv2d(n_inputs, n_outputs, kernel, stride, padding, groups=groups))
            if config.batch_norm:
                modules.append(nn.BatchNorm2d(n_outputs, momentum=_BN_MOMENTUM))
            modules.append(nn.LeakyReLU(_SLOPE))
            if config.dropout:
                modules.append(nn.Dropout2d(config.dropout))
            n_inputs, groups = n_outputs, n_members
        # With channels last, a CPU takes two thirds of the time.
        self.convolutions = nn.Sequential(*modules)
        self.convolutions.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        n_found = layers[-1].filters * math.prod(sides_behind(layers, sides))
        widths = [n_found + n_read, *config.hidden, 1]
        self.weights = nn.ParameterList(
            nn.Parameter(torch.zeros(n_members, fan_in, fan_out))
            for fan_in, fan_out in pairwise(widths)
        )
        self.biases = nn.ParameterList(
            nn.Parameter(torch.zeros(n_members, 1, fan_out)) for fan_out in widths[1:]
        )

    @property
    def n_members(self) -> int:
        """Number of members (M)."""
        return self._n_members

    @property
    def n_before(self) -> int:
        """Number of earlier pictures on which a step's reward depends."""
        return self.config.frame_stack - 1

    def module(self) -> nn.Module:
        """Returns itself: the module that holds the parameters."""
        return self

    @torch.no_grad()
    def reset(self, generator: torch.Generator) -> None:
        """Draws fresh layers, uniform in ±1/sqrt(fan_in), and a last layer of zeros.

        ``MlpStepReward.reset`` explains the zeros.
        """
        for module in self.convolutions:
            if isinstance(module, nn.BatchNorm2d):
                module.reset_parameters()
            elif isinstance(module, nn.Conv2d):
                assert module.bias is not None
                bound = 1 / math.sqrt(module.weight[0].numel())
                for parameter in (module.weight, module.bias):
                    _draw(parameter, bound, generator)
        for weight, bias in zip(self.weights, self.biases, strict=True):
            for parameter in (weight, bias):
                _draw(parameter, 1 / math.sqrt(weight.shape[1]), generator)
        self.weights[-1].zero_()
        self.biases[-1].zero_()

    def collate(self, items: Sequence[Segment]) -> Pictures:
        """Makes a batch from the pictures and numbers of B segments."""
        unpacked = [segment.frames.unpack() for segment in items if segment.frames is not None]
        frames = torch.from_numpy(stacked(unpacked))
        numbers = torch.from_numpy(numbers_of(self.config.inputs, items))
        device, real = self.input_shift.device, real_steps(items)
        if real is not None:
            real = real.to(device)
        # Pictures stay bytes: a GPU converts them faster than the bus transfers floats.
        return Pictures(frames.to(device), numbers.to(device), real=real)

    def score(self, batch: Pictures) -> Tensor:
        """Returns scores of segments: the undiscounted sums of raw step rewards, shape (M, B).

        Held steps are worth 0. While fitting, the sum may be estimated from ``fit_frames`` random
        steps.
        """
        n_segments, n_steps = batch.numbers.shape[:2]
        real = 1 if batch.real is None else batch.real
        n_drawn = self.config.fit_frames
        if not self.training:
            return (self.step_rewards(batch) * real).sum(-1)
        if n_drawn is None or n_drawn >= n_steps:
            rewards = self._step_rewards(batch, self._all_steps(n_segments, n_steps))
            return (rewards.view(self.n_members, n_segments, n_steps) * real).sum(-1)
        drawn = torch.rand(n_segments, n_steps).argsort(1)[:, :n_drawn]  # (B, F)
        rows = torch.arange(n_segments)[:, None].expand_as(drawn)
        rewards = self._step_rewards(batch, torch.stack([rows.flatten(), drawn.flatten()]))
        rewards = rewards.view(self.n_members, n_segments, n_drawn)
        if batch.real is not None:
            rewards = rewards * batch.real[rows, drawn]
        return rewards.sum(-1) * (n_steps / n_drawn)

    def step_rewards(self, batch: Pictures) -> Tensor:
        """Returns raw step rewards of whole segments, shape (M, B, T)."""
        n_segments, n_steps = batch.numbers.shape[:2]
        size = _CHUNK[batch.frames.device.type]
        chunks = torch.split(self._all_steps(n_segments, n_steps), size, dim=1)
        rewards = torch.cat([self._step_rewards(batch, chunk) for chunk in chunks], dim=1)
        return rewards.view(self.n_members, n_segments, n_steps)

    def _all_steps(self, n_segments: int, n_steps: int) -> Tensor:
        """Returns row and number of every step, shape (2, B * T)."""
        return torch.cartesian_prod(torch.arange(n_segments), torch.arange(n_steps)).T

    def _step_rewards(self, batch: Pictures, steps: Tensor) -> Tensor:
        """Returns raw rewards (M, S) of S steps, given by row and number, shape (2, S)."""
        rows, times = steps.to(batch.frames.device)
        lags = torch.arange(self.config.frame_stack, device=rows.device)
        seen = batch.frames[rows[:, None], times[:, None] + lags]  # (S, K + 1, C, H, W)
        if batch.age is not None:
            within = self.n_before - lags <= batch.age[rows, times][:, None]  # (S, K + 1)
            seen = seen * within[:, :, None, None, None]
        pixels = seen.flatten(1, 2).to(torch.float32) / 255
        numbers = (batch.numbers[rows, times] - self.input_shift) / self.input_scale
        if self.training and self.config.input_noise:
            pixels = pixels + self.config.input_noise * torch.randn_like(pixels)
            numbers = numbers + self.config.input_noise * torch.randn_like(numbers)
        return self._members(pixels, numbers)

    def _members(self, pixels: Tensor, numbers: Tensor) -> Tensor:
        """Returns raw rewards (M, S) for pictures (S, C, H, W) in [0, 1] and numbers (S, I)."""
        pixels = pixels.contiguous(memory_format=torch.channels_last)
        device = pixels.device.type
        mixed = self.config.mixed_precision and computes_in_bfloat16(device)
        with torch.autocast(device, dtype=torch.bfloat16, enabled=mixed):
            found = self.convolutions(pixels)  # (S, M * F, h, w)
        found = found.float().reshape(len(pixels), self.n_members, -1)
        hidden = found.transpose(0, 1)  # (M, S, F * h * w)
        hidden = torch.cat([hidden, numbers.expand(self.n_members, *numbers.shape)], dim=2)
        last = len(self.weights) - 1
        for layer, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            hidden = torch.baddbmm(bias, hidden, weight)
            if layer < last:
                hidden = functional.leaky_relu(hidden, _SLOPE)
        return hidden.squeeze(-1)

    @torch.no_grad()
    def standardize_inputs(self, *groups: Sequence[Segment]) -> None:
        """Sets mean and standard deviation of the numbers from groups of segments."""
        if not len(self.input_shift):
            return
        found = []
        for batch in map(self.collate, groups):
            real = batch.real
            found.append(batch.numbers.flatten(0, 1) if real is None else batch.numbers[real])
        shift, scale = standardization(self.config.inputs, torch.cat(found))
        self.input_shift.copy_(shift)
        self.input_scale.copy_(scale)

    def calibrate(self, *groups: Sequence[Segment], fitted: Sequence[Segment] = ()) -> None:
        """Sets the constants of the reward's normalisation from segments.

        Args:
            *groups: Groups of segments, with equal weight.
            fitted: Segments of the fit, as for ``MlpStepReward.calibrate``.
        """
        with as_judge(self):
            found = []
            for batch in map(self.collate, groups):
                rewards = self.step_rewards(batch)
                found.append(rewards if batch.real is None else rewards[:, batch.real])
            self.normalizer.calibrate(*found, centre=zero_is_arbitrary(fitted))

    def predict(self, rollout: Rollout) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Returns rewards for the agent, normalised per member and aggregated.

        Args:
            rollout: Record of the agent's steps, with pictures.

        Returns:
            The reward, shape (T, N), and the raw step rewards of the members, shape (M, T, N).
        """
        assert rollout.frames is not None
        device = self.input_shift.device
        numbers = torch.from_numpy(numbers_of_rollout(self.config.inputs, rollout)).to(device)
        frames = torch.from_numpy(rollout.frames).to(device)
        age = torch.from_numpy(_age(rollout, self.n_before)).to(device)
        batch = Pictures(*(part.transpose(0, 1) for part in (frames, numbers, age)))
        with as_judge(self):
            raw = self.step_rewards(batch).transpose(1, 2)  # (M, T, N)
            reward = aggregate(self.normalizer(raw), how=self.config.aggregate)
        return reward.cpu().numpy(), raw.cpu().numpy()


def _age(rollout: Rollout, most: int) -> NDArray[np.int64]:
    """Returns the steps since the episode began, at most ``most``, shape (T, N)."""
    age = np.empty(rollout.dones.shape, np.int64)
    now = np.full(rollout.dones.shape[1], most)  # pictures before the first step are black already
    for t, dones in enumerate(rollout.dones):
        age[t] = now
        now = np.where(dones, 0, np.minimum(now + 1, most))
    return age


def _draw(parameter: Tensor, bound: float, generator: torch.Generator) -> None:
    # Drawn on the CPU, so that a GPU starts with the same numbers.
    parameter.copy_(torch.empty(parameter.shape).uniform_(-bound, bound, generator=generator))
