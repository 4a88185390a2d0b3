"""Losses on pairs as pure functions of log-probabilities, and the table of all methods on answers.

Losses on rankings are in ``ranking_losses``, those on single responses in ``response_losses``. Here
``margin`` is ``h = [log p(y_w|x) - log p_ref(y_w|x)] - [log p(y_l|x) - log p_ref(y_l|x)]``, of the
chosen response w and the rejected one l, with log-probabilities summed over their tokens.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from prefrl.errors import ConfigError
from prefrl.text.methods.examples import Takes
from prefrl.text.methods.ranking_losses import pro_loss, rrhf_loss
from prefrl.text.methods.response_losses import kto_loss

__all__ = [
    "PAIR_METHODS",
    "TUNING_METHODS",
    "PairLossConfig",
    "TuningMethod",
    "cdpo_loss",
    "dpo_loss",
    "hinge_loss",
    "ipo_loss",
    "kto_loss",
    "orpo_loss",
    "pro_loss",
    "robust_dpo_loss",
    "rrhf_loss",
    "simpo_loss",
]

_BETA = 0.1
# Meng et al. 2024: at 0.1 a target of 1 would be ten nats per token.
_SIMPO_BETA = 2.0


def dpo_loss(
    margin: Tensor,
    *,
    beta: float,
    preference: Tensor | float = 1.0,
    offset: Tensor | float = 0.0,
) -> Tensor:
    """``-log sigmoid(beta h)``: Rafailov et al. 2023 (arXiv 2305.18290), equation 7.

    If the strength of preferences is known, ``-p log sigmoid(beta h - m) - (1 - p) log sigmoid(m -
    beta h)``: with p as in cDPO, but one for each pair (Mitchell 2023), and the offset m, by which
    the reward of the better one should be higher (Amini et al. 2024, arXiv 2402.10571).

    Args:
        margin: h, shape (B,).
        beta: Weight of the reference.
        preference: P(chosen is better), shape (B,) or one number.
        offset: Least margin of the better one in units of rewards, shape (B,) or one number.
    """
    scaled = beta * margin - offset
    right, wrong = functional.logsigmoid(scaled), functional.logsigmoid(-scaled)
    return -preference * right - (1 - preference) * wrong


def cdpo_loss(margin: Tensor, *, beta: float, flip_rate: float) -> Tensor:
    """DPO that assumes a share of the answers to be flipped (Mitchell 2023).

    ``-(1 - e) log sigmoid(beta h) - e log sigmoid(-beta h)``, minimal at sigmoid(beta h) = 1 - e.
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

    It uses sums over tokens, as Rafailov's code does. TRL uses means over tokens: the same beta is
    another loss there.
    """
    return (margin - 1 / (2 * beta)).square()


def hinge_loss(margin: Tensor, *, beta: float) -> Tensor:
    """``max(0, 1 - beta h)``: SLiC, Zhao et al. 2023 (arXiv 2305.10425), as Liu et al. write it.

    Liu et al. normalise by a reference (2023, arXiv 2309.06657).
    """
    return (1 - beta * margin).clamp(min=0)


def orpo_loss(chosen: Tensor, rejected: Tensor, *, weight: float) -> Tensor:
    """``-m_w - weight log sigmoid(o_w - o_l)``, without a reference: Hong et al. 2024.

    arXiv 2403.07691, equation 6. ``m`` is the mean log-probability of a response's tokens, shape
    (B,), below 0, and ``o = m - log(1 - exp(m))`` its log-odds.
    """
    odds = log_odds(chosen) - log_odds(rejected)
    return -chosen - weight * functional.logsigmoid(odds)


def log_odds(mean_logprob: Tensor) -> Tensor:
    """``m - log(1 - exp(m))`` of a log-probability; one that rounds to 0 is lowered slightly.

    At 0 the odds are infinite, and the gradient would be NaN.
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
    """The parameters of the losses on answers; each uses its own."""

    beta: float | None = None
    """Weight of the reference (dpo, cdpo, robust-dpo, ipo, hinge, kto), or of the mean
    log-probabilities (simpo). None: 0.1, or 2 for simpo."""
    flip_rate: float = 0.1
    """Share of answers assumed to be wrong (cdpo, robust-dpo)."""
    orpo_weight: float = 0.1
    """Weight of the odds ratio (orpo)."""
    simpo_target: float = 1.0
    """Target margin of simpo, in beta times the mean log-probabilities."""
    kto_good_weight: float = 1.0
    """Weight of good responses (kto, where it is called lambda_D)."""
    kto_bad_weight: float = 1.0
    """Weight of bad responses (kto, where it is called lambda_U)."""
    rrhf_weight: float = 1.0
    """Weight of the ranking loss relative to the log-loss of the best response (rrhf): 1 in the
    paper, 100 in its authors' code, whose log-loss is a mean over tokens."""
    pro_weight: float = 0.05
    """Weight of the log-loss of the best of K responses (pro), times (K - 1)^2."""

    def __post_init__(self) -> None:
        if self.beta is not None and not 0 < self.beta < math.inf:
            raise ConfigError(f"beta must be positive and finite, got {self.beta}.")
        if not 0 <= self.flip_rate < 0.5:
            raise ConfigError(f"flip_rate is a share in [0, 0.5), got {self.flip_rate}.")
        if not math.isfinite(self.simpo_target):
            raise ConfigError(f"simpo_target must be finite, got {self.simpo_target}.")
        weights = ("orpo_weight", "kto_good_weight", "kto_bad_weight", "rrhf_weight", "pro_weight")
        for name in weights:
            if not 0 <= getattr(self, name) < math.inf:
                raise ConfigError(
                    f"{name} must be finite and not negative, got {getattr(self, name)}."
                )

    def beta_or(self, usual: float) -> float:
        """``beta``, or a method's default if it is None."""
        return usual if self.beta is None else self.beta


