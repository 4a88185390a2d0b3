"""PPO with a KL penalty to the reference: one batch of responses, one update.

The defaults are ours, for small models; ``prefrl.text.presets`` has those of the papers.
docs/text.md says where each line of the checklist of Huang et al. 2023 is implemented.
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
from prefrl.text.methods.advantages import (
    adapted_kl_coef,
    generalized_advantages,
    masked_mean,
    ppo_losses,
    token_rewards,
    whiten,
)
from prefrl.text.methods.finetune import demonstration_loss
from prefrl.text.methods.rollout import roll_out
from prefrl.text.nets.logprobs import Batch
from prefrl.text.nets.policy import Policy
from prefrl.text.responses import Response

__all__ = ["Ppo", "PpoConfig"]


@dataclass(frozen=True)
class PpoConfig:
    """PPO on responses."""

    learning_rate: float = 1e-5
    """Initial learning rate of Adam."""
    linear_decay: bool = True
    """Let the learning rate fall to zero over the training (G5)."""
    kl_coef: float = 0.05
    """Weight of the KL penalty per token; its start if it is adaptive."""
    adaptive_kl: bool = False
    """Adapt the coefficient so that the KL reaches its target (P11)."""
    kl_target: float = 6.0
    """Target of an adaptive coefficient: KL of a response to the reference, in nats."""
    kl_horizon: float = 10_000.0
    """Number of responses over which an adaptive coefficient may change by the factor e."""
    gamma: float = 1.0
    """Discount (P6)."""
    gae_lambda: float = 0.95
    """Lambda of generalised advantage estimation."""
    clip_range: float = 0.2
    """Clip range of PPO's ratio."""
    clip_range_value: float = 0.2
    """How far a value may move from its old estimate (P10)."""
    vf_coef: float = 0.1
    """Weight of the value loss."""
    value_from_reward: bool = False
    """Take values from a separate model that starts as the reward model, instead of a head on the
    policy's trunk that starts at zero (P2)."""
    value_learning_rate: float | None = None
    """Learning rate of the value model or head; by default the policy's."""
    ptx_coef: float = 0.0
    """Weight of the log-loss of pretraining texts in each gradient step, against forgetting:
    PPO-ptx (Ouyang et al. 2022, equation 2)."""
    ptx_examples: int = 16
    """Pretraining texts drawn for each gradient step."""
    ema: float | None = None
    """Decay per update of an average of the policy's weights. The run ends with the average;
    metrics describe the policy that samples. It is bias-corrected, so it averages only policies
    after an update. None: no average."""
    n_epochs: int = 4
    """Passes over each batch (P7)."""
    n_minibatches: int = 1
    """Gradient steps of a pass."""
    microbatch: int = 16
    """Responses in one forward and backward pass; gradients are accumulated (P7)."""
    whiten_rewards: bool = False
    """Scale token rewards to unit variance, without moving their mean (P9)."""
    whiten_advantages: bool = True
    """Scale advantages to mean 0 and variance 1 (P9)."""
    max_grad_norm: float | None = 1.0
    """Norm at which gradients are clipped; None for no clipping (C3)."""
    adam_eps: float = 1e-5
    """Epsilon of Adam."""
    tf_adam: bool = False
    """Apply Adam's epsilon as TensorFlow does, outside the bias correction (A)."""

    def __post_init__(self) -> None:
        for name in ("n_epochs", "n_minibatches", "microbatch", "ptx_examples"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, got {getattr(self, name)}.")
        for name in ("learning_rate", "value_learning_rate", "adam_eps", "kl_target", "kl_horizon"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise ConfigError(f"{name} must be positive and finite, got {value}.")
        for name in ("kl_coef", "vf_coef", "ptx_coef"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ConfigError(
                    f"{name} must be finite and not negative, got {getattr(self, name)}."
                )
        for name in ("gamma", "gae_lambda"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"{name} is in [0, 1], got {getattr(self, name)}.")
        for name in ("clip_range", "clip_range_value", "max_grad_norm"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ConfigError(f"{name} must be positive, got {value}.")
        if self.ema is not None and not 0 <= self.ema < 1:
            raise ConfigError(f"ema is a decay in [0, 1), got {self.ema}.")


@dataclass(frozen=True)
class _Rollout:
    """A batch of responses with all that an update needs, each of shape (B, R)."""

    batch: Batch
    logprobs: Tensor
    values: Tensor
    advantages: Tensor
    returns: Tensor


class Ppo:
    """Improves a policy by PPO.

    Args:
        policy: Trained in place.
        config: Settings.
        n_updates: Batches in the whole training; the learning rate falls over those that are not
            skipped.
        texts: Pretraining texts, whose log-loss ``ptx_coef`` weighs.
        workers: Workers that share each batch; each calls ``improve`` with the same arguments.
    """

    def __init__(
        self,
        policy: Policy,
        *,
        config: PpoConfig,
        n_updates: int,
        texts: Sequence[Response] = (),
        workers: Workers = ALONE,
    ) -> None:
        self.policy = policy
        self.kl_coef = config.kl_coef
        """Current weight of the KL penalty."""
        self.n_updates = 0
        """Batches so far."""
        self._config = config
        self._total = n_updates
        self._texts = texts
        self._workers = workers
        self._parameters = [*policy.trained, *policy.value_parameters]
        self._rates = (config.learning_rate, config.value_learning_rate or config.learning_rate)
        groups = [{"params": part} for part in (policy.trained, policy.value_parameters)]
        self._adam = make_adam(groups, config.learning_rate, eps=config.adam_eps, tf=config.tf_adam)
        self._average: list[Tensor] | None = None

    def improve(
        self, responses: Sequence[Response], scores: Tensor, generator: torch.Generator
    ) -> dict[str, float]:
        """Trains on one batch: rewards, advantages, then several passes of gradient steps.

        Args:
            responses: B responses that the policy has just sampled.
            scores: Their scores, shape (B,).
            generator: Generator of the order of responses.

        Returns:
            Means over the batch, by name.

        Raises:
            NonFiniteError: If the loss or the gradient is not finite; the policy is then as it was
                before that step.
        """
        config = self._config
        rollout, row = self._roll_out(responses, scores)
        share = max(0.0, 1 - self.n_updates / self._total) if config.linear_decay else 1.0
        for group, rate in zip(self._adam.param_groups, self._rates, strict=True):
            group["lr"] = rate * share
        sums: dict[str, float] = {}
        n = len(responses)
        size = -(-n // config.n_minibatches)
        n_steps = 0
        for _ in range(config.n_epochs):
            for chosen in torch.split(torch.randperm(n, generator=generator), size):
                n_steps += 1
                for name, value in self._step(rollout, chosen, generator).items():
                    sums[name] = sums.get(name, 0.0) + value
        self.n_updates += 1
        self._follow()
        if config.adaptive_kl:
            self.kl_coef = adapted_kl_coef(
                self.kl_coef,
                row["kl"],
                target=config.kl_target,
                horizon=config.kl_horizon,
                n_responses=n,
            )
        return row | {name: value / n_steps for name, value in sums.items()}

    def skip(self) -> None:
        """Skips a batch from which nothing can be learned yet."""
        self._total -= 1

    @torch.no_grad()
    def _roll_out(
        self, responses: Sequence[Response], scores: Tensor
    ) -> tuple[_Rollout, dict[str, float]]:
        config = self._config
        said = roll_out(self.policy, responses, self._workers)
        batch, logprobs, values = said.batch, said.logprobs, said.values
        mask = batch.mask
        rewards = token_rewards(
            scores.to(mask.device), logprobs, said.reference, mask, kl_coef=self.kl_coef
        )
        if config.whiten_rewards:
            rewards = whiten(rewards, mask, shift_mean=False)
        advantages, returns = generalized_advantages(
            rewards, values, mask, gamma=config.gamma, gae_lambda=config.gae_lambda
        )
        row = {
            "kl": said.kl,
            "kl_coef": self.kl_coef,
            "entropy": float(masked_mean(said.entropy, mask)),
        }
        return _Rollout(batch, logprobs, values, advantages, returns), row

    def _step(
        self, rollout: _Rollout, chosen: Tensor, generator: torch.Generator
    ) -> dict[str, float]:
        """Takes a gradient step on a minibatch, a microbatch at a time."""
        config, chosen = self._config, chosen.to(self.policy.device)
        mask = rollout.batch.rows(chosen).mask
        advantages = rollout.advantages[chosen]
        if config.whiten_advantages:
            advantages = whiten(advantages, mask)
        self._adam.zero_grad(set_to_none=True)
        total = mask.sum()
        sums: dict[str, float] = {}
        mine = torch.arange(len(chosen), device=chosen.device)
        mine = mine[self._workers.share(len(chosen))]
        for places in torch.split(mine, config.microbatch) if len(mine) else ():
            rows = chosen[places]
            batch = rollout.batch.rows(rows)
            said = self.policy.evaluate(batch)
            losses = ppo_losses(
                said.logprobs,
                said.values,
                said.entropy,
                old_logprobs=rollout.logprobs[rows],
                old_values=rollout.values[rows],
                advantages=advantages[places],
                returns=rollout.returns[rows],
                mask=batch.mask,
                clip_range=config.clip_range,
                clip_range_value=config.clip_range_value,
            )
            share = float(batch.mask.sum() / total)  # losses are means over tokens
            loss = (losses.policy + config.vf_coef * losses.value) * share
            loss.backward()  # type: ignore[no-untyped-call]
            for name in ("policy", "value", "approx_kl", "clip_fraction"):
                part = float(getattr(losses, name).detach()) * share
                sums[name] = sums.get(name, 0.0) + part
        if config.ptx_coef:
            sums["ptx"] = self._learn_texts(generator)
        where = f"batch {self.n_updates + 1}"
        self._workers.add_gradients(self._parameters)
        descend(self._adam, self._parameters, max_grad_norm=config.max_grad_norm, where=where)
        return self._workers.add(sums)

    def _learn_texts(self, generator: torch.Generator) -> float:
        """Adds the gradient of some texts' mean log-loss; returns this worker's part of that."""
        config, total = self._config, 0.0
        drawn = torch.randint(len(self._texts), (config.ptx_examples,), generator=generator)
        mine = drawn[self._workers.share(len(drawn))]
        for places in torch.split(mine, config.microbatch) if len(mine) else ():
            share = len(places) / len(drawn)
            # At temperature 1: texts, unlike responses, are not drawn at that of sampling.
            loss = demonstration_loss(self.policy, [self._texts[i] for i in places.tolist()])
            (config.ptx_coef * share * loss).backward()  # type: ignore[no-untyped-call]
            total += share * float(loss.detach())
        return total

    @torch.no_grad()
    def _follow(self) -> None:
        """Updates the average of the policy's weights."""
        decay, n = self._config.ema, self.n_updates
        if decay is None:
            return
        if self._average is None:
            self._average = [p.detach().clone() for p in self.policy.trained]
        # Kingma and Ba 2015 (arXiv 1412.6980), section 3: no bias towards the initial weights.
        decay *= (1 - decay ** (n - 1)) / (1 - decay**n)
        for kept, p in zip(self._average, self.policy.trained, strict=True):
            kept.lerp_(p, 1 - decay)

    @torch.no_grad()
    def take_average(self) -> None:
        """Replaces the policy's weights by their average, if any; call it at the end."""
        for kept, p in zip(self._average or (), self.policy.trained, strict=False):
            p.copy_(kept)

    def state_dict(self) -> dict[str, Any]:
        """The state for a checkpoint."""
        values = self.policy.value_model
        return {
            "trained": self.policy.trained_state(),
            "adam": self._adam.state_dict(),
            "kl_coef": self.kl_coef,
            "n_updates": self.n_updates,
            "total": self._total,
            "average": self._average,
            "values": None if values is None else values.own_state(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores a state."""
        self.policy.load_trained_state(state["trained"])
        self._adam.load_state_dict(state["adam"])
        self.kl_coef, self.n_updates = state["kl_coef"], state["n_updates"]
        self._total = state["total"]
        if self.policy.value_model is not None:
            self.policy.value_model.load_own_state(state["values"])
        if state["average"] is not None:
            pairs = zip(self.policy.trained, state["average"], strict=True)
            self._average = [p.detach().clone().copy_(was) for p, was in pairs]
