"""Chooses which pairs a person gets next, and which side is on the left."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence

from clip_viewer.config import ViewerConfig
from clip_viewer.messages import ItemOut, TaskOut
from prefrl.core.comparisons import Answer, Query
from prefrl.core.store import LabelStore
from prefrl.core.store.labels import Submission
from prefrl.core.store.media import Medium
from prefrl.errors import StoreError

__all__ = [
    "MIRRORED",
    "as_shown",
    "drawn",
    "hand_out",
    "is_later_pair",
    "items_of",
    "key_of_answer",
    "ranked",
]

MIRRORED = "right-left"
"""The order in which a pair's right item is on the left of the screen."""

_REPEAT_AFTER = 20  # own answers before a pair may come again
_DRAWN_FROM = 20


def hand_out(
    store: LabelStore,
    annotator_id: str,
    *,
    n: int,
    have: Sequence[str],
    config: ViewerConfig,
    rng: random.Random,
) -> list[TaskOut]:
    """Leases pairs and groups to a person, and mixes in a few that measure the labels' quality.

    Left and right are drawn each time a pair is shown; a repeat is mirrored. Nothing tells the
    person which pairs measure quality.

    Args:
        store: Label store.
        annotator_id: The person.
        n: Most leases to give.
        have: Pairs that their page already has; their leases are extended.
        config: Shares of pairs for quality.
        rng: Random number generator.

    Returns:
        What to show, in order.
    """
    seconds, more = config.lease_seconds, _for_more_answers(store, annotator_id, n, have, config)
    n -= len(more)
    leases = store.lease(annotator_id, n=n, seconds=seconds, ready=True, keep=have)
    by_task: dict[str, list[Query]] = {}
    for lease in leases:
        by_task.setdefault(lease.query.group or lease.query.id, []).append(lease.query)
    chosen: list[tuple[list[Query], str | None]] = [(pairs, None) for pairs in by_task.values()]
    for _ in range(len(chosen)):
        again = _for_quality(store, annotator_id, config, rng)
        taken = {query.id for pairs, _ in chosen for query in pairs} | set(have)
        taken |= {pairs[0].id for pairs in more}
        if again is not None and again[0].id not in taken:
            chosen.insert(rng.randrange(len(chosen) + 1), ([again[0]], again[1]))
    return drawn(store, [*((pairs, None) for pairs in more), *chosen], rng)


def drawn(
    store: LabelStore, chosen: Sequence[tuple[list[Query], str | None]], rng: random.Random
) -> list[TaskOut]:
    """Arranges pairs and groups for the screen, without those that cannot be shown.

    Args:
        store: Label store.
        chosen: A pair, or all pairs of a group, with its earlier order if it was shown before.
        rng: Draws which side is on the left.
    """
    media = store.media.of(
        item for pairs, _ in chosen for query in pairs for item in (query.left, query.right)
    )
    tasks = (_task(pairs, before, media, rng) for pairs, before in chosen)
    return [task for task in tasks if task is not None]


def _for_more_answers(
    store: LabelStore, annotator_id: str, n: int, have: Sequence[str], config: ViewerConfig
) -> list[list[Query]]:
    """Returns pairs that others have answered and that need more answers; they come first.

    They are not leased, so a pair that two people get at the same time gets one answer too many.
    """
    people = config.answers_per_pair
    if people < 2 or n < 1:
        return []
    found = store.quality.overlaps(annotator_id, people=people, n=n + len(have))
    return [[query] for query in found if query.id not in have][:n]


def _for_quality(
    store: LabelStore, annotator_id: str, config: ViewerConfig, rng: random.Random
) -> tuple[Query, str | None] | None:
    """Draws a pair that measures quality, with its order if it is a repeat; usually None."""
    draw = rng.random()
    if draw < config.gold_share:
        found = store.quality.gold(annotator_id, n=_DRAWN_FROM)
        return (rng.choice(found), None) if found else None
    draw -= config.gold_share
    if draw < config.overlap_share:
        people = config.people_per_pair
        found = store.quality.overlaps(annotator_id, people=people, n=_DRAWN_FROM)
        return (rng.choice(found), None) if found else None
    draw -= config.overlap_share
    if draw < config.repeat_share:
        repeats = store.quality.repeats(annotator_id, after=_REPEAT_AFTER, n=_DRAWN_FROM)
        if repeats:
            repeat = rng.choice(repeats)
            return repeat.query, repeat.order_shown
    return None


