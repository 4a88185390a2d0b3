"""Preference data that exists already, and what goes out: JSON lines in the usual forms.

::

    {"prompt": …, "chosen": …, "rejected": …}                 preference
    {"prompt": …, "responses": [… ], "ranks": [1, 2, 2]}      ranking, 1 is the best
    {"prompt": …, "responses": [… ], "scores": [0.3, 0.1]}    ranking, higher is better
    {"prompt": …, "completion": …, "label": true}             unpaired

A prompt is a text or a list of messages; ``chosen`` and ``rejected`` may be lists of messages that
begin with the prompt's.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prefrl.errors import ConfigError, MissingExtraError
from prefrl.text.prompts import PromptText, numbered_lines, parsed

__all__ = ["Ranking", "numbered_rows", "read_rankings"]

_FORMS = (
    '{"prompt", "chosen", "rejected"}, or {"prompt", "responses", "ranks" or "scores"}, where a '
    "prompt is a text or a list of messages,"
)


@dataclass(frozen=True)
class Ranking:
    """Responses to one prompt; a pair is a ranking of two."""

    prompt: PromptText
    """What was responded to."""
    responses: tuple[str, ...]
    """K responses."""
    ranks: tuple[float, ...]
    """The place of each; the lowest is the best, and equal ones are ties."""

    def pairs(self) -> Iterator[tuple[int, int]]:
        """All K (K - 1) / 2 pairs of places, ties included."""
        yield from itertools.combinations(range(len(self.responses)), 2)


def read_rankings(path: Path) -> list[Ranking]:
    """Reads preferences and rankings from JSON lines or a folder of the library ``datasets``.

    Raises:
        ConfigError: If there is nothing, or a row has none of the forms: with its number, from 1.
        MissingExtraError: If it is a folder and ``datasets`` is not installed.
    """
    return [_ranking(row, where) for where, row in numbered_rows(path, "preferences")]


def numbered_rows(path: Path, what: str) -> Iterator[tuple[str, Any]]:
    """The rows of JSON lines or of a folder of ``datasets``, each with where it stands.

    Args:
        path: The file or the folder.
        what: What it should hold.

    Raises:
        ConfigError: If there is none, or a line is broken: with its number, from 1.
        MissingExtraError: If it is a folder and ``datasets`` is not installed.
    """
    if not path.is_dir():
        form = "JSON lines, or a folder that datasets saved"
        for number, line in numbered_lines(path, what, form):
            yield f"line {number} of {path}", parsed(path, number, line)
        return
    try:
        rows = _data_set(path)
        n_rows = len(rows)
    except IndexError:  # of datasets, which cannot load what it saved without a row
        n_rows = 0
    if n_rows == 0:
        raise ConfigError(f"expected {what} in {path}, but it is empty.")
    for number, row in enumerate(rows, 1):
        yield f"row {number} of {path}", row


def _data_set(path: Path) -> Any:
    try:
        import datasets
    except ImportError as error:
        raise MissingExtraError(
            "expected datasets, which reads such folders, but it is not installed; "
            "pip install 'prefrl[text]'"
        ) from error
    try:
        found = datasets.load_from_disk(str(path))
    except (FileNotFoundError, ValueError) as error:
        raise ConfigError(
            f"expected a folder that datasets saved in {path}, but {error}"
        ) from error
    if not isinstance(found, datasets.DatasetDict):
        return found
    if "train" not in found:
        raise ConfigError(
            f"expected a split named train in {path}, got {', '.join(found)}; give the folder of "
            "the split that you mean."
        )
    return found["train"]


def _ranking(row: Any, where: str) -> Ranking:
    if isinstance(row, dict) and "label" in row:
        raise ConfigError(
            f"expected comparisons, but {where} is a single response with a label; a reward model "
            "and the methods here need pairs."
        )
    try:
        if "chosen" in row:
            prompt, (chosen, rejected) = _split(row.get("prompt"), row["chosen"], row["rejected"])
            return Ranking(prompt, (chosen, rejected), (1, 2))
        ranks = row["ranks"] if "ranks" in row else [-float(score) for score in row["scores"]]
        responses = [str(response) for response in row["responses"]]
        if len(ranks) != len(responses) or len(responses) < 2:
            raise ValueError
        return Ranking(_prompt(row["prompt"]), tuple(responses), tuple(map(float, ranks)))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ConfigError(
            f"expected {_FORMS} in {where}, got {json.dumps(row, default=str)[:120]}."
        ) from error


def _split(prompt: Any, chosen: Any, rejected: Any) -> tuple[PromptText, tuple[str, str]]:
    """The prompt, and the two responses as texts; messages that both share are the prompt."""
    if isinstance(chosen, str) and isinstance(rejected, str):
        return _prompt(prompt), (chosen, rejected)
    messages = [*(prompt or [])], list(chosen), list(rejected)
    shared = messages[0]
    if not shared:
        same = itertools.takewhile(
            lambda pair: pair[0] == pair[1], zip(*messages[1:], strict=False)
        )
        shared = [first for first, _ in same]
    texts = []
    for said in messages[1:]:
        rest = said[len(shared) :] if said[: len(shared)] == shared else said
        (last,) = rest  # one message of the assistant's
        texts.append(str(last["content"]))
    return _prompt(shared), (texts[0], texts[1])


def _prompt(told: Any) -> PromptText:
    if isinstance(told, str) and told:
        return told
    if not isinstance(told, Sequence) or not told or isinstance(told, str):
        raise ValueError
    return tuple((str(message["role"]), str(message["content"])) for message in told)
