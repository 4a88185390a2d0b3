"""PPO for responses as pure functions: rewards per token, advantages, losses, the KL coefficient.

Shapes: B responses of up to R tokens. ``mask`` says which positions hold a token. The checklist is
Huang et al. 2023, "The N implementation details of RLHF with PPO" (G, R, P), on Ziegler et al. 2019
(arXiv 1909.08593).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = [
    "PpoLosses",
    "adapted_kl_coef",
    "generalized_advantages",
    "masked_mean",
    "ppo_losses",
    "token_rewards",
    "whiten",
]

_EPS = 1e-8


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean over the positions that hold a token."""
    return (values * mask).sum() / mask.sum()


def whiten(values: Tensor, mask: Tensor, *, shift_mean: bool = True) -> Tensor:
    """Scales values to unit population variance (detail P9).

    Args:
        values: Shape (B, R).
        mask: The same shape, 1 where there is a token.
        shift_mean: Whether to shift the mean to 0; otherwise it stays the same.

    Returns:
        The same shape; 0 where there is no token.
    """
    mean = masked_mean(values, mask)
    variance = masked_mean((values - mean).square(), mask)
    whitened = (values - mean) * torch.rsqrt(variance + _EPS)
    return (whitened if shift_mean else whitened + mean) * mask


def token_rewards(
    scores: Tensor, logprobs: Tensor, reference: Tensor, mask: Tensor, *, kl_coef: float
) -> Tensor:
    """The KL penalty at each token, and the score at the last one (detail P8).

    ``r_t = -kl_coef * (log p - log p_ref)``, plus the score where the response ends.

    Args:
        scores: Scores of the responses, shape (B,).
        logprobs: Log-probabilities of the tokens under the policy that sampled them, shape (B, R).
        reference: The same under the reference, shape (B, R).
        mask: Shape (B, R); each row holds at least one token.
        kl_coef: Weight of the penalty.

    Returns:
        Shape (B, R).
    """
    rewards = -kl_coef * (logprobs - reference) * mask
    last = mask.long().sum(1) - 1  # (B,)
    return rewards.scatter_add(1, last[:, None], scores[:, None].to(rewards.dtype))


def generalized_advantages(
    rewards: Tensor, values: Tensor, mask: Tensor, *, gamma: float = 1.0, gae_lambda: float = 0.95
) -> tuple[Tensor, Tensor]:
    """Generalised advantage estimation, with value 0 after the last token (P6, C6).

    Args:
        rewards: Shape (B, R).
        values: Values of the states before each token, shape (B, R).
        mask: Shape (B, R).
        gamma: Discount.
        gae_lambda: Lambda of Schulman et al. 2016 (arXiv 1506.02438), equation 16.

    Returns:
        Advantages and returns, both (B, R), 0 where there is no token.
    """
    values = values * mask
    following = torch.cat([values[:, 1:], torch.zeros_like(values[:, :1])], dim=1)
    deltas = (rewards + gamma * following - values) * mask
    # A_t = sum_k (gamma lambda)^k delta_{t+k}: one product with a triangle instead of a loop.
    steps = torch.arange(rewards.shape[1], device=rewards.device)
    ahead = steps[:, None] - steps[None]  # (from, to)
    weights = torch.where(ahead >= 0, (gamma * gae_lambda) ** ahead.clamp(min=0).double(), 0.0)
    advantages = (deltas.double() @ weights).to(rewards.dtype) * mask
    return advantages, advantages + values


@dataclass(frozen=True)
class PpoLosses:
    """Losses and statistics of a minibatch."""

    policy: Tensor
    """Clipped surrogate, to be minimised."""
    value: Tensor
    """Clipped value loss, with its factor one half."""
    entropy: Tensor
    """Mean entropy of the policy; logged, no bonus (C3)."""
    approx_kl: Tensor
    """Half the mean squared difference of log-probabilities (C3)."""
    clip_fraction: Tensor
    """Share of tokens whose ratio was clipped."""


def ppo_losses(
    logprobs: Tensor,
    values: Tensor,
    entropy: Tensor,
    *,
    old_logprobs: Tensor,
    old_values: Tensor,
    advantages: Tensor,
    returns: Tensor,
    mask: Tensor,
    clip_range: float,
    clip_range_value: float,
) -> PpoLosses:
    """PPO's losses over the tokens of a minibatch, all of shape (B, R) (P10, C3).

    Schulman et al. 2017 (arXiv 1707.06347), equation 7; values are clipped to within
    ``clip_range_value`` of their old estimates.
    """
    difference = logprobs - old_logprobs
    ratio = difference.exp()
    clipped = ratio.clamp(1 - clip_range, 1 + clip_range)
    surrogate = torch.maximum(-advantages * ratio, -advantages * clipped)
    near = old_values + (values - old_values).clamp(-clip_range_value, clip_range_value)
    errors = torch.maximum((values - returns).square(), (near - returns).square())
    return PpoLosses(
        policy=masked_mean(surrogate, mask),
        value=0.5 * masked_mean(errors, mask),
        entropy=masked_mean(entropy, mask).detach(),
        approx_kl=0.5 * masked_mean(difference.square(), mask).detach(),
        clip_fraction=masked_mean((ratio != clipped).float(), mask).detach(),
    )


def adapted_kl_coef(
    kl_coef: float, kl: float, *, target: float, horizon: float, n_responses: int
) -> float:
    """The coefficient for the next batch: higher if the KL is above its target (P11).

    Ziegler et al. 2019, section 2.2, with its clip at 0.2.

    Args:
        kl_coef: KL coefficient of this batch.
        kl: Mean over responses of the summed difference of log-probabilities, in nats.
        target: Target of the KL, in nats.
        horizon: Responses over which the coefficient may change by the factor e.
        n_responses: Responses in the batch.
    """
    error = min(max(kl / target - 1, -0.2), 0.2)
    return kl_coef * (1 + error * n_responses / horizon)
