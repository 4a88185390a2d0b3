"""Scores of texts for a server: prompts and responses from JSON, scored by the newest reward."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from prefrl.errors import ConfigError
from prefrl.runtime.rundir import RunDirectory
from prefrl.runtime.scorer import Asked, Kind, Newest, Scores, shortened
from prefrl.text.data.prompts import prompt_and_response
from prefrl.text.responses import Response
from prefrl.text.trl import EnsembleReward, ensemble_reward

__all__ = ["ServedTexts", "serve_texts"]

_FORMS = (
    '{"prompt": TEXT or MESSAGES, "response": TEXT}, {"messages": MESSAGES} that end with what an '
    'assistant said, or {"items": [such objects]}'
)


def serve_texts(run: RunDirectory, *, device: str | None) -> ServedTexts:
    """Loads the reward of a language model's run.

    Raises:
        RunDirectoryError: If it is not such a run, or has published no weights.
        ConfigError: If its model cannot be loaded.
    """
    return ServedTexts(ensemble_reward(run, device=device), run)


class ServedTexts:
    """A ``Scorer`` of responses to prompts.

    Args:
        function: The reward of the run.
        run: Run that newer weights come from.
    """

    kind: Kind = "texts"

    def __init__(self, function: EnsembleReward, run: RunDirectory) -> None:
        self._function = function
        self._newest = Newest(run.reward, function.version)

    @property
    def version(self) -> int:
        """Version of the weights in use."""
        return self._function.version

    def about(self) -> dict[str, Any]:
        """Describes the reward: its origin and its inputs."""
        return {
            "model": self._function.source,
            "members": self._function.reward.n_members,
            "aggregate": self._function.reward.config.aggregate,
            "context": self._function.context,
            "reads": ["prompt", "response"],
        }

    def read(self, told: Mapping[str, Any]) -> Asked:
        """As ``Scorer.read``: one text, or several in ``items``."""
        if "items" not in told:
            response = self._response(told, "the request")
            return Asked([response], (), _cost(response))
        items = told["items"]
        if set(told) != {"items"} or not isinstance(items, list) or not items:
            raise ConfigError(f"expected {_FORMS}, at least one of them, got {shortened(told)}.")
        responses = [self._response(one, f"item {n}") for n, one in enumerate(items)]
        return Asked(responses, (len(responses),), sum(map(_cost, responses)))

    def _response(self, told: Any, where: str) -> Response:
        is_object = isinstance(told, Mapping)
        names = set(told) - {"as_written"} if is_object else set()
        as_written = told.get("as_written", False) if is_object else False
        if names not in ({"prompt", "response"}, {"messages"}) or not isinstance(as_written, bool):
            raise ConfigError(f"expected {where} as {_FORMS}, got {shortened(told)}.")
        said = told["messages"] if names == {"messages"} else told["response"]
        found = prompt_and_response(told.get("prompt", ()), said) if _is_said(said) else None
        if found is None:
            raise ConfigError(f"expected {where} as {_FORMS}, got {shortened(told)}.")
        asked: Any = found[0]
        if not isinstance(asked, str):
            asked = [{"role": role, "content": content} for role, content in asked]
        try:
            return self._function.response(asked, found[1], as_written=as_written)
        except ConfigError as error:
            raise ConfigError(f"{where}: {error}") from error

    def score(self, asked: Sequence[Asked]) -> list[Scores]:
        """As ``Scorer.score``. Responses of similar lengths go together, for little padding."""
        responses = [response for one in asked for response in one.content]
        order = sorted(range(len(responses)), key=lambda place: _cost(responses[place]))
        members, scores = self._function.scores([responses[place] for place in order])
        back = np.argsort(order)
        each, together = members.numpy()[:, back], scores.numpy()[back]
        ends = np.cumsum([len(one.content) for one in asked])
        return [
            Scores(
                together[end - len(one.content) : end].reshape(one.shape),
                each[:, end - len(one.content) : end].reshape(len(each), *one.shape),
                self.version,
            )
            for one, end in zip(asked, ends, strict=True)
        ]

    def refresh(self) -> None:
        """As ``Scorer.refresh``."""
        self._function.version = self._newest.put_into(self._function.reward)


def _cost(response: Response) -> int:
    return len(response.prompt_tokens) + len(response.tokens)


def _is_said(said: Any) -> bool:
    """Whether it has a type that a response may have."""
    return isinstance(said, str | list)