def _task(
    pairs: Sequence[Query],
    before: str | None,
    media: Mapping[str, Medium],
    rng: random.Random,
) -> TaskOut | None:
    if pairs[0].group is None:
        straight = rng.random() < 0.5 if before is None else before == MIRRORED
        return _in_order(pairs, "left-right" if straight else MIRRORED, media)
    n_items = len(items_of(pairs))
    return _in_order(pairs, "-".join(map(str, rng.sample(range(n_items), n_items))), media)


def as_shown(store: LabelStore, query_id: str, order: str | None) -> TaskOut | None:
    """Returns what was answered, as it was on the screen; None if it can no longer be shown.

    Args:
        store: Label store.
        query_id: The pair, or the first of a group.
        order: The order that was stored with the answer; None for any order.
    """
    pairs = store.find([query_id])
    if pairs and pairs[0].group is not None:
        pairs = store.find([pairs[0].group])
    if not pairs:
        return None
    items = items_of(pairs)
    is_group = pairs[0].group is not None
    positions = "-".join(map(str, range(len(items))))
    if is_group and (order is None or not order[0].isdecimal()):
        order = positions
    return _in_order(pairs, order or "left-right", store.media.of(items))


def _in_order(pairs: Sequence[Query], order: str, media: Mapping[str, Medium]) -> TaskOut | None:
    items = items_of(pairs)
    if any(item not in media for item in items):
        return None  # not all items of the group are ready
    if pairs[0].group is None:
        shown = items[::-1] if order == MIRRORED else items
    else:
        shown = [items[int(position)] for position in order.split("-")]
    return TaskOut(
        id=pairs[0].group or pairs[0].id,
        kind="pair" if pairs[0].group is None else "ranking",
        media_type=media[items[0]].media_type,
        items=[ItemOut(media=media[item].media_id) for item in shown],
        order=order,
    )


def key_of_answer(submission_key: str) -> str:
    """Returns the page's own key of an answer; all pairs of a ranking share it."""
    return submission_key.partition("/")[0]


def is_later_pair(submission_key: str) -> bool:
    """Whether an answer is about a later pair of a ranking, of which only the first counts."""
    _, slash, number = submission_key.rpartition("/")
    return bool(slash) and number.isdecimal() and int(number) > 0


def items_of(pairs: Iterable[Query]) -> list[str]:
    """Returns the items of a pair or group, each once, in the order of the queries' ids."""
    in_order = sorted(pairs, key=lambda query: query.id)
    return list(dict.fromkeys(item for query in in_order for item in (query.left, query.right)))


def ranked(
    pairs: Sequence[Query], order: str, ranks: Sequence[int] | None, submission: Submission
) -> list[Submission]:
    """Derives the answers to all pairs of a group from a ranking.

    Args:
        pairs: All pairs of the group.
        order: Positions of ``items_of(pairs)`` as they were shown.
        ranks: Ranks of the items as shown; 1 is best; None is "can't tell".
        submission: What all answers share. Its key becomes KEY/0, KEY/1 and so on.

    Raises:
        StoreError: If the ranks do not fit this group.
    """
    items = items_of(pairs)
    positions = [int(position) for position in order.split("-") if position.isdecimal()]
    if sorted(positions) != list(range(len(items))) or (
        ranks is not None and len(ranks) != len(items)
    ):
        raise StoreError(
            f"expected ranks of {len(items)} items in an order of their positions, got {ranks} "
            f"in the order {order!r}; reload the page."
        )
    rank = None
    if ranks is not None:
        rank = {items[position]: ranks[i] for i, position in enumerate(positions)}
    said = []
    for i, query in enumerate(sorted(pairs, key=lambda query: query.id)):
        answer = Answer.SKIP
        if rank is not None:
            left, right = rank[query.left], rank[query.right]
            answer = (
                Answer.TIE if left == right else (Answer.LEFT if left < right else Answer.RIGHT)
            )
        key = f"{submission.submission_key}/{i}"
        said.append(
            Submission(
                **vars(submission) | {"query_id": query.id, "answer": answer, "submission_key": key}
            )
        )
    return said
