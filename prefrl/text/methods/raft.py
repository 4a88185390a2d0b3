"""Reward-ranked fine-tuning: the policy learns the best of its own responses, batch after batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from prefrl.errors import ConfigError, NonFiniteError
from prefrl.runtime.roles.parallel import ALONE, Workers
from prefrl.text.methods.finetune import FinetuneConfig, Finetuning, demonstration_loss
from prefrl.text.nets.logprobs import collate
from prefrl.text.nets.policy import Policy
from prefrl.text.responses import Response

__all__ = ["Raft", "RaftConfig", "best_of_each", "check_raft"]

_CHUNK = 32


@dataclass(frozen=True)
class RaftConfig:
    """Reward-ranked fine-tuning."""

    kept: int = 1
    """How many responses to each prompt are learned: those with the highest scores."""

    def __post_init__(self) -> None:
        if self.kept < 1:
            raise ConfigError(f"kept must be at least 1, got {self.kept}.")


def check_raft(
    config: RaftConfig, finetune: FinetuneConfig, *, per_prompt: int, n_prompts: int, n_updates: int
) -> None:
    """Refuses settings that leave no choice, or whose warm-up never ends.

    Args:
        config: Settings of RAFT.
        finetune: Settings of the fine-tuning.
        per_prompt: Responses to each prompt.
        n_prompts: Prompts of a batch.
        n_updates: Batches in the whole training.

    Raises:
        ConfigError: If all responses would be kept, or the warm-up is as long as the training.
    """
    if config.kept >= per_prompt:
        raise ConfigError(
            f"expected raft.kept to be fewer than per_prompt = {per_prompt}, of which the best are "
            f"kept, got {config.kept}; raise per_prompt."
        )
    per_pass = -(-n_prompts * config.kept // finetune.batch_size)
    n_steps = n_updates * finetune.epochs * per_pass
    if finetune.warmup_steps >= n_steps:
        raise ConfigError(
            f"expected warmup_steps to be fewer than the {n_steps} gradient steps of raft, got "
            f"{finetune.warmup_steps}; lower it."
        )


def best_of_each(scores: Tensor, per_prompt: int, kept: int) -> list[int]:
    """Positions of each prompt's best responses, the best first; of equal scores the first.

    Args:
        scores: Scores of ``per_prompt`` responses to each prompt, one prompt after the other, shape
            (B,).
        per_prompt: Responses to each prompt.
        kept: How many are taken for each prompt.

    Raises:
        NonFiniteError: If a score is not finite, and so cannot be ranked.
    """
    if not bool(torch.isfinite(scores).all()):
        raise NonFiniteError(
            "expected finite scores to choose responses by, got others; lower fit.learning-rate."
        )
    order = scores.cpu().reshape(-1, per_prompt).argsort(dim=1, descending=True, stable=True)
    starts = per_prompt * torch.arange(len(order))[:, None]
    places: list[int] = (starts + order[:, :kept]).flatten().tolist()
    return places


class Raft:
    """Improves a policy by RAFT: Dong et al. 2023 (arXiv 2304.06767), algorithm 1.

    All batches together are one fine-tuning: Adam keeps its state, and the learning rate falls over
    all of them.

    Args:
        policy: Trained in place.
        config: Settings of RAFT.
        finetune: Settings of the fine-tuning; ``epochs`` are passes over a batch's kept responses.
        n_prompts: Prompts of a batch.
        n_updates: Batches in the whole training.
        seed: Seed of the order of examples.
        workers: Workers that share each batch; each calls ``improve`` with the same arguments.
    """

    def __init__(
        self,
        policy: Policy,
        *,
        config: RaftConfig,
        finetune: FinetuneConfig,
        n_prompts: int,
        n_updates: int,
        seed: int,
        workers: Workers = ALONE,
    ) -> None:
        self.policy = policy
        self._config = config
        self._workers = workers
        self._n_prompts = n_prompts
        self._best: list[Response] = []

        def loss_of(examples: Sequence[int]) -> tuple[Tensor, dict[str, float]]:
            return demonstration_loss(policy, [self._best[i] for i in examples]), {}

        whole = replace(finetune, epochs=finetune.epochs * n_updates)
        n_kept = n_prompts * config.kept
        self._steps = Finetuning(policy, n_kept, loss_of, config=whole, seed=seed, workers=workers)
        self._per_update = finetune.epochs * self._steps.per_epoch

    def improve(self, responses: Sequence[Response], scores: Tensor) -> dict[str, float]:
        """Chooses the best responses of one batch, and learns them.

        Args:
            responses: B responses that the policy has just sampled, equally many to each prompt,
                prompt by prompt.
            scores: Their scores, shape (B,).

        Returns:
            By name: the mean loss over gradient steps, and the KL of the sampling policy to the
            reference, in nats, estimated from all responses at their sampling temperature.

        Raises:
            NonFiniteError: If a score or a gradient is not finite; the policy is then as it was
                before that step.
        """
        per_prompt = len(responses) // self._n_prompts
        self._best = [responses[i] for i in best_of_each(scores, per_prompt, self._config.kept)]
        kl = self._kl(responses)
        losses = [self._steps.step()["loss"] for _ in range(self._per_update)]
        return {"kl": kl, "loss": sum(losses) / len(losses)}

    def skip(self) -> None:
        """Skips a batch from which nothing can be learned yet."""
        self._steps.skip(self._per_update)

    @torch.no_grad()
    def _kl(self, responses: Sequence[Response]) -> float:
        total = 0.0
        mine = responses[self._workers.share(len(responses))]
        for start in range(0, len(mine), _CHUNK):
            batch = collate(mine[start : start + _CHUNK], self.policy.device)
            ratios = self.policy.logprobs(batch) - self.policy.reference_logprobs(batch)
            total += float(ratios.sum())
        return self._workers.add({"kl": total})["kl"] / len(responses)

    def state_dict(self) -> dict[str, Any]:
        """The state for a checkpoint: a copy."""
        return self._steps.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores a state."""
        self._steps.load_state_dict(state)
