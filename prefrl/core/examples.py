"""Comparisons as training examples; each example is a pair or a group of pairs.

The pairs of K items that were ranked together are one example: as separate examples they would show
the same K items K (K - 1) / 2 times, and a model overfits to them (Ouyang et al. 2022, section
3.5). Each item of an example is scored once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from prefrl.core.comparisons import Item, Judgement
from prefrl.core.loss import best_of_k_loss, bradley_terry_loss, preference_probability

__all__ = ["Examples", "examples_of"]


@dataclass(frozen=True)
class Examples:
    """G examples, padded to K items and C comparisons each."""

    items: list[list[Item]]
    """The items of each example."""
    there: Tensor
    """Whether an example has a k-th item, shape (G, K), bool."""
    lefts: Tensor
    """Index of each comparison's left item within its example, shape (G, C)."""
    rights: Tensor
    """Index of the right item, shape (G, C)."""
    preference: Tensor
    """P(left is better) as answered, shape (G, C)."""
    margins: Tensor
    """Least score difference of left over right, negative if right is better; shape (G, C)."""
    weight: Tensor
    """One over the example's number of comparisons; 0 for padding; shape (G, C)."""
    numbers: Tensor
    """Position of each comparison among all comparisons, shape (G, C)."""
    shares: Tensor
    """P(an item is the best of its example) according to the answers, shape (G, K)."""

    def __len__(self) -> int:
        return len(self.items)

    def some(self, places: Tensor) -> Examples:
        """Returns the examples at some positions."""
        return Examples(
            items=[self.items[place] for place in places.tolist()],
            there=self.there[places],
            lefts=self.lefts[places],
            rights=self.rights[places],
            preference=self.preference[places],
            margins=self.margins[places],
            weight=self.weight[places],
            numbers=self.numbers[places],
            shares=self.shares[places],
        )

    def all_items(self) -> list[Item]:
        """Returns the U items: the first of each example, then the second of each, and so on."""
        most = self.there.shape[1]
        return [items[k] for k in range(most) for items in self.items if k < len(items)]

    def losses(self, scores: Tensor, *, best: bool, noise: float) -> Tensor:
        """Computes the loss of each example.

        Args:
            scores: Scores of ``all_items()``, shape (M, U).
            best: Whether the loss is that of choosing the best item of each example; otherwise it
                is the mean over its comparisons.
            noise: Share of answers that are pure chance, in [0, 1).

        Returns:
            Shape (M, G), in nats.
        """
        device = scores.device
        if best:
            there, shares = self.there.to(device), self.shares.to(device)
            return best_of_k_loss(self._by_example(scores), shares, there, noise=noise)
        left, right = self._sides(scores)
        left = left - self.margins.to(device)
        losses = bradley_terry_loss(left, right, self.preference.to(device), noise=noise)
        return (losses * self.weight.to(device)).sum(2)

    def squares(self, scores: Tensor) -> Tensor:
        """Mean squared score of the items of each example, (M, G), from (M, U)."""
        there = self.there.to(scores.device)
        return (self._by_example(scores).square() * there).sum(2) / there.sum(1)

    def probabilities(self, scores: Tensor) -> Tensor:
        """P(left is better) of all comparisons, shape (M, G, C), from scores (M, U)."""
        return preference_probability(*self._sides(scores))

    def _by_example(self, scores: Tensor) -> Tensor:
        """Rearranges scores to shape (M, G, K); those of missing items are meaningless."""
        n_examples, most = self.there.shape
        # Position of each item in ``all_items``, which are sorted by their index in the example.
        places = self.there.T.flatten().cumsum(0).sub(1).clamp(min=0)  # (K * G,)
        return scores[:, places.to(scores.device)].view(-1, most, n_examples).mT

    def _sides(self, scores: Tensor) -> tuple[Tensor, Tensor]:
        """Scores of the left and the right items, shape (M, G, C) each."""
        if self.lefts.shape[1] == 1:  # pairs alone: all left items come first
            left, right = scores.chunk(2, dim=1)
            return left[:, :, None], right[:, :, None]
        by_example = self._by_example(scores)
        shape = (len(scores), *self.lefts.shape)
        left = by_example.gather(2, self.lefts.to(scores.device).expand(shape))
        return left, by_example.gather(2, self.rights.to(scores.device).expand(shape))


def examples_of(comparisons: Sequence[Judgement], items: Mapping[str, Item]) -> Examples:
    """Groups comparisons by the group of their query, in order of first appearance.

    Args:
        comparisons: N comparisons, each with a preference.
        items: The compared items by id.
    """
    groups: dict[str, list[int]] = {}
    for number, comparison in enumerate(comparisons):
        # Each answer to a pair outside of groups is an example of its own.
        name = f"{number}" if comparison.query.group is None else f"of {comparison.query.group}"
        groups.setdefault(name, []).append(number)
    n_comparisons = max(len(numbers) for numbers in groups.values())
    lefts, rights = (torch.zeros(len(groups), n_comparisons, dtype=torch.long) for _ in "lr")
    numbers, weight = torch.zeros_like(lefts), torch.zeros(lefts.shape)
    preference, margins = torch.full(lefts.shape, 0.5), torch.zeros(lefts.shape)
    found = list[dict[str, int]]()
    for row, chosen in enumerate(groups.values()):
        places: dict[str, int] = {}
        for column, number in enumerate(chosen):
            query = comparisons[number].query
            lefts[row, column] = places.setdefault(query.left, len(places))
            rights[row, column] = places.setdefault(query.right, len(places))
            said = comparisons[number].preference or 0.0
            preference[row, column] = said
            margins[row, column] = comparisons[number].margin * ((said > 0.5) - (said < 0.5))
        numbers[row, : len(chosen)] = torch.tensor(chosen)
        weight[row, : len(chosen)] = 1 / len(chosen)
        found.append(places)
    there = (
        torch.arange(max(map(len, found)))
        < torch.tensor([len(places) for places in found])[:, None]
    )
    wins = torch.zeros(there.shape)
    wins.scatter_add_(1, lefts, preference * (weight > 0))
    wins.scatter_add_(1, rights, (1 - preference) * (weight > 0))
    best = (wins == wins.amax(1, keepdim=True)) & there
    return Examples(
        items=[[items[name] for name in places] for places in found],
        there=there,
        lefts=lefts,
        rights=rights,
        preference=preference,
        margins=margins,
        weight=weight,
        numbers=numbers,
        shares=best / best.sum(1, keepdim=True),
    )
