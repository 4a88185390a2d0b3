"""Reads preference data, existing or exported, in the usual forms.

::

    {"prompt": …, "chosen": …, "rejected": …}                 preference
    {"prompt": …, "responses": [… ], "ranks": [1, 2, 2]}      ranking, 1 is the best
    {"prompt": …, "responses": [… ], "scores": [0.3, 0.1]}    ranking, higher is better
    {"prompt": …, "completion": …, "label": true}             unpaired: good, or bad if false

A prompt is a text or a list of messages. A response may be a list of messages, too: its last
message of an assistant counts, and it may begin with the prompt's messages, even if the prompt is
also given as text. ``completion`` may also be called ``response``; nulls are ignored. A ``system``
message goes before the prompt. ``text.data.forms`` converts other forms.
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

from prefrl.errors import ConfigError
from prefrl.text.data.forms import DataConfig, Seen, in_our_form, places_of
from prefrl.text.data.prompts import PromptText, prompt_and_response
from prefrl.text.data.sources import numbered_rows

__all__ = ["Labelled", "Preferences", "Ranking", "read_preferences"]

_FORMS = (
    '{"prompt", "chosen", "rejected"}, or {"prompt", "responses", "ranks" or "scores"}, or '
    '{"prompt", "completion", "label"}, where a prompt is a text or a list of messages, ranks and '
    "scores are finite numbers and a label true or false,"
)
_MOST_PAIRS = 100
_PLAIN = DataConfig()
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Ranking:
    """Responses to one prompt; a pair is a ranking of two."""

    prompt: PromptText
    """The prompt."""
    responses: tuple[str, ...]
    """K responses."""
    ranks: tuple[float, ...]
    """The rank of each; the lowest is the best, and equal ones are ties."""
    where: str = field(default="a ranking", compare=False)
    """Its place in the data."""
    strength: tuple[float, float] | None = None
    """Of a pair: P(the first one is better), and the least margin of the better one, in units of
    scores; None if not given."""

    def pairs(self) -> Iterator[tuple[int, int]]:
        """Yields all K (K - 1) / 2 pairs of positions, ties included."""
        yield from itertools.combinations(range(len(self.responses)), 2)


@dataclass(frozen=True)
class Labelled:
    """A single response that is good or bad: thumbs up or down."""

    prompt: PromptText
    """The prompt."""
    response: str
    """A response."""
    is_good: bool
    """Whether it was judged good."""
    where: str = field(default="a response", compare=False)
    """Its place in the data."""


@dataclass(frozen=True)
class Preferences:
    """Preferences that were read from data."""

    rankings: list[Ranking]
    """Pairs and rankings."""
    labelled: list[Labelled]
    """Single responses."""

    def comparable(self) -> list[Ranking]:
        """The rankings, and pairs of single responses to the same prompt: good ones are better.

        These are all pairs of a good and a bad one. If a prompt has more than 100, only 100 are
        made, in which each good one occurs about equally often, and so does each bad one; of more
        than 100 good or bad ones, 100 are spread evenly. A response labelled both ways is in none.
        """
        by_prompt: dict[PromptText, dict[str, list[Labelled]]] = {}
        for one in self.labelled:
            by_prompt.setdefault(one.prompt, {}).setdefault(one.response, []).append(one)
        pairs = []
        for said in by_prompt.values():
            sure = [same[0] for same in said.values() if len({one.is_good for one in same}) == 1]
            pairs += _pairs([s for s in sure if s.is_good], [s for s in sure if not s.is_good])
        return [*self.rankings, *pairs]


def read_preferences(
    path: Path,
    config: DataConfig = _PLAIN,
    *,
    chat: bool = False,
    seen: Seen | None = None,
) -> Preferences:
    """Reads preferences.

    Args:
        path: A file, a folder, a glob, or the id of a data set.
        config: How it is read.
        chat: Whether transcripts become conversations.
        seen: Records what was found.

    Raises:
        ConfigError: If there is no row, or one has none of the forms: with its number, from 1.
        MissingExtraError: If ``datasets`` is needed and not installed.
    """
    seen = Seen() if seen is None else seen
    rows = numbered_rows(path, "preferences", config)
    judged = [_judged(row, where, config, seen, chat=chat) for where, row in rows]
    return Preferences(
        [one for one in judged if isinstance(one, Ranking)],
        [one for one in judged if isinstance(one, Labelled)],
    )


def _pairs(good: list[Labelled], bad: list[Labelled]) -> list[Ranking]:
    """Pairs good with bad ones, cycling through both, until there are 100 pairs or all."""
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
    # After this many pairs both would be back at the start, so the bad ones shift by one.
    n_round = math.lcm(len(good), len(bad))
    return [
        _better(good[k % len(good)], bad[(k + k // n_round) % len(bad)])
        for k in range(min(n_all, _MOST_PAIRS))
    ]


def _spread(labelled: list[Labelled]) -> list[Labelled]:
    """At most as many as there may be pairs, spread evenly."""
    n = min(len(labelled), _MOST_PAIRS)
    return [labelled[k * len(labelled) // n] for k in range(n)]


def _better(good: Labelled, bad: Labelled) -> Ranking:
    return Ranking(good.prompt, (good.response, bad.response), (1, 2), where=good.where)


def _judged(
    told: Any, where: str, config: DataConfig, seen: Seen, *, chat: bool
) -> Ranking | Labelled:
    row = in_our_form(told, where, config, seen, chat=chat)
    if config.is_soft and not (isinstance(row, dict) and "chosen" in row):
        raise ConfigError(
            f"expected pairs with data.preference and data.margin, got something else in {where}; "
            "leave these options out, or that row."
        )
    try:
        if "label" in row:
            if not isinstance(row["label"], bool):
                raise ValueError
            response = row["completion"] if "completion" in row else row["response"]
            prompt, (text,) = _split(row.get("prompt"), [response])
            return Labelled(prompt, text, row["label"], where)
        if "chosen" in row:
            prompt, texts = _split(row.get("prompt"), [row["chosen"], row["rejected"]])
            if "strength" not in row:
                return Ranking(prompt, texts, (1, 2), where)
            share = row["strength"][0]  # P(chosen is better)
            places = (1, 1) if share == 0.5 else (1, 2) if share > 0.5 else (2, 1)
            return Ranking(prompt, texts, places, where, row["strength"])
        ranks = places_of(row)
        prompt, texts = _split(row.get("prompt"), row["responses"])
        if len(ranks) != len(texts) or len(texts) < 2 or not all(map(math.isfinite, ranks)):
            raise ValueError
        return Ranking(prompt, texts, ranks, where)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ConfigError(
            f"expected {_FORMS} in {where}, got {json.dumps(told, default=str)[:120]}; or name its "
            "columns, as in --data.prompt question --data.chosen better --data.rejected worse."
        ) from error


def _split(prompt: Any, said_to_it: Any) -> tuple[PromptText, tuple[str, ...]]:
    """The prompt, which must be the same for all, and the responses as texts."""
    if not isinstance(said_to_it, list):
        raise ValueError
    found = [prompt_and_response(prompt, said) for said in said_to_it]
    told = [one for one in found if one is not None]
    if len(told) < len(found) or len({one for one, _ in told}) != 1:
        raise ValueError
    return told[0][0], tuple(response for _, response in told)
