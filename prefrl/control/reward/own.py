"""Step rewards from an ensemble of the user's own nets."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from prefrl.control.reward.cnn import CnnStepReward
from prefrl.control.reward.config import RewardNetConfig
from prefrl.control.reward.mlp import MlpStepReward
from prefrl.core.ensemble import as_judge
from prefrl.core.plugs import check_takes, load_plug
from prefrl.errors import ConfigError

__all__ = ["OwnPictureReward", "OwnStepReward"]

_STEPS_TO_TRY = 3


class OwnStepReward(MlpStepReward):
    """M nets from ``config.member``; everything else is as in ``MlpStepReward``.

    A net gets standardised inputs, and its output is normalised. It should start near 0, because a
    fit from few labels retains something of its start. Each fit may begin with new nets, so a net
    must draw all its random numbers from torch's generator while it is made.

    Args:
        n_observation: Numbers per observation (O).
        n_action: Numbers per encoded action (A).
        n_members: Number of members (M).
        config: Settings, with ``member``.

    Raises:
        ConfigError: If a net cannot be made, or does not give a number for each step.
    """

    def _make_members(self, n_members: int, n_inputs: int) -> None:
        self._make = _maker(self.config, {"number of inputs": n_inputs}, [(n_inputs,)])
        self.nets = nn.ModuleList(self._make() for _ in range(n_members))

    @property
    def n_members(self) -> int:
        """Number of members (M)."""
        return len(self.nets)

    def reset(self, generator: torch.Generator) -> None:
        """Takes over the parameters of newly made nets."""
        _make_anew(self.nets, self._make, generator)

    def _members(self, flat: Tensor) -> Tensor:
        return torch.stack([net(flat).reshape(len(flat)) for net in self.nets])


class OwnPictureReward(CnnStepReward):
    """M nets from ``config.member``; everything else is as in ``CnnStepReward``.

    It is like ``OwnStepReward``, but a net also gets pictures in [0, 1]: the newest ``frame_stack``
    ones, stacked along their channels.

    Args:
        layout: Layout of the observations; they have a picture.
        n_action: Numbers per encoded action (A).
        n_members: Number of members (M).
        config: Settings, with ``member``.

    Raises:
        ConfigError: If a net cannot be made, or does not give a number for each step.
    """

    def _make_members(self, n_members: int, n_read: int, picture: tuple[int, ...]) -> None:
        given = {"number of inputs": n_read, "shape of the pictures": picture}
        self._make = _maker(self.config, given, [(n_read,), picture])
        self.nets = nn.ModuleList(self._make() for _ in range(n_members))

    def reset(self, generator: torch.Generator) -> None:
        """Takes over the parameters of newly made nets."""
        _make_anew(self.nets, self._make, generator)

    def _members(self, pixels: Tensor, numbers: Tensor) -> Tensor:
        return torch.stack([net(numbers, pixels).reshape(len(pixels)) for net in self.nets])


def _maker(
    config: RewardNetConfig, given: dict[str, Any], inputs: list[tuple[int, ...]]
) -> Callable[[], nn.Module]:
    """Returns the function that makes a net, after a trial on some steps.

    Args:
        config: Settings, with ``member``.
        given: Arguments of ``member``, by their meaning.
        inputs: Shapes of a net's arguments for one step.
    """
    member = config.member
    assert member is not None
    named = f"net.member {member}" if isinstance(member, str) else f"net.member {member!r}"
    factory: Any = load_plug(member, option="net.member") if isinstance(member, str) else member
    if not callable(factory):
        raise ConfigError(f"expected {named} to be a function or a class, got {factory!r}.")
    check_takes(factory, *given, option=named)
    taken = ", ".join(f"(S, {', '.join(map(str, shape))})" for shape in inputs)

    def make() -> nn.Module:
        try:
            net = factory(*given.values())
            # Batch normalisation must not learn from this trial.
            with as_judge(net) if isinstance(net, nn.Module) else nullcontext():
                tried = net(*(torch.zeros(_STEPS_TO_TRY, *shape) for shape in inputs))
        except Exception as error:  # a user's net may raise anything
            raise ConfigError(
                f"expected {named} to make a module of torch that is called with {taken}, but it "
                f"raised {type(error).__name__}: {error}."
            ) from error
        shape = getattr(tried, "shape", None)
        if not isinstance(net, nn.Module) or shape not in ((_STEPS_TO_TRY,), (_STEPS_TO_TRY, 1)):
            raise ConfigError(
                f"expected {named} to make a module of torch from {taken} to (S,) or (S, 1), got "
                f"{type(net).__name__} that gives {shape} for S = {_STEPS_TO_TRY}."
            )
        if not any(parameter.requires_grad for parameter in net.parameters()):
            raise ConfigError(f"expected {named} to have parameters to learn, got none.")
        return net

    return make


@torch.no_grad()
def _make_anew(
    nets: nn.ModuleList, make: Callable[[], nn.Module], generator: torch.Generator
) -> None:
    seed = int(torch.randint(2**31, (1,), generator=generator))
    # Drawn on the CPU, so that a GPU starts from the same numbers.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for net in nets:
            net.load_state_dict(make().state_dict())
