"""Step rewards from an ensemble of nets of the user's own."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from prefrl.control.reward.mlp import MlpStepReward
from prefrl.core.plugs import check_takes, load_plug
from prefrl.errors import ConfigError

__all__ = ["OwnStepReward"]

_STEPS_TO_TRY = 3


class OwnStepReward(MlpStepReward):
    """M nets that ``config.member`` makes; everything around them is as of ``MlpStepReward``.

    A net gets inputs that are standardised, and its output is normalised. It should start near 0: a
    fit from few labels keeps something of where it began. Each fit may begin with fresh nets, so
    all that is random in one is drawn from torch's generator while it is made.

    Args:
        n_observation: Numbers per observation (O).
        n_action: Numbers per encoded action (A).
        n_members: M.
        config: Settings, with ``member``.

    Raises:
        ConfigError: If a net cannot be made, or does not give a number for each step.
    """

    def _make_members(self, n_members: int, n_inputs: int) -> None:
        member = self.config.member
        assert member is not None
        named = f"net.member {member}" if isinstance(member, str) else f"net.member {member!r}"
        factory: Any = load_plug(member, option="net.member") if isinstance(member, str) else member
        if not callable(factory):
            raise ConfigError(f"expected {named} to be a function or a class, got {factory!r}.")
        check_takes(factory, "number of inputs", option=named)
        self._factory, self._n_inputs, self._named = factory, n_inputs, named
        self.nets = nn.ModuleList(self._made() for _ in range(n_members))

    def _made(self) -> nn.Module:
        """A net, tried on some steps."""
        try:
            net = self._factory(self._n_inputs)
            tried = net(torch.zeros(_STEPS_TO_TRY, self._n_inputs))
        except Exception as error:  # whatever a user's net raises
            raise ConfigError(
                f"expected {self._named} to make a module of torch for {self._n_inputs} inputs, "
                f"but it raised {type(error).__name__}: {error}."
            ) from error
        shape = getattr(tried, "shape", None)
        if not isinstance(net, nn.Module) or shape not in ((_STEPS_TO_TRY,), (_STEPS_TO_TRY, 1)):
            raise ConfigError(
                f"expected {self._named} to make a module of torch from (S, {self._n_inputs}) to "
                f"(S,) or (S, 1), got {type(net).__name__} that gives {shape} for S = "
                f"{_STEPS_TO_TRY}."
            )
        if not any(parameter.requires_grad for parameter in net.parameters()):
            raise ConfigError(f"expected {self._named} to have parameters to learn, got none.")
        return net

    @property
    def n_members(self) -> int:
        """How many members there are (M)."""
        return len(self.nets)

    @torch.no_grad()
    def reset(self, generator: torch.Generator) -> None:
        """Takes the parameters of nets that are made anew."""
        seed = int(torch.randint(2**31, (1,), generator=generator))
        # Drawn on the CPU, so that a GPU starts from the same numbers.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            for net in self.nets:
                net.load_state_dict(self._made().state_dict())

    def _members(self, flat: Tensor) -> Tensor:
        return torch.stack([net(flat).reshape(len(flat)) for net in self.nets])
