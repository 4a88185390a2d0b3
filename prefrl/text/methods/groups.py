"""GRPO and RLOO: PPO without values, from several responses to each prompt.

Sampler, reward, reference and logged KL are those of PPO.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from prefrl.errors import ConfigError
from prefrl.runtime.roles.parallel import ALONE, Workers
from prefrl.text.methods.adam import descend, make_adam
from prefrl.text.methods.advantages import masked_mean
from prefrl.text.methods.group_losses import (
    LossType,
    ScaleRewards,
    clipped_surrogate,
    grpo_advantages,
    kl_estimate,
    rloo_advantages,
    row_weights,
)
from prefrl.text.methods.rollout import Rollout, roll_out
from prefrl.text.nets.policy import Policy
from prefrl.text.responses import Response

__all__ = ["GroupConfig", "Groups", "GrpoConfig", "RlooConfig"]


@dataclass(frozen=True)
class GroupConfig:
    """Settings that GRPO and RLOO share."""

    learning_rate: float = 1e-5
    """Initial learning rate of Adam."""
    linear_decay: bool = True
    """Let the learning rate fall to zero over the training."""
    kl_coef: float = 0.05
    """Weight of the KL to the reference; beta in TRL."""
    clip_range: float = 0.2
    """How far the ratio may fall below 1, and rise above it; epsilon in TRL."""
    clip_range_high: float | None = None
    """How far the ratio may rise above 1, if different: 0.28 in DAPO."""
    n_epochs: int = 1
    """Passes over each batch; num_iterations in TRL."""
    n_minibatches: int = 1
    """Gradient steps of a pass."""
    microbatch: int = 16
    """Responses in one forward and backward pass; gradients are accumulated."""
    max_grad_norm: float | None = 1.0
    """Norm at which gradients are clipped; None for no clipping."""
    adam_eps: float = 1e-8
    """Epsilon of Adam."""

    def __post_init__(self) -> None:
        for name in ("n_epochs", "n_minibatches", "microbatch"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, got {getattr(self, name)}.")
        for name in ("learning_rate", "adam_eps"):
            if not 0 < getattr(self, name) < math.inf:
                raise ConfigError(f"{name} must be positive and finite, got {getattr(self, name)}.")
        if not 0 <= self.kl_coef < math.inf:
            raise ConfigError(f"kl_coef must be finite and not negative, got {self.kl_coef}.")
        for name in ("clip_range", "clip_range_high", "max_grad_norm"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ConfigError(f"{name} must be positive, got {value}.")

    @property
    def clip_high(self) -> float:
        """How far the ratio may rise above 1."""
        return self.clip_range if self.clip_range_high is None else self.clip_range_high


@dataclass(frozen=True)
class GrpoConfig(GroupConfig):
    """GRPO: the KL to the reference is part of the loss, at each token."""

    kl_coef: float = 0.04
    """Weight of the KL at each token in the loss; beta in TRL, whose default is 0."""
    loss_type: LossType = "dapo"
    """What the loss is a mean over. grpo, the paper's: the tokens of each response, then the
    responses, which favours long bad responses. dapo: all tokens of the batch. bnpo: the tokens of
    a gradient step. dr_grpo: a sum divided by the greatest length of a response."""
    scale_rewards: ScaleRewards = "group"
    """Divide advantages by the standard deviation of the scores of one prompt (group) or of the
    batch. none, as in Dr. GRPO: prompts whose responses score nearly the same then count for
    little."""
    mask_truncated_completions: bool = False
    """Learn nothing from responses that did not end (DAPO); they still count in the mean of their
    prompt."""
    use_bias_correction_kl: bool = True
    """Weight the KL at a token by the ratio, so that its gradient is that of the true KL
    (DeepSeek-V3.2, arXiv 2512.02556), unlike the paper's estimate."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, known in (
            ("loss_type", ("grpo", "bnpo", "dr_grpo", "dapo")),
            ("scale_rewards", ("group", "batch", "none")),
        ):
            if getattr(self, name) not in known:
                raise ConfigError(
                    f"expected {name} to be one of {', '.join(known)}, got {getattr(self, name)!r}."
                )


@dataclass(frozen=True)
class RlooConfig(GroupConfig):
    """RLOO: the KL to the reference is part of the score, once for a response."""

    normalize_advantages: bool = False
    """Scale advantages to mean 0 and variance 1 over the batch."""


