"""The preference model: from two scores to a probability, and from an answer to a loss.

Scores are one number per item and member. A score may be a sum of step rewards or a single number
for a whole text; nothing here knows which.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["best_of_k_loss", "bradley_terry_loss", "preference_probability"]


def preference_probability(left: Tensor, right: Tensor, *, noise: float = 0.0) -> Tensor:
    """P(left is better) under the Bradley-Terry model.

    ``(1 - noise) * sigmoid(left - right) + noise / 2``: Christiano et al. 2017 (arXiv 1706.03741),
    equation 1, where a share ``noise`` of the answers is uniformly random (section 2.2.3).

    Args:
        left: Scores of the left items, shape (M, B) or any other.
        right: Scores of the right items, the same shape.
        noise: Share of answers that are pure chance, in [0, 1).

    Returns:
        Probabilities in [noise / 2, 1 - noise / 2], the same shape.
    """
    return (1.0 - noise) * torch.sigmoid(left - right) + 0.5 * noise


def bradley_terry_loss(
    left: Tensor, right: Tensor, preference: Tensor, *, noise: float = 0.0
) -> Tensor:
    """Cross-entropy between the labeller's preference and the model's, one value per pair.

    Christiano et al. 2017, section 2.2.3. Not reduced: the caller weights and averages.

    Args:
        left: Scores of the left items, shape (M, B).
        right: Scores of the right items, shape (M, B).
        preference: P(left is better) as answered, in [0, 1], a tie is 0.5; shape (B,) or (M, B).
        noise: Share of answers that are pure chance, in [0, 1).

    Returns:
        Losses in nats, shape (M, B). With noise they stay finite whatever the scores.

    Raises:
        ValueError: If the shapes of left and right differ.
    """
    if left.shape != right.shape:
        raise ValueError(
            f"expected one shape for both sides, got {left.shape} and {right.shape}; "
            "score both items of each pair with the same members."
        )
    margin = left - right
    if noise == 0.0:
        # log sigmoid(-x) = log sigmoid(x) - x, and neither saturates.
        return (1.0 - preference) * margin - functional.logsigmoid(margin)
    probability = preference_probability(left, right, noise=noise)
    return -(preference * probability.log() + (1.0 - preference) * torch.log1p(-probability))


def best_of_k_loss(scores: Tensor, shares: Tensor, there: Tensor, *, noise: float = 0.0) -> Tensor:
    """Cross-entropy of the labeller's choice of the best of K items, one value per group.

    ``-log softmax(scores)[best]``: Ziegler et al. 2019 (arXiv 1909.08593), equation 1. Of two items
    it is the Bradley-Terry loss.

    Args:
        scores: Scores of the items, shape (M, G, K).
        shares: P(item is the best) according to the answers, shape (G, K); rows sum to 1.
        there: Whether the k-th item exists, as groups may have fewer than K; shape (G, K), bool.
        noise: Share of answers that are pure chance, in [0, 1).

    Returns:
        Losses in nats, shape (M, G).
    """
    logs = scores.masked_fill(~there, -torch.inf).log_softmax(2)
    if noise:
        logs = torch.log((1.0 - noise) * logs.exp() + noise / there.sum(1)[:, None])
    return -(shares * logs.masked_fill(~there, 0.0)).sum(2)
