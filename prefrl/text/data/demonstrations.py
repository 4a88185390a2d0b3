"""Demonstrations: what a model should write, from JSON lines in the usual forms.

::

    {"prompt": …, "completion": …}                 both texts, or lists of messages
    {"messages": [ … ]}                            what an assistant says last, to all before it
    {"text": …}                                    plain text: all after its first token
    {"prompt": …, "chosen": …, "rejected": …}      a preference, of which chosen is taken
    {"prompt": …, "responses": […], "ranks": […]}  a ranking, or with scores: the best one is taken
    {"prompt": …, "response": …, "label": true}    a single response that is good

A message is ``{"role": …, "content": …}``. If a row has several of these columns, the first one in
this order counts: messages, responses, completion, chosen, text, response.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prefrl.errors import ConfigError
from prefrl.text.data.forms import DataConfig, Seen, in_our_form, places_of
from prefrl.text.data.items import fitted
from prefrl.text.data.prompts import PromptConfig, PromptText, cut_prompt, prompt_and_response
from prefrl.text.data.sources import numbered_rows
from prefrl.text.nets.models import LanguageModel
from prefrl.text.responses import Response

__all__ = ["Demonstration", "Demonstrations", "as_examples", "read_demonstrations"]

_WHOLE = PromptConfig()
_PLAIN = DataConfig()
_SAID = frozenset(("messages", "completion", "chosen", "responses"))
_FORMS = (
    '{"prompt", "completion"}, {"messages"}, {"text"} or {"prompt", "chosen", "rejected"}, with '
    "texts that are not empty, or messages of which an assistant's is the last,"
)


@dataclass(frozen=True)
class Demonstration:
    """A response that a model should learn, with its prompt."""

    prompt: PromptText | None
    """The prompt; None for plain text, which has none."""
    response: str
    """The response, or plain text."""
    where: str
    """Its place in the data, for errors."""


@dataclass(frozen=True)
class Demonstrations:
    """Demonstrations as a model sees them."""

    examples: list[Response]
    """In the order of the file; each has a token to learn. People see an empty prompt for plain
    text; the model continues its first token."""
    n_cut: int
    """Number of examples that were cut."""
    n_dropped: int = 0
    """Number of demonstrations that were left out because they were too long."""


def read_demonstrations(
    path: Path,
    config: DataConfig = _PLAIN,
    *,
    chat: bool = False,
    seen: Seen | None = None,
) -> list[Demonstration]:
    """Reads demonstrations; from preferences, the best response.

    Args:
        path: A file, a folder, a glob, or the id of a data set.
        config: How it is read.
        chat: Whether transcripts become conversations.
        seen: Records what was found.

    Raises:
        ConfigError: If there is no row, or one has none of the forms: with its number, from 1. Or
            if columns of strengths are named.
        MissingExtraError: If ``datasets`` is needed and not installed.
    """
    if config.is_soft:
        raise ConfigError(
            "expected no data.preference and data.margin for demonstrations, of which the best "
            "response is learned whole; leave these options out."
        )
    seen = Seen() if seen is None else seen
    rows = numbered_rows(path, "demonstrations", config)
    return [_demonstration(row, where, config, seen, chat=chat) for where, row in rows]


def _demonstration(
    row: Any, where: str, config: DataConfig, seen: Seen, *, chat: bool
) -> Demonstration:
    told = in_our_form(row, where, config, seen, chat=chat)
    told = told if isinstance(told, dict) else {}
    if told.get("label") is False:
        raise ConfigError(
            f"expected demonstrations, but {where} is a response that was found bad; leave such "
            "rows out."
        )
    if told.get("text") and isinstance(told["text"], str) and not _SAID.intersection(told):
        return Demonstration(None, told["text"], where)
    try:
        found = _found(told)
    except (KeyError, TypeError, ValueError):  # a malformed ranking
        found = None
    if found is None or not found[1]:
        raise ConfigError(
            f"expected {_FORMS} in {where}, got {json.dumps(row, default=str)[:120]}; or name its "
            "columns as prompt and completion."
        )
    return Demonstration(*found, where)


def _found(told: dict[str, Any]) -> tuple[PromptText, str] | None:
    """The prompt of a row and the response to it; None if it has none."""
    prompt = told.get("prompt")
    if "messages" in told:
        return prompt_and_response((), told["messages"])
    if "responses" in told and ("ranks" in told or "scores" in told):
        places = zip(places_of(told), told["responses"], strict=True)
        return prompt_and_response(prompt, min(places, key=lambda place: place[0])[1])
    said = (told[name] for name in ("completion", "chosen", "response") if name in told)
    return prompt_and_response(prompt, next(said, None))


def as_examples(
    demonstrations: Sequence[Demonstration],
    language: LanguageModel,
    *,
    max_tokens: int | None = None,
    chat: bool = False,
    prompt: PromptConfig = _WHOLE,
    too_long: str = "refuse",
) -> Demonstrations:
    """Converts demonstrations to tokens; a completion that is cut gets no end token.

    Args:
        demonstrations: Demonstrations that were read.
        language: Language model that will learn them.
        max_tokens: Most tokens of prompt and completion together.
        chat: Whether prompts that are texts are a user's messages.
        prompt: Which part of a prompt the model is given.
        too_long: What to do with examples longer than ``max_tokens``, or than the model's context;
            see ``DataConfig``. With ``max_tokens``, refuse cuts completions instead.

    Raises:
        ConfigError: If one does not fit, or the model cannot take its prompt: with its number.
    """
    if max_tokens is not None and max_tokens > language.context:
        raise ConfigError(
            f"expected max_tokens to be at most {language.context}, which the context of "
            f"{language.source} holds, got {max_tokens}."
        )
    examples: list[Response] = []
    n_cut = 0
    for demonstration in demonstrations:
        example = _example(demonstration, language, prompt, chat=chat)
        n_tokens, where = len(example.prompt_tokens) + len(example.tokens), demonstration.where
        if too_long == "refuse" and max_tokens is not None and n_tokens > max_tokens:
            found, is_cut = [_cut(example, language, max_tokens, where)], True
        else:
            found, how = fitted(
                [example], language, too_long=too_long, where=where, room=max_tokens
            )
            is_cut = bool(found and how)
        examples += found
        n_cut += is_cut
    return Demonstrations(examples, n_cut, len(demonstrations) - len(examples))


def _example(
    told: Demonstration, language: LanguageModel, config: PromptConfig, *, chat: bool
) -> Response:
    if told.prompt is None and chat:
        raise ConfigError(
            f"expected prompts to put a chat template around, but {told.where} is plain text; "
            "leave chat out."
        )
    try:
        if told.prompt is None:
            prompt = language.prompt(told.response)
        else:
            prompt = cut_prompt(language, told.prompt, config, chat=chat)
    except ConfigError as error:
        raise ConfigError(f"{told.where}: {error}") from error
    if told.prompt is not None:
        example = language.response(prompt, told.response)
    else:
        end = () if language.end_token is None else (language.end_token,)
        first, rest = prompt.tokens[:1], (*prompt.tokens[1:], *end)
        example = Response("", language.decode(prompt.tokens), first, rest)
    if not example.tokens:
        raise ConfigError(f"expected a token to learn in {told.where}, got {told.response!r}.")
    return example


def _cut(example: Response, language: LanguageModel, max_tokens: int, where: str) -> Response:
    room = max_tokens - len(example.prompt_tokens)
    if room < 1:
        raise ConfigError(
            f"{where} has {len(example.prompt_tokens)} tokens in its prompt alone, which leaves "
            f"nothing to learn within max_tokens {max_tokens}; shorten it, or raise max_tokens."
        )
    tokens = example.tokens[:room]
    return Response(example.prompt, language.decode(tokens), example.prompt_tokens, tokens)
