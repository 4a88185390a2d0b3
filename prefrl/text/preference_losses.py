"""Losses of the DPO family, as pure functions of log-probabilities: one value per pair.

``margin`` is ``h = [log p(y_w|x) - log p_ref(y_w|x)] - [log p(y_l|x) - log p_ref(y_l|x)]``, of the
chosen response w and the rejected one l, with log-probabilities summed over their tokens.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from prefrl.errors import ConfigError

__all__ = [
    "PAIR_METHODS",
    "PairLoss",
    "PairLossConfig",
    "cdpo_loss",
    "dpo_loss",
    "hinge_loss",
    "ipo_loss",
    "kto_loss",
    "orpo_loss",
    "preference_margin",
    "robust_dpo_loss",
    "simpo_loss",
]


def preference_margin(
    chosen: Tensor, rejected: Tensor, reference_chosen: Tensor, reference_rejected: Tensor
) -> Tensor:
    """``h``: how much more the policy prefers the chosen response than the reference does.

    Args:
        chosen: The policy's log-probability of the chosen responses, summed, shape (B,).
        rejected: Of the rejected ones, shape (B,).
        reference_chosen: The reference's, shape (B,).
        reference_rejected: The reference's, shape (B,).

    Returns:
        Shape (B,), in nats.
    """
    return (chosen - reference_chosen) - (rejected - reference_rejected)


def dpo_loss(margin: Tensor, *, beta: float) -> Tensor:
    """``-log sigmoid(beta h)``: Rafailov et al. 2023 (arXiv 2305.18290), equation 7."""
    return -functional.logsigmoid(beta * margin)


def cdpo_loss(margin: Tensor, *, beta: float, flip_rate: float) -> Tensor:
    """DPO where a share of the answers is taken to be the wrong way round (Mitchell 2023).

    ``-(1 - e) log sigmoid(beta h) - e log sigmoid(-beta h)``: least where sigmoid(beta h) = 1 - e.
    """
    right, wrong = functional.logsigmoid(beta * margin), functional.logsigmoid(-beta * margin)
    return -(1 - flip_rate) * right - flip_rate * wrong


def robust_dpo_loss(margin: Tensor, *, beta: float, flip_rate: float) -> Tensor:
    """An unbiased estimate of DPO's loss under flips: Chowdhury et al. 2024 (arXiv 2403.00409).

    ``[-(1 - e) log sigmoid(beta h) + e log sigmoid(-beta h)] / (1 - 2e)``; it may be negative.
    """
    right, wrong = functional.logsigmoid(beta * margin), functional.logsigmoid(-beta * margin)
    return (-(1 - flip_rate) * right + flip_rate * wrong) / (1 - 2 * flip_rate)


def ipo_loss(margin: Tensor, *, beta: float) -> Tensor:
    """``(h - 1 / (2 beta))^2``: Azar et al. 2023 (arXiv 2310.12036), equation 17, tau = beta.

    On sums over tokens, as in Rafailov's code. TRL takes means over tokens: the same beta is
    another loss there.
    """
    return (margin - 1 / (2 * beta)).square()


def hinge_loss(margin: Tensor, *, beta: float) -> Tensor:
    """``max(0, 1 - beta h)``: SLiC, Zhao et al. 2023 (arXiv 2305.10425), as Liu et al. write it.

    They normalise by a reference (2023, arXiv 2309.06657).
    """
    return (1 - beta * margin).clamp(min=0)


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
        log_ratio: ``r``, log p / p_ref of the responses, shape (B,).
        is_good: Which ones are good, bool, shape (B,).
        baseline: ``z``, the mean KL, not below 0 and without gradient.
        beta: Risk aversion.
        good_weight: ``w`` of the good ones.
        bad_weight: ``w`` of the bad ones.
    """
    difference = beta * (log_ratio - baseline)
    good, bad = 1 - torch.sigmoid(difference), 1 - torch.sigmoid(-difference)
    return torch.where(is_good, good_weight * good, bad_weight * bad)


def orpo_loss(chosen: Tensor, rejected: Tensor, *, weight: float) -> Tensor:
    """``-m_w - weight log sigmoid(o_w - o_l)``, without a reference: Hong et al. 2024.

    arXiv 2403.07691, equation 6. ``m`` is the mean log-probability of a response's tokens, shape
    (B,), below 0, and ``o = m - log(1 - exp(m))`` its log-odds.
    """
    odds = log_odds(chosen) - log_odds(rejected)
    return -chosen - weight * functional.logsigmoid(odds)


def log_odds(mean_logprob: Tensor) -> Tensor:
    """``m - log(1 - exp(m))`` of a log-probability; one that is 0 by rounding is taken a bit lower.

    There the odds are infinite, and the gradient would be NaN.
    """
    mean_logprob = mean_logprob.clamp(max=-1e-6)
    return mean_logprob - torch.log(-torch.expm1(mean_logprob))


def simpo_loss(chosen: Tensor, rejected: Tensor, *, beta: float, target: float) -> Tensor:
    """``-log sigmoid(beta (m_w - m_l) - target)``: Meng et al. 2024 (arXiv 2405.14734), equation 6.

    Without a reference; ``m`` is the mean log-probability of a response's tokens, shape (B,).
    """
    return -functional.logsigmoid(beta * (chosen - rejected) - target)


@dataclass(frozen=True)
class PairLossConfig:
    """The numbers of the pair losses; each takes those that it knows."""

    beta: float = 0.1
    """Weight of the reference."""
    flip_rate: float = 0.1
    """Share of answers taken to be the wrong way round (cdpo, robust-dpo)."""
    orpo_weight: float = 0.1
    """Weight of the odds ratio (orpo)."""
    simpo_target: float = 1.0
    """Margin that simpo asks for."""

    def __post_init__(self) -> None:
        if not self.beta > 0:
            raise ConfigError(f"beta must be positive, got {self.beta}.")
        if not 0 <= self.flip_rate < 0.5:
            raise ConfigError(f"flip_rate is a share in [0, 0.5), got {self.flip_rate}.")


@dataclass(frozen=True)
class PairLoss:
    """How a method makes a loss of pairs."""

    function: Callable[[Tensor, Tensor, PairLossConfig], Tensor]
    """Of two tensors of shape (B,) and the numbers. With a reference: log-ratios of the chosen and
    the rejected responses, summed over tokens. Without: their mean log-probabilities."""
    needs_reference: bool
    """Whether it is a function of log-ratios."""


PAIR_METHODS: dict[str, PairLoss] = {
    "dpo": PairLoss(lambda w, r, c: dpo_loss(w - r, beta=c.beta), True),
    "cdpo": PairLoss(lambda w, r, c: cdpo_loss(w - r, beta=c.beta, flip_rate=c.flip_rate), True),
    "robust-dpo": PairLoss(
        lambda w, r, c: robust_dpo_loss(w - r, beta=c.beta, flip_rate=c.flip_rate), True
    ),
    "ipo": PairLoss(lambda w, r, c: ipo_loss(w - r, beta=c.beta), True),
    "hinge": PairLoss(lambda w, r, c: hinge_loss(w - r, beta=c.beta), True),
    "orpo": PairLoss(lambda w, r, c: orpo_loss(w, r, weight=c.orpo_weight), False),
    "simpo": PairLoss(lambda w, r, c: simpo_loss(w, r, beta=c.beta, target=c.simpo_target), False),
}
"""By name: what fine-tunes a policy on pairs."""
