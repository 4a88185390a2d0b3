"""A separate value model for PPO, which starts as the reward model."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from prefrl.text.nets.layers import freeze_below, no_dropout
from prefrl.text.nets.logprobs import Batch
from prefrl.text.nets.reward_model import TextReward

__all__ = ["ValueModel"]


class ValueModel(nn.Module):
    """Values of states, from a trunk and a head that start as those of the reward.

    As in Ouyang et al. 2022 (arXiv 2203.02155, appendix C.4) and Huang et al. 2024 (arXiv
    2403.17031), the value of a state is at first the reward model's score of the response so far.

    Args:
        reward: Reward model to start from; of several trunks, the first.
        train_layers: How many of the trunk's last layers are trained; None for all. If the trunk
            has adapters, only these are trained, and the rest is shared with the reward's trunk.
    """

    def __init__(self, reward: TextReward, *, train_layers: int | None = None) -> None:
        super().__init__()
        trunk, weight, bias = reward.as_one_head()
        self._shares = reward.config.lora.used
        if self._shares:
            frozen = {id(p): p for p in trunk.parameters() if not p.requires_grad}
            self.trunk = copy.deepcopy(trunk, frozen)
        else:
            self.trunk = copy.deepcopy(trunk).requires_grad_(True)
            freeze_below(self.trunk, train_layers)
        no_dropout(self.trunk)
        self.weight = nn.Parameter(weight.clone())
        self.bias = nn.Parameter(bias.clone())

    @torch.no_grad()
    def take(self, reward: TextReward) -> None:
        """Copies the current weights of the reward model."""
        trunk, weight, bias = reward.as_one_head()
        self.trunk.load_state_dict(trunk.state_dict())
        self.weight.copy_(weight)
        self.bias.copy_(bias)

    def own_state(self) -> dict[str, Tensor]:
        """State for a checkpoint: all that is not shared with the reward's trunk, by name."""
        frozen = {name for name, p in self.named_parameters() if not p.requires_grad}
        shared = frozen if self._shares else set()
        return {name: t for name, t in self.state_dict().items() if name not in shared}

    def load_own_state(self, state: Mapping[str, Tensor]) -> None:
        """Restores a state."""
        self.load_state_dict(dict(state), strict=not self._shares)

    def forward(self, batch: Batch) -> Tensor:
        """Values of the states before the tokens, shape (B, R)."""
        states = self.trunk(**batch.inputs).last_hidden_state[:, -batch.n_kept : -1]  # (B, R, D)
        values: Tensor = states.float() @ self.weight + self.bias
        return values
