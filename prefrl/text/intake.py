"""Preference data into a run: its responses become items, its pairs queries that are answered."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from prefrl.core.comparisons import Answer, Query
from prefrl.core.store import LabelStore, Submission
from prefrl.errors import ConfigError
from prefrl.text.models import LanguageModel
from prefrl.text.records import Ranking
from prefrl.text.responses import Response, Responses

__all__ = ["DATASET", "take_in"]

DATASET = "dataset"
"""In whose name the answers of a file are stored."""

_BATCH = 500


def take_in(
    rankings: Sequence[Ranking],
    language: LanguageModel,
    responses: Responses,
    store: LabelStore,
    *,
    chat: bool = False,
) -> int:
    """Stores what a file prefers as answers. Done again, it adds nothing.

    A pair of equal texts tells nothing and is left out. Which response is on the left does not tell
    which is better: their ids decide.

    Args:
        rankings: What was read.
        language: Whose tokens the texts become.
        responses: Where they are kept.
        store: Where queries and answers go.
        chat: Whether prompts that are texts are what a user says.

    Returns:
        How many pairs there are.

    Raises:
        ConfigError: If a text is too long for the model: with its number in the file, from 1.
    """
    pairs: dict[str, tuple[Query, Answer]] = {}
    for number, ranking in enumerate(rankings, 1):
        items = _items(ranking, language, number, chat)
        responses.keep(items)
        for first, second in ranking.pairs():
            pair = _pair(items, ranking.ranks, first, second)
            if pair is not None:
                pairs[pair[0].id] = pair
    answered = list(pairs.values())
    for start in range(0, len(answered), _BATCH):
        batch = answered[start : start + _BATCH]
        store.add_queries([query for query, _ in batch])
        store.submit_many(
            Submission(
                query_id=query.id,
                answer=answer,
                submission_key=f"{DATASET}/{query.id}",
                annotator_id=DATASET,
            )
            for query, answer in batch
        )
    return len(answered)


def _items(ranking: Ranking, language: LanguageModel, number: int, chat: bool) -> list[Response]:
    prompt = language.prompt(ranking.prompt, chat=chat)
    items = [
        Response(prompt.text, text, prompt.tokens, language.response_tokens(text))
        for text in ranking.responses
    ]
    longest = max(len(item.prompt_tokens) + len(item.tokens) for item in items)
    if longest > language.context:
        raise ConfigError(
            f"preference {number} has {longest} tokens of prompt and response, but the context of "
            f"{language.source} holds {language.context}; shorten it."
        )
    return items


def _pair(
    items: Sequence[Response], ranks: Sequence[float], first: int, second: int
) -> tuple[Query, Answer] | None:
    if items[first].id == items[second].id:
        return None
    left, right = sorted((first, second), key=lambda place: _hash(items[place].id))
    query_id = "d" + _hash(f"{items[left].id} {items[right].id}")
    if ranks[left] == ranks[right]:
        answer = Answer.TIE
    else:
        answer = Answer.LEFT if ranks[left] < ranks[right] else Answer.RIGHT
    return Query(query_id, items[left].id, items[right].id), answer


def _hash(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
