"""Preference data that exists already, and what goes out: JSON lines in the usual forms.

::

    {"prompt": …, "chosen": …, "rejected": …}                 preference
    {"prompt": …, "responses": [… ], "ranks": [1, 2, 2]}      ranking, 1 is the best
    {"prompt": …, "responses": [… ], "scores": [0.3, 0.1]}    ranking, higher is better
    {"prompt": …, "completion": …, "label": true}             unpaired: good, or bad if false

A prompt is a text or a list of messages; ``chosen`` and ``rejected`` may be lists of messages that
begin with the prompt's, and so may ``completion``, which may be called ``response`` too.
"""

from __future__ import annotations

import itertools
import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from prefrl.errors import ConfigError, MissingExtraError
from prefrl.text.data.prompts import PromptText, numbered_lines, parsed

__all__ = ["Labelled", "Preferences", "Ranking", "numbered_rows", "read_preferences"]

_FORMS = (
    '{"prompt", "chosen", "rejected"}, or {"prompt", "responses", "ranks" or "scores"}, or '
    '{"prompt", "completion", "label"}, where a prompt is a text or a list of messages and a label '
    "true or false,"
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

    @property
    def prefers(self) -> bool:
        """Whether some response is better than another one that reads otherwise."""
        places = zip(self.responses, self.ranks, strict=True)
        return any(a[0] != b[0] and a[1] != b[1] for a, b in itertools.combinations(places, 2))


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

        All pairs of good and bad ones; but if there are more than 100 to a prompt, about so many in
        which all its responses come about equally often. A response that is said to be both is in
        none.
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
    """Each good one with the next bad ones, in turn, up to about 100 pairs in all."""
    if not good or not bad:
        return []
    more, fewer = (good, bad) if len(good) >= len(bad) else (bad, good)
    n_turns = min(len(fewer), max(1, _MOST_PAIRS // len(more)))
    if n_turns < len(fewer):
        _log.info(
            "of the %d pairs of a good and a bad response to one prompt, %d are taken",
            len(more) * len(fewer),
            len(more) * n_turns,
        )
    return [
        _better(one, fewer[(place + turn) % len(fewer)])
        for turn in range(n_turns)
        for place, one in enumerate(more)
    ]


def _better(one: Labelled, other: Labelled) -> Ranking:
    good, bad = (one, other) if one.is_good else (other, one)
    return Ranking(good.prompt, (good.response, bad.response), (1, 2), where=good.where)


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


def _judged(row: Any, where: str) -> Ranking | Labelled:
    try:
        if "label" in row:
            if not isinstance(row["label"], bool):
                raise ValueError
            said = row["completion"] if "completion" in row else row["response"]
            prompt, (response,) = _split(row.get("prompt"), said)
            return Labelled(prompt, response, row["label"], where)
        if "chosen" in row:
            prompt, (chosen, rejected) = _split(row.get("prompt"), row["chosen"], row["rejected"])
            return Ranking(prompt, (chosen, rejected), (1, 2), where)
        ranks = row["ranks"] if "ranks" in row else [-float(score) for score in row["scores"]]
        responses = [str(response) for response in row["responses"]]
        if len(ranks) != len(responses) or len(responses) < 2:
            raise ValueError
        return Ranking(_prompt(row["prompt"]), tuple(responses), tuple(map(float, ranks)), where)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ConfigError(
            f"expected {_FORMS} in {where}, got {json.dumps(row, default=str)[:120]}."
        ) from error


def _split(prompt: Any, *said_to_it: Any) -> tuple[PromptText, tuple[str, ...]]:
    """The prompt, and the responses as texts; messages that two of them share are the prompt."""
    if all(isinstance(said, str) for said in said_to_it):
        return _prompt(prompt), said_to_it
    shared, conversations = [*(prompt or [])], [list(said) for said in said_to_it]
    if not shared and len(conversations) == 1:
        shared = conversations[0][:-1]
    if not shared:
        same = itertools.takewhile(
            lambda pair: pair[0] == pair[1], zip(*conversations, strict=False)
        )
        shared = [first for first, _ in same]
    texts = []
    for said in conversations:
        rest = said[len(shared) :] if said[: len(shared)] == shared else said
        (last,) = rest  # one message of the assistant's
        texts.append(str(last["content"]))
    return _prompt(shared), tuple(texts)


def _prompt(told: Any) -> PromptText:
    if isinstance(told, str) and told:
        return told
    if not isinstance(told, Sequence) or not told or isinstance(told, str):
        raise ValueError
    return tuple((str(message["role"]), str(message["content"])) for message in told)
