"""Losses on rankings of K responses, as pure functions of log-probabilities: one value per ranking.

Rankings of a batch may differ in K: a missing response has the rank NaN and one token, and has no
effect. Neither loss uses a reference.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = ["pro_loss", "rrhf_loss"]


def rrhf_loss(logprobs: Tensor, lengths: Tensor, ranks: Tensor, *, weight: float = 1.0) -> Tensor:
    """RRHF, a hinge on the order and a log-loss of the best: Yuan et al. 2023 (arXiv 2304.05302).

    ``p_i`` is the log-probability of a response divided by its length (equation 1). The loss is
    ``weight * sum over r_i < r_j of max(0, p_i - p_j)`` (equation 2, over pairs in the wrong order)
    plus the log-loss of the best response, summed over its tokens. Ties are not pairs; of several
    best responses the first is learned.

    Args:
        logprobs: The policy's log-probabilities of the responses, summed, shape (B, K).
        lengths: Their numbers of tokens, shape (B, K).
        ranks: Their ranks; the lowest is the best, shape (B, K).
        weight: Weight of the hinge: 1 in the paper, 100 in its authors' code.

    Returns:
        Shape (B,).
    """
    p = logprobs / lengths
    excess = (p[:, :, None] - p[:, None, :]).clamp(min=0)  # (B, K, K): of i over j
    worse = ranks[:, :, None] > ranks[:, None, :]  # i is worse than j
    hinge = torch.where(worse, excess, 0).sum((1, 2))
    return weight * hinge - _of_the_best(logprobs, ranks)


def pro_loss(logprobs: Tensor, lengths: Tensor, ranks: Tensor, *, weight: float = 0.05) -> Tensor:
    """PRO, each response against all that are worse: Song et al. 2023 (arXiv 2306.17492).

    ``L_PRO + beta L_SFT``. With ``p`` as in ``rrhf_loss``, the first is the sum over k, from the
    best to the last but one, of ``-log(exp(p_k) / sum over i from k to the last of exp(p_i))``, the
    second the log-loss of the best response, summed over its tokens; beta is
    ``weight * (K - 1)^2``, as the paper sets it. Tied responses are not worse than each other: each
    is compared with those below both. The paper's temperatures are differences of scores; a ranking
    has none, so here they are 1.

    Args:
        logprobs: The policy's log-probabilities of the responses, summed, shape (B, K).
        lengths: Their numbers of tokens, shape (B, K).
        ranks: Their ranks; the lowest is the best, shape (B, K).
        weight: Weight of the log-loss of the best.

    Returns:
        Shape (B,).
    """
    p = logprobs / lengths
    worse = ranks[:, None, :] > ranks[:, :, None]  # (B, K, K): i, the last axis, is worse than k
    itself = torch.eye(ranks.shape[1], dtype=torch.bool, device=ranks.device)
    rivals = p[:, None, :].masked_fill(~(worse | itself), -math.inf)
    contrast = (rivals.logsumexp(2) - p).sum(1)  # 0 where no response is worse
    n_responses = (~ranks.isnan()).sum(1)
    return contrast - weight * (n_responses - 1) ** 2 * _of_the_best(logprobs, ranks)


def _of_the_best(logprobs: Tensor, ranks: Tensor) -> Tensor:
    """The log-probability of the first of the best responses, shape (B,)."""
    best = ranks.nan_to_num(nan=math.inf).argmin(1)
    return logprobs.gather(1, best[:, None])[:, 0]
