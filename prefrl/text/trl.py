"""The reward of a finished or running alignment as a reward function for TRL's trainers.

TRL itself is not needed here: it takes any callable (TRL 1.16, ``RLOOTrainer`` and
``GRPOTrainer``, ``_calculate_rewards``).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from prefrl.core.ensemble import Aggregate
from prefrl.core.loss import preference_probability
from prefrl.core.selection import disagreement_scores
from prefrl.errors import ConfigError, RunDirectoryError
from prefrl.runtime.devices import choose_devices
from prefrl.runtime.rundir import RunDirectory
from prefrl.runtime.rundir.weights import latest_weights, put_into
from prefrl.text.config import AlignConfig, align_config_from_json
from prefrl.text.data.prompts import cut_prompt, messages_of
from prefrl.text.nets.models import LanguageModel
from prefrl.text.nets.reward_model import TextReward
from prefrl.text.nets.scoring import scores_of
from prefrl.text.responses import Prompt, Response
from prefrl.text.start import new_reward, starting_model

__all__ = ["EnsembleReward", "ensemble_reward"]

Text = str | Sequence[dict[str, Any]]
"""A text, or the messages of a conversation, each with role and content."""


def ensemble_reward(
    run: RunDirectory | str | os.PathLike[str],
    *,
    aggregate: Aggregate | None = None,
    k: float | None = None,
    device: str | None = None,
) -> EnsembleReward:
    """A run's reward ensemble, for ``reward_funcs`` of a TRL trainer.

    Args:
        run: A run of ``prefrl align``; its newest published weights are loaded once, and kept.
        aggregate: How the members' scores become one; by default as in the run.
        k: Weight of the variance in mean-k-var; by default as in the run.
        device: Device to score on; by default the run's. A run on the GPU may be read on a CPU.

    Raises:
        ConfigError: If the model cannot be loaded, or there is no such device or aggregate.
        RunDirectoryError: If it is not such a run, or has published no weights.
    """
    opened = run if isinstance(run, RunDirectory) else RunDirectory.open(run)
    content = opened.read_json(opened.config)
    if not {"prompts", "reward"} <= set(content):
        raise RunDirectoryError(
            f"expected a run of prefrl align, which fits a reward for responses, but {opened.root} "
            "is another one; give the folder of such a run."
        )
    config = align_config_from_json(content)
    if aggregate not in (None, "mean", "min", "mean-k-var"):
        raise ConfigError(f"expected aggregate to be mean, min or mean-k-var, got {aggregate!r}.")
    weights = latest_weights(opened.reward)
    place = choose_devices(config.device if device is None else device)[0]
    chosen = replace(
        config.reward,
        aggregate=aggregate or config.reward.aggregate,
        k=config.reward.k if k is None else k,
    )
    language = starting_model(config, place)
    reward = new_reward(config, language, shares=False, settings=chosen, is_fitted=True)
    reward = reward.to(place)
    put_into(reward, weights)
    return EnsembleReward(reward, language, config, version=weights.version)


class EnsembleReward:
    """A reward function for TRL's RLOO and GRPO trainers.

    Responses are scored as in the run, whose settings say how prompts are cut and which part of a
    response is scored.

    Args:
        reward: The ensemble.
        language: Language model whose tokens it reads.
        config: Config of the run.
        version: Version of its weights.
    """

    def __init__(
        self, reward: TextReward, language: LanguageModel, config: AlignConfig, *, version: int
    ) -> None:
        self.reward = reward
        """The ensemble."""
        self.version = version
        """Version of its weights."""
        self.__name__ = f"ensemble_{reward.config.aggregate}"
        """Name under which TRL logs its rewards."""
        self._language = language
        self._config = config

    @property
    def source(self) -> str:
        """The name of the model whose tokens it reads."""
        return self._language.source

    @property
    def context(self) -> int:
        """Most tokens of prompt and completion together."""
        return self._language.context

    def __call__(
        self,
        prompts: Sequence[Text],
        completions: Sequence[Text],
        completion_ids: Sequence[Sequence[int]] | None = None,
        *,
        log_metric: Callable[[str, float], None] | None = None,
        **others: Any,
    ) -> list[float]:
        """Computes the rewards of completions.

        Args:
            prompts: B texts, or conversations as lists of messages.
            completions: A completion of each: texts, or lists of one message.
            completion_ids: Their tokens. If the run's tokenizer decodes them to the same text, they
                are scored as they are; otherwise the text is, with an end token.
            log_metric: Called with the ``disagreement``, in [0, 0.5]: the standard deviation of the
                members' preferences, averaged over one pair for each prompt. Not called if no
                prompt has two completions.
            others: Further arguments that TRL passes, which are ignored.

        Returns:
            B numbers: normalised scores, aggregated.

        Raises:
            ConfigError: If a prompt or completion is neither text nor messages of text, has nothing
                left after cuts, or is too long for the model that scores.
        """
        ids = [None] * len(prompts) if completion_ids is None else completion_ids
        responses = [self.response(*each) for each in zip(prompts, completions, ids, strict=True)]
        if not responses:
            return []
        members, scores = self.scores(responses)
        pairs = _a_pair_to_each_prompt(responses)
        if log_metric is not None and pairs:
            log_metric("disagreement", _disagreement(members, pairs))
        rewards: list[float] = scores.tolist()
        return rewards

    def response(
        self,
        told: Text,
        completion: Text,
        ids: Sequence[int] | None = None,
        *,
        as_written: bool = False,
    ) -> Response:
        """Makes a response from a completion to a prompt, as it is scored.

        Args:
            told: The prompt.
            completion: The completion.
            ids: Its tokens, if they are known.
            as_written: Whether both already include their special tokens: then a prompt with a
                chat template gets no other, and the completion gets no end token.

        Raises:
            ConfigError: As for a call.
        """
        language = self._language
        prompt, text = self._prompt(told, as_written=as_written), _said(completion)
        tokens = None if ids is None else tuple(int(i) for i in ids)
        if tokens is None or not language.reads(tokens, text):
            found = language.response(prompt, text, closes=not as_written)
            tokens, text = found.tokens, found.text if as_written else text
        n_tokens = len(prompt.tokens) + len(tokens)
        if n_tokens > language.context:
            raise ConfigError(
                f"expected prompt and completion of at most {language.context} tokens, the context "
                f"of {language.source}, whose reward this is, got {n_tokens}; lower "
                "max_completion_length, or shorten the prompts."
            )
        return Response(prompt.text, text, prompt.tokens, tokens, prompt.messages)

    def scores(self, responses: Sequence[Response]) -> tuple[Tensor, Tensor]:
        """Normalised scores of the members, shape (M, B), and aggregated, shape (B,)."""
        return scores_of(self.reward, self._language, responses, self._config.scoring)

    def _prompt(self, told: Text, *, as_written: bool) -> Prompt:
        asked = told if isinstance(told, str) else messages_of(list(told))
        if not asked:
            raise ConfigError(
                f"expected a prompt that is a text, or messages with role and content, got "
                f"{str(told)[:80]!r}."
            )
        config, mark = self._config, self._language.turn_mark
        has_template = as_written and isinstance(asked, str) and bool(mark) and mark in asked
        chat = config.chat and not has_template
        return cut_prompt(self._language, asked, config.prompt, chat=chat)


def _said(completion: Text) -> str:
    """The text of a completion."""
    if isinstance(completion, str):
        return completion
    messages = messages_of(list(completion))
    if len(messages) != 1:
        raise ConfigError(
            f"expected a completion that is a text, or one message with role and content, got "
            f"{str(completion)[:80]!r}."
        )
    return messages[0][1]


def _a_pair_to_each_prompt(responses: Sequence[Response]) -> list[tuple[int, int]]:
    """Positions of the first two responses to each prompt that has two."""
    places: dict[tuple[int, ...], list[int]] = {}
    for place, response in enumerate(responses):
        places.setdefault(response.prompt_tokens, []).append(place)
    return [(found[0], found[1]) for found in places.values() if len(found) > 1]


def _disagreement(members: Tensor, pairs: Sequence[tuple[int, int]]) -> float:
    lefts, rights = torch.tensor(pairs).T
    preferences = preference_probability(members[:, lefts], members[:, rights])  # (M, C)
    return float(disagreement_scores(preferences.numpy()).mean())
