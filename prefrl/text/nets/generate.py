"""Sampling responses: many prompts at once, with a cache of keys and values."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from prefrl.errors import ConfigError
from prefrl.text.nets.models import LanguageModel
from prefrl.text.responses import Prompt, Response

__all__ = ["SamplingConfig", "check_lengths", "drawn_at", "left_padded", "sample_responses"]

_KEPT = 0.75  # finished rows are dropped once at most this share of computed ones goes on
_COLDEST = 1e-4  # lowest temperature: divided by much less, logits in float32 become infinite


@dataclass(frozen=True)
class SamplingConfig:
    """How responses are sampled: from the whole distribution.

    Truncating the distribution (top-k, top-p, a minimal length) makes the KL to the reference
    meaningless, even negative, and PPO would exploit that.
    """

    max_new_tokens: int = 24
    """Most tokens of a response."""
    temperature: float = 1.0
    """Divides the logits, here and wherever the log-probabilities of responses are computed."""
    stop_at_end: bool = True
    """End a response at the model's end tokens; otherwise every response has the full length."""

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
    """Pads rows of ids on the left with 0.

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
    """Samples a response to each prompt.

    A prompt that occurs several times is read once, and a response that has ended is no longer
    computed.

    Args:
        language: The model that responds.
        prompts: B prompts, some of which may be equal.
        config: Settings.
        generator: Generator of the draws, on the CPU: equal states give equal responses.
    """
    ends = torch.tensor(sorted(language.end_tokens) if config.stop_at_end else [], dtype=torch.long)
    states = _States(language, prompts)
    going = torch.arange(len(prompts))  # rows whose responses have not ended
    drawn = torch.full((len(prompts), config.max_new_tokens), -1)
    for place in range(config.max_new_tokens):
        logits = states.logits[:, : language.n_vocabulary].float().cpu() / config.temperature
        # Rows that have ended draw a number too, so that the draws of others do not depend on them.
        numbers = torch.rand(len(prompts), 1, generator=generator, dtype=torch.float64)
        chosen = drawn_at(logits[states.places_of(going)].softmax(-1), numbers[going])
        drawn[going, place] = chosen
        is_open = ~torch.isin(chosen, ends)
        going, chosen = going[is_open], chosen[is_open]
        if not len(going) or place + 1 == config.max_new_tokens:
            break
        states.go_on(going, chosen)
    return [_response(language, *pair) for pair in zip(prompts, drawn.tolist(), strict=True)]


def drawn_at(probabilities: Tensor, numbers: Tensor) -> Tensor:
    """Samples from distributions by uniform numbers in [0, 1): the inverse transform.

    One number per row is enough; ``torch.multinomial`` draws one per id.

    Args:
        probabilities: Shape (B, V).
        numbers: Shape (B, 1), of float64.

    Returns:
        Ids, shape (B,).
    """
    sums = probabilities.cumsum(1, dtype=torch.float64)
    places = torch.searchsorted(sums, numbers * sums[:, -1:], right=True)
    return places[:, 0].clamp(max=probabilities.shape[1] - 1)


class _States:
    """A model's state for prompts and responses so far: rows of its cache, and its logits.

    Args:
        language: The model.
        prompts: B prompts.
    """

    def __init__(self, language: LanguageModel, prompts: Sequence[Prompt]) -> None:
        self._model = language.model
        self._device = next(self._model.parameters()).device
        self._cache: Any = None
        self.logits = torch.empty(0)
        """Logits of the next token, a row per computed response, shape (B', V or more)."""
        different = list(dict.fromkeys(prompt.tokens for prompt in prompts))
        row_of = {tokens: row for row, tokens in enumerate(different)}
        rows = torch.tensor([row_of[prompt.tokens] for prompt in prompts])
        self._read(different)
        if hasattr(self._cache, "batch_select_indices"):
            self._select(rows)
            self.logits = self.logits[rows.to(self._device)]
        else:  # a cache whose rows cannot be chosen
            self._read([prompt.tokens for prompt in prompts])
        self._rows = torch.arange(len(prompts))

    def _read(self, prompts: Sequence[Sequence[int]]) -> None:
        ids, self._mask = left_padded(prompts, self._device)
        # Positions of the left padding do not matter: it is masked.
        self._positions = (self._mask.cumsum(1) - 1).clamp(min=0)
        self._cache = None
        self._forward(ids, self._positions)
        self._positions = self._positions[:, -1:]

    def places_of(self, rows: Tensor) -> Tensor:
        """Positions of some of the B rows in ``logits``."""
        return torch.searchsorted(self._rows, rows)

    def go_on(self, rows: Tensor, tokens: Tensor) -> None:
        """Continues some rows with one token each; the tokens of other rows do not matter."""
        places = self.places_of(rows)
        if len(rows) <= _KEPT * len(self._rows) and hasattr(self._cache, "batch_select_indices"):
            self._select(places)
            self._rows, places = rows, torch.arange(len(rows))
        ids = torch.zeros(len(self._rows), 1, dtype=torch.long)
        ids[places, 0] = tokens
        self._mask = torch.cat([self._mask, self._mask.new_ones(len(ids), 1)], dim=1)
        self._positions = self._positions + 1
        self._forward(ids.to(self._device), self._positions)

    def _select(self, places: Tensor) -> None:
        """Keeps only some rows, some of them possibly several times."""
        places = places.to(self._device)
        self._cache.batch_select_indices(places)
        self._mask, self._positions = self._mask[places], self._positions[places]

    def _forward(self, ids: Tensor, positions: Tensor) -> None:
        output = self._model(
            input_ids=ids,
            attention_mask=self._mask,
            position_ids=positions,
            past_key_values=self._cache,
            use_cache=True,
            logits_to_keep=1,
        )
        self._cache = output.past_key_values
        self.logits = output.logits[:, -1]


def _response(language: LanguageModel, prompt: Prompt, row: list[int]) -> Response:
    tokens = tuple(token for token in row if token >= 0)
    return Response(prompt.text, language.decode(tokens), prompt.tokens, tokens, prompt.messages)
