"""Feature extractors for pictures that are too small for Stable-Baselines3's convolutions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from gymnasium import spaces
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import Tensor, nn

from prefrl.control.convolutions import fitting, sides_behind

__all__ = ["SmallCNN", "SmallCombined", "is_small"]

_NATURE = ((8, 4, 32), (4, 2, 64), (3, 1, 64))  # Mnih et al. 2015


def is_small(sides: Sequence[int]) -> bool:
    """Whether a picture, given by height and width, is too small for ``NatureCNN``."""
    return any(layer.padding for layer in fitting(_NATURE, sides))


class SmallCNN(BaseFeaturesExtractor):
    """``NatureCNN`` with convolutions of 3 x 3.

    Args:
        observation_space: Pictures, shape (C, H, W).
        features_dim: Number of features (F).
    """

    def __init__(self, observation_space: spaces.Space[Any], features_dim: int = 512) -> None:
        assert isinstance(observation_space, spaces.Box)
        super().__init__(observation_space, features_dim)
        n_inputs, *sides = observation_space.shape
        layers, modules = fitting(_NATURE, sides), list[nn.Module]()
        for kernel, stride, filters, padding in layers:
            modules += [nn.Conv2d(n_inputs, filters, kernel, stride, padding), nn.ReLU()]
            n_inputs = filters
        width = n_inputs * math.prod(sides_behind(layers, sides))
        self.layers = nn.Sequential(
            *modules, nn.Flatten(), nn.Linear(width, features_dim), nn.ReLU()
        )

    def forward(self, observations: Tensor) -> Tensor:
        """Maps pictures in [0, 1], shape (B, C, H, W), to features, shape (B, F)."""
        features: Tensor = self.layers(observations)
        return features


class SmallCombined(BaseFeaturesExtractor):
    """``SmallCNN`` for the picture of a dict observation; numbers are passed through.

    Args:
        observation_space: A dict with one picture, shape (C, H, W).
        picture_key: Key of the picture.
        features_dim: Number of features of the picture.
    """

    def __init__(
        self, observation_space: spaces.Space[Any], picture_key: str, features_dim: int = 256
    ) -> None:
        assert isinstance(observation_space, spaces.Dict)
        parts = {
            key: SmallCNN(part, features_dim) if key == picture_key else nn.Flatten()
            for key, part in observation_space.spaces.items()
        }
        n_numbers = sum(
            spaces.flatdim(part)
            for key, part in observation_space.spaces.items()
            if key != picture_key
        )
        super().__init__(observation_space, features_dim + n_numbers)
        self.parts = nn.ModuleDict(parts)

    def forward(self, observations: dict[str, Tensor]) -> Tensor:
        """Maps the parts of a batch of observations to features, shape (B, F)."""
        return torch.cat([part(observations[key]) for key, part in self.parts.items()], dim=1)
