"""The fine-tuning loop that all methods share, and supervised fine-tuning (SFT) with it."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from prefrl.errors import ConfigError, NotEnoughDataError
from prefrl.runtime.roles.parallel import ALONE, Workers
from prefrl.text.methods.adam import descend, make_adam
from prefrl.text.nets.logprobs import collate, token_logprobs
from prefrl.text.nets.policy import Policy
from prefrl.text.responses import Response

__all__ = [
    "FinetuneConfig",
    "Finetuning",
    "check_warmup",
    "demonstration_loss",
    "on_demonstrations",
]

LossOf = Callable[[Sequence[int]], tuple[Tensor, dict[str, float]]]
"""A function from the positions of examples to their mean loss and the values to log."""


@dataclass(frozen=True)
class FinetuneConfig:
    """Fine-tuning on examples."""

    epochs: int = 1
    """Passes over the examples."""
    batch_size: int = 16
    """Examples per gradient step."""
    microbatch: int = 8
    """Examples in one forward and backward pass; gradients are accumulated."""
    learning_rate: float = 1e-5
    """Learning rate of AdamW after the warm-up; then it falls by the schedule."""
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    """How the learning rate falls after the warm-up."""
    final_share: float = 0.0
    """Share of the learning rate that is left at the last step."""
    warmup_steps: int = 0
    """Gradient steps over which the learning rate rises from zero."""
    max_grad_norm: float = 1.0
    """Norm at which gradients are clipped."""
    adam_eps: float = 1e-8
    """Epsilon of AdamW."""
    weight_decay: float = 0.0
    """Weight decay of AdamW."""

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "microbatch"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, got {getattr(self, name)}.")
        for name in ("learning_rate", "adam_eps"):
            if not 0 < getattr(self, name) < math.inf:
                raise ConfigError(f"{name} must be positive and finite, got {getattr(self, name)}.")
        if not 0 <= self.weight_decay < math.inf:
            raise ConfigError(
                f"weight_decay must be finite and not negative, got {self.weight_decay}."
            )
        if not self.max_grad_norm > 0:
            raise ConfigError(f"max_grad_norm must be positive, got {self.max_grad_norm}.")
        if self.warmup_steps < 0:
            raise ConfigError(f"warmup_steps must not be negative, got {self.warmup_steps}.")
        if self.schedule not in ("linear", "cosine", "constant"):
            raise ConfigError(
                f"expected schedule to be linear, cosine or constant, got {self.schedule!r}."
            )
        if not 0 <= self.final_share <= 1:
            raise ConfigError(f"final_share is a share in [0, 1], got {self.final_share}.")
        if self.schedule == "constant" and self.final_share not in (0, 1):
            raise ConfigError(
                "expected schedule linear or cosine with final_share, got constant, which does "
                "not fall; leave final_share out."
            )


def check_warmup(config: FinetuneConfig, n_examples: int) -> None:
    """Refuses a warm-up that is as long as the training.

    Args:
        config: Settings.
        n_examples: Number of examples, or the most that there can be.

    Raises:
        ConfigError: If it is as long as the training.
    """
    n_steps = -(-n_examples // config.batch_size) * config.epochs
    if config.warmup_steps >= n_steps:
        raise ConfigError(
            f"expected warmup_steps to be fewer than the {n_steps} gradient steps that "
            f"{n_examples} examples give, got {config.warmup_steps}; lower it, or raise epochs."
        )


class Finetuning:
    """Trains a policy on examples; one step is one gradient step.

    Args:
        policy: Trained in place.
        n_examples: Number of examples.
        loss_of: Computes the loss of some of them.
        config: Settings.
        seed: Seed of the order of examples.
        before: Called with the examples of a gradient step, before ``loss_of`` gets them in parts.
        workers: Workers that share each batch.

    Raises:
        NotEnoughDataError: If there is no example.
        ConfigError: If the warm-up is as long as the training.
    """

    def __init__(
        self,
        policy: Policy,
        n_examples: int,
        loss_of: LossOf,
        *,
        config: FinetuneConfig,
        seed: int,
        before: Callable[[Sequence[int]], None] = lambda examples: None,
        workers: Workers = ALONE,
    ) -> None:
        if n_examples == 0:
            raise NotEnoughDataError("expected at least one example to fine-tune on, got none.")
        self.policy = policy
        self.n_steps = 0
        """Gradient steps so far."""
        self.per_epoch = -(-n_examples // config.batch_size)
        """Gradient steps in one pass."""
        self.total_steps = self.per_epoch * config.epochs
        """Gradient steps in all."""
        check_warmup(config, n_examples)
        self._n_examples = n_examples
        self._loss_of = loss_of
        self._before = before
        self._workers = workers
        self._config = config
        self._seed = seed
        self._adam = make_adam(
            policy.trained,
            config.learning_rate,
            eps=config.adam_eps,
            weight_decay=config.weight_decay,
        )

    @property
    def done(self) -> bool:
        """Whether all steps have been taken."""
        return self.n_steps >= self.total_steps

    @property
    def learning_rate(self) -> float:
        """Learning rate of the newest gradient step; before the first one, the configured value."""
        return float(self._adam.param_groups[0]["lr"])

    def skip(self, n_steps: int) -> None:
        """Shortens the training by some steps; the learning rate falls over the rest."""
        self.total_steps -= n_steps

    def step(self) -> dict[str, float]:
        """Takes one gradient step.

        Returns:
            The loss and what the loss function logs, as means over the batch.

        Raises:
            NonFiniteError: If a gradient is not finite; the policy stays as it was.
        """
        config = self._config
        examples = self._batch()
        for group in self._adam.param_groups:
            group["lr"] = config.learning_rate * self._share()
        self._adam.zero_grad(set_to_none=True)
        self._before(examples)
        sums: dict[str, float] = {}
        mine = examples[self._workers.share(len(examples))]
        for start in range(0, len(mine), config.microbatch):
            part = mine[start : start + config.microbatch]
            share = len(part) / len(examples)
            loss, row = self._loss_of(part)
            (loss * share).backward()  # type: ignore[no-untyped-call]
            for name, value in {"loss": float(loss.detach()), **row}.items():
                sums[name] = sums.get(name, 0.0) + share * value
        where = f"step {self.n_steps + 1}"
        parameters = self.policy.trained
        self._workers.add_gradients(parameters)
        descend(self._adam, parameters, max_grad_norm=config.max_grad_norm, where=where)
        self.n_steps += 1
        return self._workers.add(sums)

    def _batch(self) -> list[int]:
        epoch, place = divmod(self.n_steps, self.per_epoch)
        generator = torch.Generator().manual_seed(self._seed * 1_000_003 + epoch)
        order = torch.randperm(self._n_examples, generator=generator).tolist()
        size = self._config.batch_size
        batch: list[int] = order[place * size : (place + 1) * size]
        return batch

    def _share(self) -> float:
        """Share of the learning rate: a rise, then a fall to the final share."""
        config, warmup = self._config, self._config.warmup_steps
        if self.n_steps < warmup:
            return (self.n_steps + 1) / (warmup + 1)
        if config.schedule == "constant":
            return 1.0
        left = (self.total_steps - self.n_steps) / (self.total_steps - warmup)
        if config.schedule == "cosine":  # Loshchilov and Hutter 2017 (arXiv 1608.03983), eq. 5
            left = (1 + math.cos(math.pi * (1 - left))) / 2
        return config.final_share + (1 - config.final_share) * left

    def state_dict(self) -> dict[str, Any]:
        """The state for a checkpoint: a copy that later steps do not change."""
        trained, adam = self.policy.trained_state(), self._adam.state_dict()
        state = {"trained": trained, "adam": adam, "n_steps": self.n_steps}
        return copy.deepcopy(state | {"total_steps": self.total_steps})

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores a state."""
        self.policy.load_trained_state(state["trained"])
        # Adam would otherwise modify the tensors of the state.
        self._adam.load_state_dict(copy.deepcopy(state["adam"]))
        self.n_steps, self.total_steps = state["n_steps"], state["total_steps"]


def on_demonstrations(
    policy: Policy, demonstrations: Sequence[Response], *, config: FinetuneConfig, seed: int
) -> Finetuning:
    """Prepares supervised fine-tuning, on the mean log-loss of the responses' tokens alone."""

    def loss_of(examples: Sequence[int]) -> tuple[Tensor, dict[str, float]]:
        return demonstration_loss(policy, [demonstrations[i] for i in examples]), {}

    return Finetuning(policy, len(demonstrations), loss_of, config=config, seed=seed)


def demonstration_loss(policy: Policy, demonstrations: Sequence[Response]) -> Tensor:
    """Mean over responses of the mean log-loss of their tokens, in nats; the end token counts.

    Args:
        policy: The policy that learns.
        demonstrations: B responses.
    """
    batch = collate(demonstrations, policy.device)
    logprobs = token_logprobs(policy.language, batch)  # (B, R)
    return (-logprobs.sum(1) / batch.mask.sum(1)).mean()
