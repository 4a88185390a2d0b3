"""Preference data that exists already, and what goes out: JSON lines in the usual forms.

::

    {"prompt": …, "chosen": …, "rejected": …}                 preference
    {"prompt": …, "responses": [… ], "ranks": [1, 2, 2]}      ranking, 1 is the best
    {"prompt": …, "responses": [… ], "scores": [0.3, 0.1]}    ranking, higher is better
    {"prompt": …, "completion": …, "label": true}             unpaired: good, or bad if false

A prompt is a text or a list of messages. Each response may be a list of messages, of which what an
assistant says last counts, and may then begin with the prompt's, also where the prompt is told as a
text besides. ``completion`` may be called ``response`` too; what is null does not count.
"""

from __future__ import annotations

import itertools
import json
import logging
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from prefrl.errors import ConfigError, MissingExtraError
from prefrl.text.data.prompts import PromptText, numbered_lines, parsed, prompt_and_response

__all__ = ["Labelled", "Preferences", "Ranking", "numbered_rows", "read_preferences"]

_FORMS = (
    '{"prompt", "chosen", "rejected"}, or {"prompt", "responses", "ranks" or "scores"}, or '
    '{"prompt", "completion", "label"}, where a prompt is a text or a list of messages, ranks and '
    "scores are finite numbers and a label true or false,"
)
_MOST_PAIRS = 100
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Ranking:
    """Responses to one prompt; a pair is a ranking of two."""

    prompt: PromptText
    """What was responded to."""
    responses: tuple[str, ...]
    """K responses."""
    ranks: tuple[float, ...]
    """The place of each; the lowest is the best, and equal ones are ties."""
    where: str = field(default="a ranking", compare=False)
    """Where it was read."""

    def pairs(self) -> Iterator[tuple[int, int]]:
        """All K (K - 1) / 2 pairs of places, ties included."""
        yield from itertools.combinations(range(len(self.responses)), 2)


@dataclass(frozen=True)
class Labelled:
    """A single response that is good or bad: thumbs up or down."""

    prompt: PromptText
    """What was responded to."""
    response: str
    """A response."""
    is_good: bool
    """What was said of it."""
    where: str = field(default="a response", compare=False)
    """Where it was read."""


@dataclass(frozen=True)
class Preferences:
    """What data says of responses."""

    rankings: list[Ranking]
    """Pairs and rankings."""
    labelled: list[Labelled]
    """Single responses."""

    def comparable(self) -> list[Ranking]:
        """The rankings, and the single responses to the same prompt as pairs: good ones are better.

        All pairs of good and bad ones; but if there are more than 100 to a prompt, 100 of them, in
        which all good ones come about equally often, and all bad ones: of more than 100 good or bad
        ones 100, from first to last. A response that is said to be both is in none.
        """
        by_prompt: dict[PromptText, dict[str, list[Labelled]]] = {}
        for one in self.labelled:
            by_prompt.setdefault(one.prompt, {}).setdefault(one.response, []).append(one)
        pairs = []
        for said in by_prompt.values():
            sure = [same[0] for same in said.values() if len({one.is_good for one in same}) == 1]
            pairs += _pairs([s for s in sure if s.is_good], [s for s in sure if not s.is_good])
        return [*self.rankings, *pairs]


def read_preferences(path: Path) -> Preferences:
    """Reads preferences from JSON lines or a folder of the library ``datasets``.

    Raises:
        ConfigError: If there is nothing, or a row has none of the forms: with its number, from 1.
        MissingExtraError: If it is a folder and ``datasets`` is not installed.
    """
    judged = [_judged(row, where) for where, row in numbered_rows(path, "preferences")]
    return Preferences(
        [one for one in judged if isinstance(one, Ranking)],
        [one for one in judged if isinstance(one, Labelled)],
    )


def _pairs(good: list[Labelled], bad: list[Labelled]) -> list[Ranking]:
    """Good and bad ones go round side by side, until there are 100 pairs or all."""
    if not good or not bad:
        return []
    n_all = len(good) * len(bad)
    if n_all > _MOST_PAIRS:
        _log.info(
            "of the %d pairs of a good and a bad response to one prompt, %d are taken",
            n_all,
            _MOST_PAIRS,
        )
    good, bad = _spread(good), _spread(bad)
    # After so many pairs both would be back at the first: bad ones move on by one.
    n_round = math.lcm(len(good), len(bad))
    return [
        _better(good[k % len(good)], bad[(k + k // n_round) % len(bad)])
        for k in range(min(n_all, _MOST_PAIRS))
    ]


def _spread(labelled: list[Labelled]) -> list[Labelled]:
    """As many as there may be pairs, from first to last, if there are more."""
    n = min(len(labelled), _MOST_PAIRS)
    return [labelled[k * len(labelled) // n] for k in range(n)]


def _better(good: Labelled, bad: Labelled) -> Ranking:
    return Ranking(good.prompt, (good.response, bad.response), (1, 2), where=good.where)


def numbered_rows(path: Path, what: str) -> Iterator[tuple[str, Any]]:
    """The rows of JSON lines or of a folder of ``datasets``, each with where it stands.

    What is None is left out: in a data set each row has all columns.

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
            yield f"line {number} of {path}", _told(parsed(path, number, line))
        return
    try:
        rows = _data_set(path)
        n_rows = len(rows)
    except IndexError:  # of datasets, which cannot load what it saved without a row
        n_rows = 0
    if n_rows == 0:
        raise ConfigError(f"expected {what} in {path}, but it is empty.")
    for number, row in enumerate(rows, 1):
        yield f"row {number} of {path}", _told(row)


def _told(row: Any) -> Any:
    return {k: v for k, v in row.items() if v is not None} if isinstance(row, dict) else row


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


def _judged(row: Any, where: str) -> Ranking | Labelled:
    try:
        if "label" in row:
            if not isinstance(row["label"], bool):
                raise ValueError
            response = row["completion"] if "completion" in row else row["response"]
            prompt, (text,) = _split(row.get("prompt"), [response])
            return Labelled(prompt, text, row["label"], where)
        if "chosen" in row:
            prompt, texts = _split(row.get("prompt"), [row["chosen"], row["rejected"]])
            return Ranking(prompt, texts, (1, 2), where)
        places = row["ranks"] if "ranks" in row else [-float(score) for score in row["scores"]]
        ranks = tuple(map(float, places))
        prompt, texts = _split(row.get("prompt"), row["responses"])
        if len(ranks) != len(texts) or len(texts) < 2 or not all(map(math.isfinite, ranks)):
            raise ValueError
        return Ranking(prompt, texts, ranks, where)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ConfigError(
            f"expected {_FORMS} in {where}, got {json.dumps(row, default=str)[:120]}."
        ) from error


def _split(prompt: Any, said_to_it: Any) -> tuple[PromptText, tuple[str, ...]]:
    """The prompt, which is one, and the responses as texts."""
    if not isinstance(said_to_it, list):
        raise ValueError
    found = [prompt_and_response(prompt, said) for said in said_to_it]
    told = [one for one in found if one is not None]
    if len(told) < len(found) or len({one for one, _ in told}) != 1:
        raise ValueError
    return told[0][0], tuple(response for _, response in told)
