"""Files of prompts: a line of text each, or JSON lines."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prefrl.errors import ConfigError
from prefrl.text.nets.models import LanguageModel
from prefrl.text.responses import Prompt

__all__ = [
    "PromptConfig",
    "PromptText",
    "cut_prompt",
    "messages_of",
    "numbered_lines",
    "parsed",
    "prompt_and_response",
    "read_prompts",
]

PromptText = str | tuple[tuple[str, str], ...]
"""A text to go on from; or the messages of a conversation, each a role and what was said."""


_ASSISTANT = "assistant"


@dataclass(frozen=True)
class PromptConfig:
    """What of a prompt the model is given; by default all."""

    mark: str | None = None
    """Begin behind the first mark such as "." in a text, and end with its last one (detail P3)."""
    max_tokens: int | None = None
    """Cut prompts to so many tokens, before the last mark is looked for (G2)."""

    def __post_init__(self) -> None:
        if self.mark == "":
            raise ConfigError("expected mark to be a text such as '.', got an empty one.")
        if self.max_tokens is not None and self.max_tokens < 1:
            raise ConfigError(f"max_tokens must be at least 1, got {self.max_tokens}.")


def cut_prompt(
    language: LanguageModel, told: PromptText, config: PromptConfig, *, chat: bool = False
) -> Prompt:
    """A prompt, or what of it the settings leave.

    Args:
        language: Whose tokens are counted.
        told: A text, or a conversation: of that nothing is cut.
        config: Settings.
        chat: Whether a text is what a user says: then nothing is cut of it either.

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


def read_prompts(path: Path) -> list[PromptText]:
    """Reads prompts: of ``.txt`` each line, of ``.jsonl`` each object's "prompt" or "messages".

    Args:
        path: The file, in UTF-8. Empty lines are left out.

    Raises:
        ConfigError: If it cannot be read, holds no prompt, or a line is no prompt: with its number.
    """
    numbered = numbered_lines(path, "prompts", "a .txt with a prompt in each line, or a .jsonl")
    if path.suffix != ".jsonl":
        return [line for _, line in numbered]
    return [_prompt(path, number, line) for number, line in numbered]


def numbered_lines(path: Path, what: str, form: str) -> list[tuple[int, str]]:
    """The lines of a file that are not empty, with their numbers from 1.

    Args:
        path: The file, in UTF-8.
        what: What it should hold.
        form: What to give instead of a file that cannot be read.

    Raises:
        ConfigError: If it cannot be read, or holds none.
    """
    try:
        # Not splitlines: JSON may hold other line separators, such as U+2028, as they are.
        lines = path.read_text(encoding="utf-8").split("\n")
    except UnicodeDecodeError as error:
        raise ConfigError(f"expected {path} to be text in UTF-8, but {error.reason}.") from error
    except OSError as error:
        raise ConfigError(
            f"expected a file of {what} in {path}, but {error.strerror}; give {form}."
        ) from error
    numbered = [(number, line) for number, line in enumerate(lines, 1) if line.strip()]
    if not numbered:
        raise ConfigError(f"expected {what} in {path}, but it is empty.")
    return numbered


def parsed(path: Path, number: int, line: str) -> Any:
    """What a line holds as JSON.

    Raises:
        ConfigError: If it is broken, with its number.
    """
    try:
        return json.loads(line)
    except ValueError as error:
        raise ConfigError(f"expected JSON in line {number} of {path}, but {error}.") from error


def _prompt(path: Path, number: int, line: str) -> PromptText:
    where, row = f"line {number} of {path}", parsed(path, number, line)
    told = row.get("prompt", row.get("messages")) if isinstance(row, dict) else row
    if isinstance(told, str) and told.strip():
        return told
    messages = messages_of(told)
    if messages:
        return messages
    raise ConfigError(
        f'expected {{"prompt": a text}} or {{"messages": [{{"role": …, "content": …}}]}} in '
        f"{where}, got {line[:80]!r}."
    )


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
    """A prompt and a response to it, from the forms in which data sets have them.

    Args:
        prompt: A text, or messages; nothing where it is told in the messages of the response.
        said: A text; or messages, which may begin with those of the prompt. The response is what an
            assistant says last in them, and what follows it is left out.

    Returns:
        None if they are no such things.
    """
    if isinstance(said, str):
        before = messages_of(prompt) or prompt
        return (before, said) if isinstance(before, str | tuple) and before else None
    if not isinstance(prompt, str):
        return _last_response(messages_of(prompt), said)
    # Where a prompt is told as text besides, the messages begin with it.
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
