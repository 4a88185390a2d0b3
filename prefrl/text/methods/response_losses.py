"""Losses on single responses that are good or bad, as pure functions of log-probabilities."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["kto_baseline", "kto_loss"]


def kto_baseline(mismatched_log_ratio: Tensor) -> Tensor:
    """``z = max(0, mean of log p / p_ref)`` of responses to others' prompts, without gradient.

    Ethayarajh et al. 2024 (arXiv 2402.01306, section 4.1) use it as an estimate of the KL to the
    reference: each response of a batch is put to the prompt of the next one. It may be far from the
    KL, as the responses are not samples of the policy; it serves as a point of comparison.

    Args:
        mismatched_log_ratio: Log-ratios of policy to reference, summed over tokens, shape (B,).

    Returns:
        A number, shape ().
    """
    return mismatched_log_ratio.detach().mean().clamp(min=0)


def kto_loss(
    log_ratio: Tensor,
    is_good: Tensor,
    *,
    baseline: Tensor | float,
    beta: float,
    good_weight: float = 1.0,
    bad_weight: float = 1.0,
) -> Tensor:
    """Kahneman-Tversky: single responses, good or bad; Ethayarajh et al. 2024 (arXiv 2402.01306).

    ``w (1 - sigmoid(beta (r - z)))`` for a good one, ``w (1 - sigmoid(beta (z - r)))`` for a bad
    one (equation 8).

    Args:
        log_ratio: ``r``, log p / p_ref of the responses, summed over tokens, shape (B,).
        is_good: Which ones are good, bool, shape (B,).
        baseline: ``z``, of ``kto_baseline``: not below 0 and without gradient.
        beta: Risk aversion.
        good_weight: ``w`` of the good ones.
        bad_weight: ``w`` of the bad ones.

    Returns:
        Shape (B,).
    """
    difference = beta * (log_ratio - baseline)
    good, bad = torch.sigmoid(-difference), torch.sigmoid(difference)  # 1 - sigmoid, accurately
    return torch.where(is_good, good_weight * good, bad_weight * bad)
