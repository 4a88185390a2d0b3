"""Sampling responses: many prompts at once, with a cache of keys and values."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from prefrl.errors import ConfigError
from prefrl.text.nets.models import LanguageModel
from prefrl.text.responses import Prompt, Response

__all__ = ["SamplingConfig", "check_lengths", "left_padded", "sample_responses"]

_COLDEST = 1e-4  # divided by much less, logits in float32 become infinite


@dataclass(frozen=True)
class SamplingConfig:
    """How responses are drawn: plainly, from the whole distribution.

    What cuts the distribution (top-k, top-p, a minimal length) makes the KL to the reference
    meaningless, even negative, and PPO chases that.
    """

    max_new_tokens: int = 24
    """Tokens of a response at most."""
    temperature: float = 1.0
    """Divides the logits, here and wherever the log-probabilities of responses are computed."""
    stop_at_end: bool = True
    """End a response at the model's end tokens; else every response has all its tokens."""

    def __post_init__(self) -> None:
        if self.max_new_tokens < 1:
            raise ConfigError(f"max_new_tokens must be at least 1, got {self.max_new_tokens}.")
        if not _COLDEST <= self.temperature < math.inf:
            raise ConfigError(
                f"expected a temperature of at least {_COLDEST}, which takes the likeliest token "
                f"nearly always, got {self.temperature}."
            )


def check_lengths(
    language: LanguageModel, prompts: Sequence[Prompt], config: SamplingConfig
) -> None:
    """Refuses prompts that leave no room for a response.

    Raises:
        ConfigError: With the number of the first one, from 1; or if no prompt has room.
    """
    room = language.context - config.max_new_tokens
    if room < 1:
        raise ConfigError(
            f"expected room for a prompt before responses of up to {config.max_new_tokens} tokens, "
            f"but the context of {language.source} holds {language.context}; lower "
            "sampling.max_new_tokens, and prompt.max_tokens to what is then left."
        )
    for number, prompt in enumerate(prompts, 1):
        if len(prompt.tokens) > room:
            raise ConfigError(
                f"prompt {number} has {len(prompt.tokens)} tokens, but the context of "
                f"{language.source} holds {language.context} and a response may take "
                f"{config.max_new_tokens}; shorten it to {room} tokens, or lower max_new_tokens."
            )


def left_padded(rows: Sequence[Sequence[int]], device: torch.device) -> tuple[Tensor, Tensor]:
    """Rows of ids, filled up on the left with 0.

    Returns:
        Ids and mask, both of shape (B, L).
    """
    longest = max(len(row) for row in rows)
    ids = torch.tensor([[0] * (longest - len(row)) + list(row) for row in rows], device=device)
    lengths = torch.tensor([len(row) for row in rows], device=device)
    mask = torch.arange(longest, device=device) >= (longest - lengths)[:, None]
    return ids, mask.long()


@torch.no_grad()
def sample_responses(
    language: LanguageModel,
    prompts: Sequence[Prompt],
    *,
    config: SamplingConfig,
    generator: torch.Generator,
) -> list[Response]:
    """Draws a response to each prompt.

    Args:
        language: Who responds.
        prompts: B prompts; the same one may come several times.
        config: Settings.
        generator: Of the draws, on the CPU: the same one gives the same responses.
    """
    model = language.model
    device = next(model.parameters()).device
    ids, mask = left_padded([prompt.tokens for prompt in prompts], device)
    ends = sorted(language.end_tokens) if config.stop_at_end else []
    positions = (mask.cumsum(1) - 1).clamp(min=0)  # of the left padding: anything, it is masked
    done = torch.zeros(len(prompts), dtype=torch.bool)
    drawn: list[Tensor] = []
    cache = None
    for _ in range(config.max_new_tokens):
        output = model(
            input_ids=ids,
            attention_mask=mask,
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
        cache = output.past_key_values
        logits = output.logits[:, -1, : language.n_vocabulary].float().cpu() / config.temperature
        chosen = torch.multinomial(logits.softmax(-1), 1, generator=generator)  # (B, 1)
        drawn.append(torch.where(done[:, None], -1, chosen))
        done |= torch.isin(chosen[:, 0], torch.tensor(ends, dtype=torch.long))
        if bool(done.all()):
            break
        ids = chosen.to(device)
        mask = torch.cat([mask, mask.new_ones(len(prompts), 1)], dim=1)
        positions = positions[:, -1:] + 1
    rows = torch.cat(drawn, dim=1).tolist()
    return [_response(language, *pair) for pair in zip(prompts, rows, strict=True)]


def _response(language: LanguageModel, prompt: Prompt, row: list[int]) -> Response:
    tokens = tuple(token for token in row if token >= 0)
    return Response(prompt.text, language.decode(tokens), prompt.tokens, tokens, prompt.messages)
