"""Normalisation of predicted rewards, per member, with constants stored with the weights.

The Bradley-Terry loss determines a reward only up to a shift, and its scale depends on the fit. So
each member is normalised separately before the members are averaged (Christiano et al. 2017,
section 2.2.3), over recent data, once per fit: between two fits the same input gives the same
reward.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["MemberNormalizer"]

_SMALLEST_SCALE = 1e-6


class MemberNormalizer(nn.Module):
    """Shift and scale per member, kept as buffers so that they are saved with the weights.

    Args:
        n_members: M.
        target_std: Standard deviation after normalising (1 for MuJoCo, 0.05 for Atari:
            Christiano et al. 2017, appendix A.1 and A.2).
    """

    shift: Tensor
    scale: Tensor

    def __init__(self, n_members: int, *, target_std: float = 1.0) -> None:
        super().__init__()
        self.target_std = target_std
        self.register_buffer("shift", torch.zeros(n_members))
        self.register_buffer("scale", torch.ones(n_members))

    @torch.no_grad()
    def calibrate(self, *groups: Tensor, centre: bool = True) -> None:
        """Sets shift and scale to each member's mean and standard deviation on recent data.

        Args:
            *groups: Raw rewards, shape (M, ...); all axes but the first are pooled. Each group
                counts equally, whatever its size. A member whose reward is constant keeps the scale
                1, so it adds nothing.
            centre: False keeps the shift at 0, for rewards whose zero has a meaning, and uses the
                root mean square instead of the standard deviation.
        """
        flat = [rewards.flatten(1) for rewards in groups]
        mean = torch.stack([group.mean(1) for group in flat]).mean(0)  # (M,)
        if not centre:
            mean = torch.zeros_like(mean)
        if len(flat) == 1 and centre:
            std = flat[0].std(1, correction=0)
        else:
            squares = [(group - mean[:, None]).square().mean(1) for group in flat]
            std = torch.stack(squares).mean(0).sqrt()
        self.shift.copy_(mean)
        self.scale.copy_(torch.where(std > _SMALLEST_SCALE, std, torch.ones_like(std)))

    def forward(self, rewards: Tensor) -> Tensor:
        """Normalises raw rewards, shape (M, ...); returns the same shape."""
        shape = (-1,) + (1,) * (rewards.dim() - 1)
        return (rewards - self.shift.view(shape)) / self.scale.view(shape) * self.target_std
