"""Which part of a response is scored, and the score of a response without the mark."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from prefrl.errors import ConfigError
from prefrl.text.nets.models import LanguageModel
from prefrl.text.nets.reward_model import TextReward
from prefrl.text.responses import Response

__all__ = ["ScoringConfig", "scored_part", "scores_of"]


@dataclass(frozen=True)
class ScoringConfig:
    """Which part of a response the reward model sees (Huang et al. 2023, details P5 and C4)."""

    cut_at: str | None = None
    """Score a response only up to this mark, such as "."; None scores all of it."""
    cut_after: int = 16
    """The mark counts only from this token on."""
    missing_score: float | None = None
    """Score of a response without the mark; or, if cut_at is None, without its end token. None
    scores it like any other."""

    def __post_init__(self) -> None:
        if self.cut_at == "":
            raise ConfigError("expected cut_at to be a text such as '.', got an empty one.")
        if self.cut_after < 0:
            raise ConfigError(f"cut_after must not be negative, got {self.cut_after}.")


def scored_part(language: LanguageModel, response: Response, config: ScoringConfig) -> Response:
    """The response up to the first token with the mark, from ``cut_after`` on; else all of it."""
    if config.cut_at is None:
        return response
    for place, token in enumerate(response.tokens):
        if place >= config.cut_after and config.cut_at in language.decode([token]):
            kept = response.tokens[: place + 1]
            return replace(response, tokens=kept, text=language.decode(kept))
    return response


def scores_of(
    reward: TextReward,
    language: LanguageModel,
    responses: Sequence[Response],
    config: ScoringConfig,
) -> tuple[Tensor, Tensor]:
    """Scores responses, to train a policy.

    Returns:
        Scores of the members, shape (M, B), and their aggregate, shape (B,), with the score for
        incomplete responses.
    """
    parts = [scored_part(language, response, config) for response in responses]
    members, scores = reward.rewards(parts)
    if config.missing_score is not None:
        complete = torch.tensor([_is_complete(language, part, config) for part in parts])
        scores = torch.where(complete, scores, torch.full_like(scores, config.missing_score))
    return members, scores


def _is_complete(language: LanguageModel, part: Response, config: ScoringConfig) -> bool:
    if config.cut_at is None:
        return bool(part.tokens) and part.tokens[-1] in language.end_tokens
    late_enough = len(part.tokens) > config.cut_after
    return late_enough and config.cut_at in language.decode(part.tokens[-1:])
