"""Prompts: one per line of text, or rows of data."""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prefrl.errors import ConfigError
from prefrl.text.data.forms import DataConfig, Seen, in_our_form
from prefrl.text.data.sources import (
    SourceConfig,
    absolute_source,
    is_plain_text,
    numbered_lines,
    numbered_rows,
)
from prefrl.text.nets.models import LanguageModel
from prefrl.text.responses import Prompt

__all__ = [
    "EVERYDAY",
    "PromptConfig",
    "PromptText",
    "PromptsConfig",
    "absolute_prompts",
    "cut_prompt",
    "messages_of",
    "prompt_and_response",
    "read_prompts",
]

PromptText = str | tuple[tuple[str, str], ...]
"""A text to continue; or the messages of a conversation, each a role and its content."""


EVERYDAY = Path(__file__).parent / "everyday.txt"
"""Openings of sentences about everyday things, which come with prefrl."""

_ASSISTANT = "assistant"


@dataclass(frozen=True)
class PromptConfig:
    """Which part of a prompt the model is given; by default all of it."""

    mark: str | None = None
    """Begin after the first mark, such as ".", and end with the last one (detail P3)."""
    max_tokens: int | None = None
    """Cut prompts to so many tokens, before the search for the last mark (G2)."""

    def __post_init__(self) -> None:
        if self.mark == "":
            raise ConfigError("expected mark to be a text such as '.', got an empty one.")
        if self.max_tokens is not None and self.max_tokens < 1:
            raise ConfigError(f"max_tokens must be at least 1, got {self.max_tokens}.")


@dataclass(frozen=True)
class PromptsConfig(SourceConfig):
    """Which part of a data set is read as prompts."""

    column: str | None = None
    """Name of the column of prompts, if not prompt."""


def cut_prompt(
    language: LanguageModel, told: PromptText, config: PromptConfig, *, chat: bool = False
) -> Prompt:
    """Makes a prompt, cut as the settings say.

    Args:
        language: Language model whose tokens are counted.
        told: A text; or a conversation, which is not cut.
        config: Settings.
        chat: Whether a text is a user's message, which is not cut either.

    Raises:
        ConfigError: If nothing is left.
    """
    whole = language.prompt(told, chat=chat)
    if config == PromptConfig() or chat or not isinstance(told, str):
        return whole
    if config.mark is not None:
        whole = language.prompt(told.partition(config.mark)[2] or " ")
    tokens = list(whole.tokens[: config.max_tokens])
    while config.mark is not None and tokens and config.mark not in language.decode(tokens[-1:]):
        tokens.pop()
    if not tokens:
        raise ConfigError(
            f"expected a prompt with something between two marks {config.mark!r}, got "
            f"{told[:80]!r}; give other prompts, or leave prompt.mark out."
        )
    return Prompt(language.decode(tokens), tuple(tokens))


def absolute_prompts(path: Path) -> str:
    """The name of a source of prompts, valid in any working directory."""
    return str(path) if _come_along(path) else absolute_source(path)


def _come_along(path: Path) -> bool:
    """Whether this names the prompts of prefrl; an existing file or folder takes precedence."""
    return path == Path("everyday") and not path.exists()


def read_prompts(
    path: Path,
    config: PromptsConfig | None = None,
    *,
    chat: bool = False,
    seen: Seen | None = None,
) -> list[PromptText]:
    """Reads prompts: each line of text, or the "prompt" or "messages" of each row of data.

    Text is a ``.txt``, or a file with another name that does not mean data and without JSON.

    Args:
        path: A file, a folder, a glob, or the id of a data set; preferences have prompts, too. Or
            ``everyday``: those that come with prefrl.
        config: Which part of it is read.
        chat: Whether transcripts become conversations.
        seen: Records what was found.

    Raises:
        ConfigError: If it cannot be read, holds no prompt, or a row has none: with its number.
        MissingExtraError: If ``datasets`` is needed and not installed.
    """
    config = PromptsConfig() if config is None else config
    path = EVERYDAY if _come_along(path) else path
    if is_plain_text(path, "prompts"):
        lines = numbered_lines(path, "prompts", "a .txt with a prompt in each line, or data")
        return [line for _, line in itertools.islice(lines, config.limit)]
    columns = DataConfig(prompt=config.column)
    seen = Seen() if seen is None else seen
    rows = numbered_rows(path, "prompts", config)
    return [_prompt(row, where, columns, seen, chat=chat) for where, row in rows]


def _prompt(row: Any, where: str, columns: DataConfig, seen: Seen, *, chat: bool) -> PromptText:
    told = in_our_form(row, where, columns, seen, chat=chat)
    if isinstance(told, dict):
        found = prompt_and_response((), _said(told))
        if found is not None and ("prompt" not in told or told.get("system")):
            return found[0]
        told = told.get("prompt", told.get("messages"))
    if isinstance(told, str) and told.strip():
        return told
    messages = messages_of(told)
    if messages:
        return messages
    raise ConfigError(
        f'expected {{"prompt": a text}} or {{"messages": [{{"role": …, "content": …}}]}} in '
        f"{where}, got {json.dumps(row, default=str)[:80]}; name the column of prompts, if there "
        "is one."
    )


def _said(told: dict[str, Any]) -> Any:
    """The response to the prompt of a row; the first of several."""
    several = told.get("responses")
    first = several[:1] if isinstance(several, list) else []
    sides = [told[name] for name in ("chosen", "completion", "response") if name in told]
    return next(iter(sides + first), None)


def messages_of(told: Any) -> tuple[tuple[str, str], ...]:
    """The messages of a conversation; none if it is something else."""
    if not isinstance(told, list):
        return ()
    try:
        messages = tuple((message["role"], message["content"]) for message in told)
    except (KeyError, TypeError):
        return ()
    return messages if all(isinstance(part, str) for m in messages for part in m) else ()


def prompt_and_response(prompt: Any, said: Any) -> tuple[PromptText, str] | None:
    """Returns a prompt and a response to it, from the forms that data sets use.

    Args:
        prompt: A text, or messages; nothing if the messages of the response include it.
        said: A text; or messages, which may begin with those of the prompt. The response is the
            last message of an assistant in them; what follows it is left out.

    Returns:
        None if they have another form.
    """
    if isinstance(said, str):
        before = messages_of(prompt) or prompt
        return (before, said) if isinstance(before, str | tuple) and before else None
    if not isinstance(prompt, str):
        return _last_response(messages_of(prompt), said)
    # If the prompt is also given as text, the messages begin with it.
    found = _last_response((), said)
    return found or (_last_response((("user", prompt),), said) if prompt else None)


def _last_response(before: tuple[tuple[str, str], ...], told: Any) -> tuple[PromptText, str] | None:
    messages = messages_of(told)
    if messages[: len(before)] != before:
        messages = before + messages
    said = [place for place, (role, _) in enumerate(messages) if role == _ASSISTANT]
    if not said or said[-1] < max(1, len(before)):
        return None
    return messages[: said[-1]], messages[said[-1]][1]
