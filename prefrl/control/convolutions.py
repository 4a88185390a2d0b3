"""Convolutions that fit a picture: Atari's need 36 to 43 pixels per side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from prefrl.errors import ConfigError

__all__ = ["Convolution", "fitting", "sides_behind"]

_SMALL = 43  # what the reward net of Christiano et al. 2017 needs
_STILL_LARGE = 10


class Convolution(NamedTuple):
    """One layer."""

    kernel: int
    """Side of its kernel, in pixels."""
    stride: int
    """Pixels from one place to the next."""
    filters: int
    """How many it has."""
    padding: int = 0
    """Pixels of zeros around the picture."""

    def side(self, side: int) -> int:
        """Output size along a side of so many pixels; less than one if the kernel is larger."""
        return (side + 2 * self.padding - self.kernel) // self.stride + 1


def fitting(layers: Sequence[tuple[int, int, int]], sides: Sequence[int]) -> list[Convolution]:
    """Returns the layers, or smaller ones that fit a small picture.

    For a picture that is too small for them, under 43 pixels, all kernels are 3 x 3 with padding,
    and the stride is 2 while it is larger than 10 pixels; the numbers of filters stay.

    Args:
        layers: Kernel size, stride and filters of each.
        sides: Height and width of the picture.

    Raises:
        ConfigError: If a picture that is not small is too small for them.
    """
    convolutions = [Convolution(*layer) for layer in layers]
    if min(sides_behind(convolutions, sides)) >= 1:
        return convolutions
    if min(sides) >= _SMALL:
        raise ConfigError(
            f"expected pictures large enough for convolutions {tuple(layers)}, got {tuple(sides)} "
            "pixels; take smaller kernels or strides, or fewer layers."
        )
    small = []
    for _, _, filters in layers:
        small.append(Convolution(3, 2 if max(sides) > _STILL_LARGE else 1, filters, padding=1))
        sides = sides_behind(small[-1:], sides)
    return small


def sides_behind(convolutions: Sequence[Convolution], sides: Sequence[int]) -> list[int]:
    """Height and width of the output; less than one if the picture is too small."""
    behind = list(sides)
    for layer in convolutions:
        behind = [layer.side(side) for side in behind]
    return behind
