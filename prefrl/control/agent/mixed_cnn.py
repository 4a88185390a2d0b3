"""The policy's convolutions in bfloat16: on a processor with instructions for it, twice as fast."""

from __future__ import annotations

import torch
from stable_baselines3.common.torch_layers import NatureCNN
from torch import Tensor

from prefrl.runtime.devices import computes_in_bfloat16

__all__ = ["MixedNatureCNN"]


class MixedNatureCNN(NatureCNN):
    """Stable-Baselines3's ``NatureCNN`` (Mnih et al. 2015), in bfloat16 where that is fast.

    Elsewhere it is computed in float32; the parameters are the same.
    """

    def forward(self, observations: Tensor) -> Tensor:
        """Pictures in [0, 1], shape (B, C, H, W), to features in float32, shape (B, F)."""
        device = observations.device.type
        with torch.autocast(device, dtype=torch.bfloat16, enabled=computes_in_bfloat16(device)):
            return super().forward(observations).float()