class Groups:
    """Improves a policy by GRPO or RLOO, depending on the type of its config.

    Args:
        policy: Trained in place.
        config: Settings.
        n_each: Responses to each prompt.
        longest: Most tokens of a response.
        n_updates: Batches in the whole training; the learning rate falls over those that are not
            skipped.
        workers: Workers that share each batch; each calls ``improve`` with the same arguments.
    """

    def __init__(
        self,
        policy: Policy,
        *,
        config: GrpoConfig | RlooConfig,
        n_each: int,
        longest: int,
        n_updates: int,
        workers: Workers = ALONE,
    ) -> None:
        self.policy = policy
        self.n_updates = 0
        """Batches so far."""
        self._config = config
        self._n_each = n_each
        self._longest = longest
        self._total = n_updates
        self._workers = workers
        self._adam = make_adam(policy.trained, config.learning_rate, eps=config.adam_eps)

    def improve(
        self, responses: Sequence[Response], scores: Tensor, generator: torch.Generator
    ) -> dict[str, float]:
        """Trains on one batch: advantages within each prompt, then passes of gradient steps.

        Args:
            responses: B responses that the policy has just sampled, equally many to each prompt,
                prompt by prompt.
            scores: Their scores, shape (B,).
            generator: Generator of the order of responses.

        Returns:
            Means over the batch, by name.

        Raises:
            NonFiniteError: If the gradient is not finite; the policy is then as it was before that
                step.
        """
        config, n = self._config, len(responses)
        rollout = roll_out(self.policy, responses, self._workers)
        learned = self._learned(responses, rollout.batch.mask)
        advantages = self._advantages(scores.to(learned.device), rollout)
        row = {
            "kl": rollout.kl,
            "kl_coef": config.kl_coef,
            "entropy": float(masked_mean(rollout.entropy, rollout.batch.mask)),
        }
        share = max(0.0, 1 - self.n_updates / self._total) if config.linear_decay else 1.0
        for group in self._adam.param_groups:
            group["lr"] = config.learning_rate * share
        sums: dict[str, float] = {}
        n_steps = 0
        for _ in range(config.n_epochs):
            order = torch.randperm(n, generator=generator)
            for chosen in torch.split(order, -(-n // config.n_minibatches)):
                n_steps += 1
                for name, value in self._step(rollout, learned, advantages, chosen).items():
                    sums[name] = sums.get(name, 0.0) + value
        self.n_updates += 1
        return row | {name: value / n_steps for name, value in sums.items()}

    def skip(self) -> None:
        """Skips a batch from which nothing can be learned yet."""
        self._total -= 1

    def _learned(self, responses: Sequence[Response], mask: Tensor) -> Tensor:
        """The mask of the tokens to learn, shape (B, R): without truncated responses if so set."""
        config = self._config
        if not (isinstance(config, GrpoConfig) and config.mask_truncated_completions):
            return mask
        ends = self.policy.language.end_tokens
        ended = [bool(r.tokens) and r.tokens[-1] in ends for r in responses]
        return mask * torch.tensor(ended, device=mask.device)[:, None]

    def _advantages(self, scores: Tensor, rollout: Rollout) -> Tensor:
        """The advantages of the responses, shape (B,)."""
        config = self._config
        if isinstance(config, GrpoConfig):
            return grpo_advantages(scores, self._n_each, scale=config.scale_rewards)
        kl = ((rollout.logprobs - rollout.reference) * rollout.batch.mask).sum(1)
        return rloo_advantages(
            scores - config.kl_coef * kl, self._n_each, normalize=config.normalize_advantages
        )

    def _step(
        self, rollout: Rollout, learned: Tensor, advantages: Tensor, chosen: Tensor
    ) -> dict[str, float]:
        """Takes a gradient step on a minibatch, a microbatch at a time."""
        config, chosen = self._config, chosen.to(self.policy.device)
        self._adam.zero_grad(set_to_none=True)
        sums: dict[str, float] = {}
        weights = self._weights(learned, chosen)
        mine = torch.arange(len(chosen), device=chosen.device)
        mine = mine[self._workers.share(len(chosen))]
        for places in torch.split(mine, config.microbatch) if len(mine) else ():
            rows = chosen[places]
            logprobs = self.policy.evaluate(rollout.batch.rows(rows)).logprobs
            difference = (logprobs - rollout.logprobs[rows]) * learned[rows]
            loss, held = self._loss(
                logprobs, difference, rollout.reference[rows], learned[rows], advantages[rows]
            )
            loss = (loss * weights[places]).sum()
            loss.backward()  # type: ignore[no-untyped-call]
            share = len(rows) / len(chosen)
            lengths = learned[rows].sum(1).clamp(min=1)
            for name, value in (
                ("policy", loss.detach()),
                ("approx_kl", share * 0.5 * (difference.detach().square().sum(1) / lengths).mean()),
                ("clip_fraction", share * held.mean()),
            ):
                sums[name] = sums.get(name, 0.0) + float(value)
        self._workers.add_gradients(self.policy.trained)
        where = f"batch {self.n_updates + 1}"
        descend(self._adam, self.policy.trained, max_grad_norm=config.max_grad_norm, where=where)
        return self._workers.add(sums)

    def _weights(self, learned: Tensor, chosen: Tensor) -> Tensor:
        """The weight of each chosen response's summed loss, shape (B',)."""
        config = self._config
        if isinstance(config, RlooConfig):
            return torch.full((len(chosen),), 1 / len(chosen), device=learned.device)
        return row_weights(
            learned[chosen],
            loss_type=config.loss_type,
            n_tokens_each=float(learned.sum() / len(learned)),
            longest=self._longest,
        )

    def _loss(
        self,
        logprobs: Tensor,
        difference: Tensor,
        reference: Tensor,
        learned: Tensor,
        advantages: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """The loss of each response, summed over tokens, and its clipped share, both (B',)."""
        config = self._config
        low, high = config.clip_range, config.clip_high
        if isinstance(config, RlooConfig):
            return clipped_surrogate(difference.sum(1), advantages, low=low, high=high)
        losses, held = clipped_surrogate(difference, advantages[:, None], low=low, high=high)
        if config.kl_coef:
            kl = kl_estimate(logprobs, reference)
            kl = kl * difference.exp() if config.use_bias_correction_kl else kl
            losses = losses + config.kl_coef * kl
        lengths = learned.sum(1).clamp(min=1)
        return (losses * learned).sum(1), (held * learned).sum(1) / lengths

    def state_dict(self) -> dict[str, Any]:
        """The state for a checkpoint."""
        return {
            "trained": self.policy.trained_state(),
            "adam": self._adam.state_dict(),
            "n_updates": self.n_updates,
            "total": self._total,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores a state."""
        self.policy.load_trained_state(state["trained"])
        self._adam.load_state_dict(state["adam"])
        self.n_updates, self._total = state["n_updates"], state["total"]
