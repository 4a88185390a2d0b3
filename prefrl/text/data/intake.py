"""Preference data into a run: its responses become items, its pairs queries that are answered.

A ranking of three and more is a group: the labelling page, the reward's fit and methods that learn
from rankings see its pairs together.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from prefrl.core.comparisons import Answer, Comparison, Query
from prefrl.core.labels import DATASET
from prefrl.core.store import LabelStore, Submission
from prefrl.errors import ConfigError
from prefrl.text.data.prompts import PromptText
from prefrl.text.data.records import Labelled, Preferences, Ranking
from prefrl.text.methods.examples import examples_of
from prefrl.text.methods.preference_losses import TUNING_METHODS
from prefrl.text.nets.models import LanguageModel
from prefrl.text.responses import Response, Responses

__all__ = ["check_fits", "check_usable", "take_in", "take_in_labelled"]

_BATCH = 500


def take_in(
    rankings: Sequence[Ranking],
    language: LanguageModel,
    responses: Responses,
    store: LabelStore,
    *,
    chat: bool = False,
    beat: Callable[[], None] = lambda: None,
) -> list[Query]:
    """Stores what a file prefers as answers. Done again, it adds nothing.

    All pairs of a ranking are stored, and those of three and more responses as a group. Of equal
    texts the first one counts. Which response is on the left does not tell which is better: their
    ids decide. No query is ever without its answer, so that no labeller is asked about it.

    Args:
        rankings: What was read.
        language: Whose tokens the texts become.
        responses: Where they are kept.
        store: Where queries and answers go.
        chat: Whether prompts that are texts are what a user says.
        beat: Called again and again while it goes on.

    Returns:
        The queries, each once.

    Raises:
        ConfigError: If a text is too long for the model: with its place in the file.
    """
    answered: list[tuple[Query, Submission]] = []
    found: list[Response] = []
    n_ratings: Counter[str] = Counter()
    for ranking in rankings:
        beat()
        items = [
            _item(language, ranking.prompt, text, chat=chat, where=ranking.where)
            for text in ranking.responses
        ]
        found += items
        ranks: dict[str, float] = {}
        for item, rank in zip(items, ranking.ranks, strict=True):
            ranks.setdefault(item.id, rank)
        for query, answer in _pairs(ranks):
            n_ratings[query.id] += 1
            answered.append((query, _submission(query, answer, n_ratings[query.id])))
    responses.keep(found, beat=beat)
    for start in range(0, len(answered), _BATCH):
        beat()
        batch = answered[start : start + _BATCH]
        store.add_answered([query for query, _ in batch], [given for _, given in batch])
    return list({query.id: query for query, _ in answered}.values())


def take_in_labelled(
    labelled: Sequence[Labelled],
    language: LanguageModel,
    responses: Responses,
    *,
    chat: bool = False,
    beat: Callable[[], None] = lambda: None,
) -> list[tuple[str, bool]]:
    """Keeps single responses.

    Args:
        labelled: What was read.
        language: Whose tokens the texts become.
        responses: Where they are kept.
        chat: Whether prompts that are texts are what a user says.
        beat: Called again and again while it goes on.

    Returns:
        Their ids, and whether they are good.

    Raises:
        ConfigError: If a text is too long for the model: with its place in the file.
    """
    items = []
    for one in labelled:
        beat()
        items.append(_item(language, one.prompt, one.response, chat=chat, where=one.where))
    responses.keep(items, beat=beat)
    return [(item.id, one.is_good) for item, one in zip(items, labelled, strict=True)]


def check_usable(preferences: Preferences, path: Path, *, method: str, n_labels: int) -> None:
    """Refuses data that a method cannot use.

    Args:
        preferences: What was read.
        path: Where.
        method: How the policy is improved.
        n_labels: Comparisons that will be asked for besides.

    Raises:
        ConfigError: If it can learn nothing from them.
    """
    comparable = preferences.comparable()
    takes = TUNING_METHODS[method].takes if method in TUNING_METHODS else "pairs"
    if takes != "single responses" and not comparable:
        raise ConfigError(
            f"expected comparisons in {path} for {method}, but there are only single responses, "
            "none of them good where another one to the same prompt is bad; kto learns from such "
            "ones."
        )
    if n_labels:
        return
    labels = [(_name(one.prompt, one.response), one.is_good) for one in preferences.labelled]
    found = examples_of(takes, _comparisons(comparable), labels)
    if takes == "single responses" and len(found) < 2:
        raise ConfigError(
            f"expected at least two responses in {path} that are good or bad for {method}, but "
            "there are fewer; those that won as often as they lost, and ties, do not count."
        )
    if not found:
        raise ConfigError(
            f"expected a response in {path} that is better than another one for {method}, but all "
            "are ties, read the same, or are contradicted; give other data, or ask for labels."
        )


def check_fits(preferences: Preferences, language: LanguageModel, *, chat: bool = False) -> None:
    """Refuses texts that a model cannot take.

    Args:
        preferences: What was read.
        language: The model.
        chat: Whether prompts that are texts are what a user says.

    Raises:
        ConfigError: If one is too long for it: with its place in the file.
    """
    for ranking in preferences.rankings:
        for text in ranking.responses:
            _item(language, ranking.prompt, text, chat=chat, where=ranking.where)
    for one in preferences.labelled:
        _item(language, one.prompt, one.response, chat=chat, where=one.where)


def _comparisons(rankings: Sequence[Ranking]) -> list[Comparison]:
    """What ``take_in`` will make of them, without a model's tokens."""
    found = []
    for ranking in rankings:
        ranks: dict[str, float] = {}
        for text, rank in zip(ranking.responses, ranking.ranks, strict=True):
            ranks.setdefault(_name(ranking.prompt, text), rank)
        found += [Comparison(query, answer) for query, answer in _pairs(ranks)]
    return found


def _name(prompt: PromptText, text: str) -> str:
    return _hash(json.dumps([prompt, text]))


def _item(
    language: LanguageModel, told: PromptText, text: str, *, chat: bool, where: str
) -> Response:
    try:
        prompt = language.prompt(told, chat=chat)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from error
    item = language.response(prompt, text)
    length = len(item.prompt_tokens) + len(item.tokens)
    if length > language.context:
        raise ConfigError(
            f"{where} has {length} tokens of prompt and response, but the context of "
            f"{language.source} holds {language.context}; shorten it."
        )
    return item


def _submission(query: Query, answer: Answer, n_th: int) -> Submission:
    whose = DATASET if n_th == 1 else f"{DATASET}-{n_th}"
    return Submission(query.id, answer, f"{whose}/{query.id}", whose)


def _pairs(ranks: Mapping[str, float]) -> Iterator[tuple[Query, Answer]]:
    """All pairs of a ranking's items, with what it says of them; of three and more as a group."""
    ids = sorted(ranks, key=_hash)
    group = "g" + _hash(" ".join(ids)) if len(ids) > 2 else None
    for left, right in itertools.combinations(ids, 2):
        # A pair may be in several groups, and each needs all of its own.
        name = f"{left} {right}" if group is None else f"{group} {left} {right}"
        if ranks[left] == ranks[right]:
            answer = Answer.TIE
        else:
            answer = Answer.LEFT if ranks[left] < ranks[right] else Answer.RIGHT
        yield Query("d" + _hash(name), left, right, group), answer


def _hash(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
