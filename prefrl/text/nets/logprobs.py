"""Batches of responses, and the log-probabilities of their tokens.

Prompts are padded on the left and responses on the right, to the longest of the batch, so all
responses begin in the same column. No pad token is needed: padding is masked and has the id 0, and
positions follow the mask (Huang et al. 2023, details G2 and G3).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from prefrl.text.nets.models import LanguageModel
from prefrl.text.responses import Response

__all__ = ["Batch", "collate", "drawn_from", "gathered", "sequence_logprobs", "token_logprobs"]


@dataclass(frozen=True)
class Batch:
    """B prompts of up to P tokens with responses of up to R tokens."""

    ids: Tensor
    """Shape (B, P + R)."""
    attention: Tensor
    """1 where there is a token, shape (B, P + R)."""
    positions: Tensor
    """Position of each token within its own text, shape (B, P + R)."""
    n_prompt: int
    """P: the column in which responses begin."""
    states: Tensor | None = None
    """Output of the frozen layers below the trained ones, shape (B, P + R, D); None if it was not
    computed (``nets.lower``)."""

    @property
    def tokens(self) -> Tensor:
        """The responses, shape (B, R)."""
        return self.ids[:, self.n_prompt :]

    @property
    def mask(self) -> Tensor:
        """1 where a response has a token, shape (B, R), float."""
        return self.attention[:, self.n_prompt :].float()

    @property
    def n_kept(self) -> int:
        """R + 1: columns from the last prompt token on, whose logits concern responses."""
        return self.ids.shape[1] - self.n_prompt + 1

    @property
    def last(self) -> Tensor:
        """The column of each text's last token, shape (B,)."""
        return self.n_prompt + self.attention[:, self.n_prompt :].sum(1) - 1

    def rows(self, chosen: Tensor) -> Batch:
        """Selects some of its rows."""
        states = None if self.states is None else self.states[chosen]
        ids, attention, positions = self.ids[chosen], self.attention[chosen], self.positions[chosen]
        return Batch(ids, attention, positions, self.n_prompt, states)

    @property
    def inputs(self) -> dict[str, Any]:
        """Arguments for the forward pass of a model."""
        return {
            "input_ids": self.ids,
            "attention_mask": self.attention,
            "position_ids": self.positions,
            "use_cache": False,
        }


def collate(responses: Sequence[Response], device: torch.device | str = "cpu") -> Batch:
    """Makes a batch of responses. One without tokens is read at the end of its prompt."""
    n_prompt = max(len(r.prompt_tokens) for r in responses)
    n_response = max(1, *(len(r.tokens) for r in responses))
    ids = torch.zeros(len(responses), n_prompt + n_response, dtype=torch.long)
    attention = torch.zeros_like(ids)
    for row, response in enumerate(responses):
        start, stop = n_prompt - len(response.prompt_tokens), n_prompt + len(response.tokens)
        ids[row, start:stop] = torch.tensor([*response.prompt_tokens, *response.tokens])
        attention[row, start:stop] = 1
    positions = (attention.cumsum(1) - 1).clamp(min=0)
    return Batch(ids.to(device), attention.to(device), positions.to(device), n_prompt)


def drawn_from(language: LanguageModel, logits: Tensor, temperature: float) -> Tensor:
    """The logits that tokens were sampled from, computed from a model's logits.

    They are divided by the temperature (P1), without ids that the tokenizer does not know (C5).

    Args:
        language: The model.
        logits: Logits of the last prompt token and all of the response, shape (B, R + 1, V or
            more).
        temperature: Temperature of sampling.

    Returns:
        Shape (B, R, V).
    """
    return logits[:, :-1, : language.n_vocabulary].float() / temperature


def token_logprobs(language: LanguageModel, batch: Batch, *, temperature: float = 1.0) -> Tensor:
    """Log-probability of each token of the responses, shape (B, R); 0 where there is none."""
    output = language.model(**batch.inputs, logits_to_keep=batch.n_kept)
    return gathered(drawn_from(language, output.logits, temperature), batch)


def gathered(logits: Tensor, batch: Batch) -> Tensor:
    """Log-probabilities of a batch's tokens from logits of shape (B, R, V): shape (B, R)."""
    chosen = logits.gather(2, batch.tokens[:, :, None])[:, :, 0]
    return (chosen - logits.logsumexp(2)) * batch.mask


def sequence_logprobs(language: LanguageModel, batch: Batch, *, temperature: float = 1.0) -> Tensor:
    """Log-probability of each response, summed over its tokens: shape (B,)."""
    return token_logprobs(language, batch, temperature=temperature).sum(1)
