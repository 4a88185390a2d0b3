"""Brings preference data into a run: responses become items, and pairs become answered queries.

A ranking of three or more is a group: the labelling page, the reward's fit and methods that learn
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
from prefrl.core.store import LabelStore, Submission
from prefrl.core.store.labels import DATASET
from prefrl.errors import ConfigError
from prefrl.runtime.people.strengths import Strength, keep_strengths
from prefrl.runtime.rundir import RunDirectory
from prefrl.text.data.items import Items
from prefrl.text.data.prompts import PromptText
from prefrl.text.data.records import Preferences, Ranking
from prefrl.text.methods.examples import examples_of
from prefrl.text.methods.preference_losses import TUNING_METHODS
from prefrl.text.responses import Response, Responses

__all__ = ["bring_in", "brought", "check_usable", "is_brought", "take_in"]

_BATCH = 500
_OF_DATA = "d"  # prefix of the ids of its queries


def bring_in(items: Items, run: RunDirectory) -> None:
    """Stores data in a new run: responses, answers, and labels of single responses."""
    strengths: dict[tuple[str, str], Strength] = {}
    with LabelStore(run.label_store) as store:
        take_in(items, Responses(run), store, strengths=strengths)
    run.taken.mkdir(exist_ok=True)
    if strengths:
        keep_strengths(run, strengths)
    labelled = [(response.id, is_good) for response, is_good in items.labelled]
    run.write_json(_told(run), {"labelled": labelled, "counts": dict(items.counts)})


def is_brought(run: RunDirectory) -> bool:
    """Whether all data has been stored in a run."""
    return _told(run).is_file()


def brought(run: RunDirectory, store: LabelStore) -> tuple[list[Query], list[tuple[str, bool]]]:
    """Loads what data brought into a run.

    Returns:
        The queries, each once; the ids of single responses, and whether they are good.
    """
    queries = (comparison.query for _, comparison in store.comparisons())
    of_data = {query.id: query for query in queries if query.id.startswith(_OF_DATA)}
    labelled = run.read_json(_told(run))["labelled"] if is_brought(run) else []
    return list(of_data.values()), [(response_id, is_good) for response_id, is_good in labelled]


def _told(run: RunDirectory) -> Path:
    return run.taken / "data.json"


def take_in(
    items: Items,
    responses: Responses,
    store: LabelStore,
    *,
    beat: Callable[[], None] = lambda: None,
    strengths: dict[tuple[str, str], Strength] | None = None,
) -> list[Query]:
    """Stores the preferences of data as answers. A repetition adds nothing.

    All pairs of a ranking are stored; those of three or more responses form a group. Of equal
    texts the first one counts. Which response is on the left depends on their ids, not on which is
    better. No query is ever stored without its answer, so no labeller is asked about it.

    Args:
        items: Data as tokens.
        responses: Keeper of the responses.
        store: Store of queries and answers.
        beat: Called repeatedly meanwhile.
        strengths: Filled with the strengths of answers, if they are known.

    Returns:
        The queries, each once.
    """
    answered: list[tuple[Query, Submission]] = []
    found: list[Response] = [response for response, _ in items.labelled]
    n_ratings: Counter[str] = Counter()
    for number, (said, places) in enumerate(items.rankings):
        beat()
        found += said
        ranks: dict[str, float] = {}
        for item, rank in zip(said, places, strict=True):
            ranks.setdefault(item.id, rank)
        for query, answer in _pairs(ranks):
            n_ratings[query.id] += 1
            given = _submission(query, answer, n_ratings[query.id])
            answered.append((query, given))
            if strengths is not None and number in items.strengths:
                share, margin = items.strengths[number]
                of_left = share if query.left == said[0].id else 1 - share
                strengths[query.id, given.annotator_id] = Strength(of_left, margin)
    responses.keep(found, beat=beat)
    for start in range(0, len(answered), _BATCH):
        beat()
        batch = answered[start : start + _BATCH]
        store.add_answered([query for query, _ in batch], [given for _, given in batch])
    return list({query.id: query for query, _ in answered}.values())


def check_usable(preferences: Preferences, path: Path, *, method: str, n_labels: int) -> None:
    """Refuses data that a method cannot use.

    Args:
        preferences: Preferences that were read.
        path: Their source.
        method: Method that improves the policy.
        n_labels: Number of comparisons that will be asked for, too.

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
    said = _comparisons(comparable)
    if takes == "pairs":  # one that is not a tie is enough
        said = itertools.islice((c for c in said if c.answer is not Answer.TIE), 1)
    found = examples_of(takes, list(said), labels)
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


def _comparisons(rankings: Sequence[Ranking]) -> Iterator[Comparison]:
    """The comparisons that ``take_in`` will store, made without a model's tokens."""
    for ranking in rankings:
        ranks: dict[str, float] = {}
        for text, rank in zip(ranking.responses, ranking.ranks, strict=True):
            ranks.setdefault(_name(ranking.prompt, text), rank)
        yield from (Comparison(query, answer) for query, answer in _pairs(ranks))


def _name(prompt: PromptText, text: str) -> str:
    return _hash(json.dumps([prompt, text]))


def _submission(query: Query, answer: Answer, n_th: int) -> Submission:
    whose = DATASET if n_th == 1 else f"{DATASET}-{n_th}"
    return Submission(query.id, answer, f"{whose}/{query.id}", whose)


def _pairs(ranks: Mapping[str, float]) -> Iterator[tuple[Query, Answer]]:
    """All pairs of a ranking's items, with answers; three or more items form a group."""
    ids = sorted(ranks, key=_hash)
    group = "g" + _hash(" ".join(ids)) if len(ids) > 2 else None
    for left, right in itertools.combinations(ids, 2):
        # A pair may be in several groups, and each group needs its own query.
        name = f"{left} {right}" if group is None else f"{group} {left} {right}"
        if ranks[left] == ranks[right]:
            answer = Answer.TIE
        else:
            answer = Answer.LEFT if ranks[left] < ranks[right] else Answer.RIGHT
        yield Query(_OF_DATA + _hash(name), left, right, group), answer


def _hash(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
