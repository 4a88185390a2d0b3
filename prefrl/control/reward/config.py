"""Settings of the reward nets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, get_args

from prefrl.control.reward.inputs import Inputs
from prefrl.core.ensemble import Aggregate
from prefrl.errors import ConfigError
from prefrl.runtime.options import named_option

__all__ = ["MemberFactory", "RewardNetConfig"]

MemberFactory = Callable[..., Any]
"""Makes a torch module from the number of inputs (I). The module maps inputs of shape (S, I) to a
raw reward for each of S steps, shape (S,) or (S, 1). With pictures, the function also gets their
shape, (C, H, W), and the module also gets the pictures, shape (S, C, H, W)."""


@dataclass(frozen=True)
class RewardNetConfig:
    """The reward nets of the ensemble."""

    hidden: tuple[int, ...] = (32, 32)
    """Units of each hidden layer; fewer units generalise better from few labels. With convolutions,
    these layers follow them."""
    member: Annotated[str | MemberFactory | None, named_option(["none"])] = None
    """Your own net for each member instead of these layers, as module:name: a function of the
    number of inputs I that returns a torch module from (S, I) to (S,) or (S, 1). With pictures, the
    function also gets their shape (C, H, W), and the module maps inputs (S, I) and pictures (S, C,
    H, W); C counts the channels of the newest frame_stack pictures, the oldest first."""
    input_noise: float = 0.0
    """Standard deviation of noise added to the standardised inputs, or to pictures in [0, 1], while
    fitting."""
    inputs: Inputs = "auto"
    """What the reward of a step may depend on. state: the observation. action: also the action.
    transition: also how the observation changed (not for pictures) and whether the episode ended.
    auto takes transition if observations have pictures, or if one of some random episodes, played
    before the training, ends by itself; otherwise, and in a script's callback, action."""
    convolutions: tuple[tuple[int, int, int], ...] = (
        (7, 3, 16),
        (5, 2, 16),
        (3, 1, 16),
        (3, 1, 16),
    )
    """For pictures: kernel size, stride and filters of each layer (Christiano et al. 2017, A.2).
    For pictures under 43 pixels, which are too small for these, all are 3 x 3 with padding."""
    frame_stack: int = 4
    """How many of the newest pictures the reward of a step depends on."""
    batch_norm: bool = False
    """Normalise the outputs of convolutions by running statistics."""
    dropout: float = 0.0
    """Share of the filters that are left out at random while fitting."""
    mixed_precision: bool = True
    """Compute convolutions in bfloat16 if the processor has instructions for it."""
    fit_frames: int | None = None
    """While fitting, score only this many steps of each segment, redrawn each time; by default all.
    For pictures, where a gradient step over all of them takes a second on a CPU."""
    reward_std: float = 1.0
    """Standard deviation of the predicted reward over recent data."""
    aggregate: Aggregate = "mean"
    """How the members' normalised rewards become one."""

    def __post_init__(self) -> None:
        if self.inputs not in get_args(Inputs):
            raise ConfigError(
                f"expected net.inputs to be one of {', '.join(get_args(Inputs))}, got "
                f"{self.inputs!r}."
            )
        if any(width < 1 for width in self.hidden):
            raise ConfigError(f"hidden layers need at least one unit each, got {self.hidden}.")
        if any(min(layer) < 1 for layer in self.convolutions) or not self.convolutions:
            raise ConfigError(
                "expected convolutions of at least one layer, each a kernel size, a stride and a "
                f"number of filters, got {self.convolutions}."
            )
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"dropout is a share in [0, 1), got {self.dropout}.")
        if self.frame_stack < 1 or (self.fit_frames is not None and self.fit_frames < 1):
            raise ConfigError(
                "expected frame_stack and fit_frames of at least 1, got "
                f"{self.frame_stack} and {self.fit_frames}."
            )
        if self.input_noise < 0 or self.reward_std <= 0:
            raise ConfigError(
                "expected input_noise >= 0 and reward_std > 0, got "
                f"{self.input_noise} and {self.reward_std}."
            )
