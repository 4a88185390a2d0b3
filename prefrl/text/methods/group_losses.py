"""GRPO and RLOO as pure functions, which compare a response with others to its prompt.

Neither uses values. RLOO is Ahmadian et al. 2024 (arXiv 2402.14740), after Kool et al. 2019; GRPO
is Shao et al. 2024 (DeepSeekMath, arXiv 2402.03300), with later corrections as options: Dr. GRPO
(Liu et al. 2025, arXiv 2503.20783) and DAPO (Yu et al. 2025, arXiv 2503.14476). Options have the
names and effects that they have in TRL 1.16.

Shapes: B responses of up to R tokens, G to each prompt, one prompt after the other. ``mask`` marks
the positions of tokens that are learned.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

__all__ = [
    "LossType",
    "ScaleRewards",
    "clipped_surrogate",
    "grpo_advantages",
    "kl_estimate",
    "rloo_advantages",
    "row_weights",
]

LossType = Literal["grpo", "bnpo", "dr_grpo", "dapo"]
ScaleRewards = Literal["group", "batch", "none"]

_EPS = 1e-4  # TRL's


def rloo_advantages(scores: Tensor, n_each: int, *, normalize: bool = False) -> Tensor:
    """Each score minus the mean of the others to the same prompt: leave one out.

    Ahmadian et al. 2024, section 3: ``A_i = R_i - 1 / (G - 1) sum_{j != i} R_j``.

    Args:
        scores: Scores, including the KL penalty, shape (B,).
        n_each: G, at least 2.
        normalize: Whether to scale advantages to mean 0 and variance 1 over the batch.

    Returns:
        Shape (B,).
    """
    groups = scores.view(-1, n_each)
    others = (groups.sum(1, keepdim=True) - groups) / (n_each - 1)
    advantages = (groups - others).flatten()
    if normalize:
        advantages = (advantages - advantages.mean()) / (advantages.std() + _EPS)
    return advantages


def grpo_advantages(scores: Tensor, n_each: int, *, scale: ScaleRewards = "group") -> Tensor:
    """Each score minus the mean of its group, itself included, over the standard deviation.

    Shao et al. 2024, section 4.1.2. If all scores of a group are equal, its advantages are 0.

    Args:
        scores: Shape (B,).
        n_each: G, at least 2.
        scale: Divide by the standard deviation of the group, which gives more weight to groups with
            nearly equal scores, or of the batch; or, as Dr. GRPO does, by nothing.

    Returns:
        Shape (B,).
    """
    groups = scores.view(-1, n_each)
    advantages = groups - groups.mean(1, keepdim=True)
    if scale == "group":
        advantages = advantages / (groups.std(1, keepdim=True) + _EPS)
    elif scale == "batch":
        advantages = advantages / (scores.std() + _EPS)
    return advantages.flatten()


def kl_estimate(logprobs: Tensor, reference: Tensor) -> Tensor:
    """KL to the reference at each token, never below 0 (Schulman 2020, "k3").

    ``p_ref / p - log(p_ref / p) - 1``: Shao et al. 2024, equation 4. Of any shape.
    """
    difference = reference - logprobs
    return difference.exp() - difference - 1


def clipped_surrogate(
    log_ratio: Tensor, advantages: Tensor, *, low: float, high: float
) -> tuple[Tensor, Tensor]:
    """PPO's clipped surrogate, to be minimised, and where it was clipped.

    Args:
        log_ratio: Log-ratio of the policy to the sampling policy: of tokens (B, R), or of
            responses (B,).
        advantages: Advantages, of a shape that broadcasts with it.
        low: The ratio is clipped below 1 - low.
        high: The ratio is clipped above 1 + high; in DAPO, high is greater than low.

    Returns:
        Losses, and 1 where clipping stops the gradient; both of the shape of the log-ratio.
    """
    ratio = log_ratio.exp()
    losses = -torch.minimum(ratio * advantages, ratio.clamp(1 - low, 1 + high) * advantages)
    held = ((ratio < 1 - low) & (advantages < 0)) | ((ratio > 1 + high) & (advantages > 0))
    return losses, held.float()


def row_weights(mask: Tensor, *, loss_type: LossType, n_tokens_each: float, longest: int) -> Tensor:
    """The weight of a token of each response in the loss of a gradient step, shape (B,).

    Args:
        mask: Mask of the responses of the step, shape (B, R).
        loss_type: ``grpo`` averages over the tokens of a response, then over responses: a token of
            a long response weighs less. ``bnpo`` averages over all tokens of the step. So does
            ``dapo``, but with the mean length of the whole batch's responses: the same if a batch
            is one step. ``dr_grpo`` divides by a constant, the greatest length of a response.
        n_tokens_each: Mean number of tokens of the batch's responses.
        longest: Most tokens of a response.
    """
    lengths, n = mask.sum(1), len(mask)
    if loss_type == "grpo":
        return 1 / (lengths.clamp(min=1) * n)
    if loss_type == "bnpo":
        return (1 / lengths.sum().clamp(min=1)).expand(n)
    each = longest if loss_type == "dr_grpo" else max(n_tokens_each, 1 / n)
    return torch.full_like(lengths, 1 / (each * n))
