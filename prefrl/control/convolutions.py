"""Convolutions that fit a picture; those for Atari need 36 to 43 pixels per side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from prefrl.errors import ConfigError

__all__ = ["Convolution", "fitting", "sides_behind"]

_SMALL = 43  # least side for the reward net of Christiano et al. 2017
_STILL_LARGE = 10


class Convolution(NamedTuple):
    """A convolutional layer."""

    kernel: int
    """Side of its kernel, in pixels."""
    stride: int
    """Its stride, in pixels."""
    filters: int
    """Number of its filters."""
    padding: int = 0
    """Width of the zero padding around the picture, in pixels."""

    def side(self, side: int) -> int:
        """Returns the output size along one side; below one if the kernel is larger."""
        return (side + 2 * self.padding - self.kernel) // self.stride + 1


def fitting(layers: Sequence[tuple[int, int, int]], sides: Sequence[int]) -> list[Convolution]:
    """Returns the layers, or smaller ones that fit a small picture.

    If a picture with a side below 43 pixels is too small for the layers, all kernels become 3 x 3
    with padding, with a stride of 2 while the picture is larger than 10 pixels. The numbers of
    filters stay the same.

    Args:
        layers: Kernel size, stride and filters of each layer.
        sides: Height and width of the picture.

    Raises:
        ConfigError: If a picture without a side below 43 pixels is too small for the layers.
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
    """Returns height and width of the output; below one if the picture is too small."""
    behind = list(sides)
    for layer in convolutions:
        behind = [layer.side(side) for side in behind]
    return behind