@dataclass(frozen=True)
class TuningMethod:
    """A method of fine-tuning on answers, with its loss."""

    takes: Takes
    """What one example is. Other answers are converted: a pair becomes a ranking of two, or a good
    and a bad response; a ranking, all its pairs; a good and a bad one to one prompt, a pair."""
    needs_reference: bool
    """Whether the loss is a function of log-ratios of policy to reference."""
    paper: str
    """Its source."""
    function: Callable[..., Tensor]
    """The loss of each example, shape (B,); its last argument is a ``PairLossConfig``.

    For pairs: two tensors of shape (B,), for chosen and rejected responses: with a reference,
    log-ratios summed over tokens; without, mean log-probabilities. For rankings: log-probabilities
    summed over tokens, numbers of tokens, and ranks, each of shape (B, K). For single responses:
    log-ratios and which are good, both of shape (B,), and the baseline."""


TUNING_METHODS: dict[str, TuningMethod] = {
    "dpo": TuningMethod(
        "pairs", True, "Rafailov et al. 2023, arXiv 2305.18290",
        lambda w, r, c: dpo_loss(w - r, beta=c.beta_or(_BETA)),
    ),
    "cdpo": TuningMethod(
        "pairs", True, "Mitchell 2023, a note on DPO with noisy preferences",
        lambda w, r, c: cdpo_loss(w - r, beta=c.beta_or(_BETA), flip_rate=c.flip_rate),
    ),
    "robust-dpo": TuningMethod(
        "pairs", True, "Chowdhury et al. 2024, arXiv 2403.00409",
        lambda w, r, c: robust_dpo_loss(w - r, beta=c.beta_or(_BETA), flip_rate=c.flip_rate),
    ),
    "ipo": TuningMethod(
        "pairs", True, "Azar et al. 2023, arXiv 2310.12036",
        lambda w, r, c: ipo_loss(w - r, beta=c.beta_or(_BETA)),
    ),
    "hinge": TuningMethod(
        "pairs", True, "Zhao et al. 2023, arXiv 2305.10425; Liu et al. 2023, 2309.06657",
        lambda w, r, c: hinge_loss(w - r, beta=c.beta_or(_BETA)),
    ),
    "orpo": TuningMethod(
        "pairs", False, "Hong et al. 2024, arXiv 2403.07691",
        lambda w, r, c: orpo_loss(w, r, weight=c.orpo_weight),
    ),
    "simpo": TuningMethod(
        "pairs", False, "Meng et al. 2024, arXiv 2405.14734",
        lambda w, r, c: simpo_loss(w, r, beta=c.beta_or(_SIMPO_BETA), target=c.simpo_target),
    ),
    "rrhf": TuningMethod(
        "rankings", False, "Yuan et al. 2023, arXiv 2304.05302",
        lambda logprobs, lengths, ranks, c: rrhf_loss(
            logprobs, lengths, ranks, weight=c.rrhf_weight
        ),
    ),
    "pro": TuningMethod(
        "rankings", False, "Song et al. 2023, arXiv 2306.17492",
        lambda logprobs, lengths, ranks, c: pro_loss(logprobs, lengths, ranks, weight=c.pro_weight),
    ),
    "kto": TuningMethod(
        "single responses", True, "Ethayarajh et al. 2024, arXiv 2402.01306",
        lambda log_ratio, is_good, baseline, c: kto_loss(
            log_ratio, is_good, baseline=baseline, beta=c.beta_or(_BETA),
            good_weight=c.kto_good_weight, bad_weight=c.kto_bad_weight,
        ),
    ),
}  # fmt: skip
"""Methods of fine-tuning a policy on answers, by name."""

PAIR_METHODS: dict[str, TuningMethod] = {
    name: method for name, method in TUNING_METHODS.items() if method.takes == "pairs"
}
"""The methods whose examples are pairs."""
