"""A batch of responses, evaluated under the sampling policy and the reference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from prefrl.runtime.roles.parallel import Workers
from prefrl.text.nets.logprobs import Batch, collate
from prefrl.text.nets.policy import Policy
from prefrl.text.responses import Response

__all__ = ["Rollout", "roll_out"]

_CHUNK = 32


@dataclass(frozen=True)
class Rollout:
    """B responses of up to R tokens; all fields but the batch have the shape (B, R)."""

    batch: Batch
    """The responses."""
    logprobs: Tensor
    """Log-probabilities of the tokens under the sampling policy; 0 where there is no token."""
    values: Tensor
    """Values of the states before the tokens."""
    entropy: Tensor
    """Entropy of the distributions, in nats."""
    reference: Tensor
    """Log-probabilities of the tokens under the reference."""

    @property
    def kl(self) -> float:
        """KL to the reference: the mean over responses of their summed log-ratio, in nats."""
        return float(((self.logprobs - self.reference) * self.batch.mask).sum(1).mean())


@torch.no_grad()
def roll_out(policy: Policy, responses: Sequence[Response], workers: Workers) -> Rollout:
    """Evaluates responses with the current policy.

    Args:
        policy: The policy that sampled them.
        responses: B responses.
        workers: Workers that share the work; each gets all results.
    """
    batch = collate(responses, policy.device)
    parts, states = [], []
    mine = torch.arange(len(responses), device=policy.device)
    alone = workers.size == 1  # states are too large to send to other workers
    for chosen in torch.split(mine[workers.share(len(responses))], _CHUNK):
        piece = batch.rows(chosen)
        piece = policy.prepare(piece) if alone else piece
        said = policy.evaluate(piece)
        reference = policy.reference_logprobs(piece)
        parts.append((said.logprobs, said.values, said.entropy, reference))
        if piece.states is not None:
            states.append(piece.states)
    found = [workers.join(torch.cat(part)) for part in zip(*parts, strict=True)]
    if states:
        batch = replace(batch, states=torch.cat(states))
    return Rollout(batch, *found)
