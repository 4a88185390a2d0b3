"""The rows of ``metrics.csv``: figures of a batch, or of gradient steps on answers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from torch import Tensor

from prefrl.core.ensemble import member_preferences
from prefrl.core.selection import disagreement_scores
from prefrl.runtime.partners import UsedReward
from prefrl.runtime.rundir.tables import Metrics
from prefrl.text.gold import Gold
from prefrl.text.nets.reward_model import TextReward
from prefrl.text.responses import Response

__all__ = ["has_ended", "improvement", "of_responses", "of_reward"]

_OF_RESPONSES = ("gold_mean", "score_mean", "score_std", "disagreement", "length", "ended")
_OF_IMPROVEMENT = (
    "kl", "kl_coef", "entropy", "policy", "value", "approx_kl", "clip_fraction", "ptx",
    "loss", "rewards/chosen", "rewards/rejected", "rewards/margins", "rewards/accuracies",
    "logps/chosen", "logps/rejected", "update",
)  # fmt: skip


def of_responses(
    responses: Sequence[Response],
    scores: Tensor,
    *,
    gold: Gold | None,
    reward: TextReward | None,
    per_prompt: int,
    ends: frozenset[int],
) -> Metrics:
    """Columns about responses; NaN without any.

    Args:
        responses: B responses, equally many to each prompt, prompt by prompt.
        scores: Their scores, shape (B,).
        gold: The gold score, if there is one.
        reward: The ensemble, once it is fitted, for its disagreement about the first two responses
            to each prompt: the standard deviation of the members' preferences.
        per_prompt: Responses to each prompt.
        ends: Ids that end a response, for the share of responses that ended.
    """
    if not responses:
        return dict.fromkeys(_OF_RESPONSES, math.nan)
    disagreement = math.nan
    if reward is not None:
        lefts, rights = responses[::per_prompt], responses[1::per_prompt]
        preferences = member_preferences(reward, lefts, rights).numpy()
        disagreement = float(disagreement_scores(preferences).mean())
    golds = [] if gold is None else [gold(response.text) for response in responses]
    values = (
        float(np.mean(golds)) if golds else math.nan,
        float(scores.mean()),
        float(scores.std()),
        disagreement,
        float(np.mean([len(response.tokens) for response in responses])),
        float(np.mean([has_ended(response, ends) for response in responses])),
    )
    return dict(zip(_OF_RESPONSES, values, strict=True))


def has_ended(response: Response, ends: frozenset[int]) -> bool:
    """Whether a response ended by itself, with an end token."""
    return bool(response.tokens) and response.tokens[-1] in ends


def of_reward(used: UsedReward, n_sampled: int) -> Metrics:
    """Columns about the reward that scored the responses."""
    return {
        "reward_version": used.version,
        "reward_age": max(0, n_sampled - used.run_steps),
        "holdout_accuracy": used.holdout_accuracy,
        "fit_steps": used.fit_steps,
    }


def improvement(row: Mapping[str, float]) -> Metrics:
    """Columns about an update; NaN for those that it does not report."""
    return {name: row.get(name, math.nan) for name in _OF_IMPROVEMENT}
