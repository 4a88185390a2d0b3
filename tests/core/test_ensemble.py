from dataclasses import dataclass

import pytest
import torch
from torch import nn

from prefrl.core.ensemble import aggregate, member_preferences


@dataclass(frozen=True)
class Number:
    id: str
    value: float


class Scale(nn.Module):
    """Member m scores an item with m times its value, and counts what it was shown."""

    n_members = 3

    def __init__(self):
        super().__init__()
        self.shown = 0

    def module(self):
        return self

    def collate(self, items):
        self.shown += len(items)
        return torch.tensor([item.value for item in items])

    def score(self, batch):
        return torch.arange(3.0)[:, None] * batch

    def reset(self, generator):
        pass


def test_aggregates_by_hand():
    scores = torch.tensor([[1.0, 4.0], [3.0, 4.0]])
    assert aggregate(scores).tolist() == [2.0, 4.0]
    assert aggregate(scores, how="min").tolist() == [1.0, 4.0]
    # mean 2, variance ((1 - 2)^2 + (3 - 2)^2) / 2 = 1
    assert aggregate(scores, how="mean-k-var", k=0.5).tolist() == [1.5, 4.0]
    with pytest.raises(ValueError, match="mean, min or mean-k-var"):
        aggregate(scores, how="median")


def test_member_preferences_by_hand_and_each_item_scored_once():
    a, b = Number("a", 1.0), Number("b", 0.0)
    model = Scale()
    preferences = member_preferences(model, [a, b, a], [b, a, b], chunk=1)
    assert preferences.shape == (3, 3)
    # sigmoid(0), sigmoid(1), sigmoid(2)
    assert preferences[:, 0].tolist() == pytest.approx([0.5, 0.7310586, 0.8807971])
    assert torch.allclose(preferences[:, 1], 1 - preferences[:, 0])
    assert model.shown == 2
