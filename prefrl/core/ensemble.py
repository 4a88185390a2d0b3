"""Ensembles of reward models: their interface, their scores, and how these are combined."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn

from prefrl.core.comparisons import Item
from prefrl.core.loss import preference_probability

__all__ = [
    "Aggregate",
    "RewardModel",
    "aggregate",
    "as_judge",
    "member_preferences",
    "score_items",
]

Aggregate = Literal["mean", "min", "mean-k-var"]


class RewardModel(Protocol):
    """The interface that control and text implement: scores of items by all members.

    Implementations are ``torch.nn.Module``; nothing else about them is known here.
    """

    @property
    def n_members(self) -> int:
        """How many members score each item (M)."""
        ...

    def collate(self, items: Sequence[Any]) -> Any:
        """Collates items into the batch that ``score`` takes."""
        ...

    def score(self, batch: Any) -> Tensor:
        """Returns one score per member and item, shape (M, B), with gradient."""
        ...

    def reset(self, generator: torch.Generator) -> None:
        """Draws fresh parameters for all members."""
        ...

    def module(self) -> nn.Module:
        """Returns the module that holds the parameters."""
        ...


def aggregate(scores: Tensor, *, how: Aggregate = "mean", k: float = 1.0) -> Tensor:
    """Combines the members' scores into one.

    Args:
        scores: Scores, shape (M, ...), with each member already normalised on its own.
        how: ``mean`` (Christiano et al. 2017, section 2.2.3), ``min`` (the worst case), or
            ``mean-k-var``: the mean minus ``k`` times the variance over members (Coste et al.
            2023, arXiv 2310.02743, section 3).
        k: Weight of the variance.

    Returns:
        Shape (...), without the members' axis.

    Raises:
        ValueError: If ``how`` is not one of the three.
    """
    if how == "mean":
        return scores.mean(0)
    if how == "min":
        return scores.amin(0)
    if how == "mean-k-var":
        return scores.mean(0) - k * scores.var(0, correction=0)
    raise ValueError(f"expected how to be mean, min or mean-k-var, got {how!r}.")


def score_items(model: RewardModel, items: Sequence[Item], *, chunk: int = 512) -> Tensor:
    """Scores many items, a chunk at a time, without gradient.

    Args:
        model: The ensemble.
        items: B items.
        chunk: How many items are collated at once.

    Returns:
        Scores, shape (M, B), on the CPU.
    """
    with as_judge(model.module()):
        chunks = [
            model.score(model.collate(items[start : start + chunk])).cpu()
            for start in range(0, len(items), chunk)
        ]
    return torch.cat(chunks, dim=1)


@contextlib.contextmanager
def as_judge(module: nn.Module) -> Iterator[None]:
    """Evaluates a module within a ``with`` block: without noise, dropout and gradient."""
    was_training = module.training
    module.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        module.train(was_training)


def member_preferences(
    model: RewardModel, lefts: Sequence[Item], rights: Sequence[Item], *, chunk: int = 512
) -> Tensor:
    """Computes each member's P(left is better) for each pair; scores each item only once.

    Args:
        model: The ensemble.
        lefts: The C left items.
        rights: The C right items.
        chunk: How many items are collated at once.

    Returns:
        Probabilities in [0, 1], shape (M, C).
    """
    items = {item.id: item for item in (*lefts, *rights)}
    place = {item_id: position for position, item_id in enumerate(items)}
    scores = score_items(model, list(items.values()), chunk=chunk)
    left = scores[:, [place[item.id] for item in lefts]]
    right = scores[:, [place[item.id] for item in rights]]
    return preference_probability(left, right)
