"""The dashboard's statistics about the labels and the people who gave them.

What counts:

- An answer that was undone does not count, anywhere. If the undo was undone, it counts again.
- A *label* is the current answer of a person to a query, skips included, as returned by
  ``core.store.labels.resolve``: an answer given again replaces the first. The rates count every
  answer, including the first of two.
- ``tie_rate`` and ``skip_rate`` are shares of all answers, including skips; ``left_share``
  is the share of the left side of the screen among those for one side of a pair. A ranking's pairs
  are answers like others, but have no sides of the screen.
- ``self_consistency`` compares each answer with the same person's previous one to the same query,
  unless that was undone, and is the share of equal ones. Skips are left out: "can't tell" says
  nothing against an answer. A tie and a preference are not equal.
- ``fast_share`` is the share of answers, a ranking counting once, that were given before the person
  could have seen everything once: a clip to its end, the words of a text.
- ``gold_error`` is the share of wrong answers to gold pairs. A tie on a pair that has a better side
  is wrong; a skip is left out; so are answers of the person who made the pair gold.
- Agreement is over current labels without skips, of people only, without the synthetic oracle
  and judging models. ``with_people`` says of each such model how many of its answers, to
  pairs that a person has answered as well, are the same as that person's.
- The rate per hour is over active time: the time from one answer to the next, as the person's own
  clock has it where known, if it was no more than two minutes. An answer after a pause starts a
  new stretch. A ranking counts once. With less than a minute of active time there is no rate.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from clip_viewer.agreement import (
    gwet_ac1,
    krippendorff_alpha,
    percent_agreement,
    tabulate,
)
from clip_viewer.tasks import is_later_pair, key_of_answer
from prefrl.core.comparisons import Answer
from prefrl.core.intervals import wilson_interval
from prefrl.core.store.labels import AI, MACHINES, LabelEvent, is_data, is_person, resolve
from prefrl.core.store.marks import Mark

__all__ = ["statistics"]

_LONGEST_GAP = 120.0  # seconds; whoever takes longer did something else in between
_LEAST_ACTIVE = 60.0  # seconds; a rate over less time is noise
_MOST_POINTS = 200
_SIDES = (Answer.LEFT, Answer.RIGHT)
_CATEGORIES = {Answer.LEFT: 0, Answer.RIGHT: 1, Answer.TIE: 2}
# Which answer is the left side of the screen. Other orders are those of rankings.
_LEFT_ON_SCREEN = {"left-right": Answer.LEFT, "right-left": Answer.RIGHT}


def statistics(
    events: Sequence[LabelEvent],
    gold: Mapping[str, Answer],
    flags: Sequence[Mark],
    *,
    gold_by: Mapping[str, str] | None = None,
    fast: Collection[str] = (),
    notes: Mapping[str, Mark] | None = None,
) -> dict[str, Any]:
    """Summarises a study: how much was labelled, by whom, how well, and how well people agree.

    Args:
        events: All events of a store, in the order of their ids.
        gold: The right answers to the gold pairs, by query id.
        flags: The flags that are raised.
        gold_by: Who made each pair gold, by query id; their own answers to it do not test them.
        fast: Submission keys of the answers that were given too fast to have been seen.
        notes: People's notes on their answers, by the answers' submission keys.

    Returns:
        JSON-compatible values: ``labels``, ``people`` (most labels first, the oracle last),
        ``agreement``, ``flags`` and ``notes`` (newest first), ``labels_over_time`` (at most
        200 points of seconds since 1970 and labels so far). A share is ``{"value", "low", "high",
        "n"}`` with its 95 % Wilson interval; all but n are None where n is 0.
    """
    current = resolve(events)
    answers = defaultdict[str, list[LabelEvent]](list)
    for event in _standing(events):
        answers[event.annotator_id].append(event)
    labels = dict.fromkeys(answers, 0)
    per_query = defaultdict[str, int](int)
    for query_id, annotator_id in current:
        labels[annotator_id] = labels.get(annotator_id, 0) + 1
        per_query[query_id] += 1
    names = sorted(labels, key=lambda name: (name in MACHINES, -labels[name], name))
    return {
        "labels": len(current),
        "people": [
            {"annotator": name, "labels": labels[name]}
            | _person([] if name in MACHINES else answers[name], gold, gold_by or {}, fast)
            for name in names
        ],
        "agreement": _agreement(current),
        "flags": [
            {
                "query_id": flag.query_id,
                "annotator": flag.annotator_id,
                "why": flag.why,
                "made_at": flag.made_at,
                "labels": per_query.get(flag.query_id, 0),
            }
            for flag in sorted(flags, key=lambda flag: -flag.made_at)
        ],
        "notes": _notes(notes or {}, events, answers),
        "labels_over_time": _over_time(event.answered_at for event in current.values()),
    }


def _notes(
    notes: Mapping[str, Mark],
    events: Iterable[LabelEvent],
    answers: Mapping[str, Iterable[LabelEvent]],
) -> list[dict[str, Any]]:
    """The notes, without those on answers that were undone."""
    standing = {key_of_answer(e.submission_key) for given in answers.values() for e in given}
    taken_back = {key_of_answer(event.submission_key) for event in events} - standing
    return [
        {"query_id": note.query_id, "annotator": note.annotator_id, "why": note.why}
        for key, note in reversed(list(notes.items()))
        if key not in taken_back
    ]


def _standing(events: Iterable[LabelEvent]) -> list[LabelEvent]:
    """The answers that were not undone, in the order of their ids."""
    answers, undone, by_undo = dict[int, LabelEvent](), set[int](), dict[int, int]()
    same = dict[int, int]()  # an answer that came back -> the answer it is
    for event in events:
        old = event.supersedes
        if event.answer is None:
            if old is not None:
                by_undo[event.id] = same.get(old, old)
                undone.add(by_undo[event.id])
            continue
        if old in by_undo and event.order_shown is None:
            # The undo of an undo. The pair was not shown again: the answer that comes back counts,
            # with its own order and time.
            same[event.id] = by_undo[old]
            undone.discard(by_undo[old])
            continue
        answers[event.id] = event
        if old in answers and answers[old].annotator_id != event.annotator_id:
            undone.add(old)  # someone else's answer is withdrawn by this one
    return [event for id_, event in answers.items() if id_ not in undone]


def _person(
    answers: Sequence[LabelEvent],
    gold: Mapping[str, Answer],
    gold_by: Mapping[str, str],
    fast: Collection[str],
) -> dict[str, Any]:
    """One person's statistics from their answers, which are in the order of the ids."""
    n = len(answers)
    n_sides = n_left = n_consistent = n_repeats = n_wrong = n_gold = 0
    before = dict[str, Answer]()
    for event in answers:
        answer, query_id = event.answer, event.query_id
        assert answer is not None
        if answer is Answer.SKIP:
            continue
        if answer in _SIDES and event.order_shown in _LEFT_ON_SCREEN:
            n_sides += 1
            n_left += answer is _LEFT_ON_SCREEN[event.order_shown]
        if query_id in before:
            n_repeats += 1
            n_consistent += answer is before[query_id]
        before[query_id] = answer
        if query_id in gold and gold_by.get(query_id) != event.annotator_id:
            n_gold += 1
            n_wrong += answer is not gold[query_id]
    return {
        "per_hour": _per_hour(answers),
        "median_seconds": _median_seconds(answers),
        "fast_share": _fast_share(answers, fast),
        "left_share": _share(n_left, n_sides),
        "tie_rate": _share(sum(event.answer is Answer.TIE for event in answers), n),
        "skip_rate": _share(sum(event.answer is Answer.SKIP for event in answers), n),
        "self_consistency": _share(n_consistent, n_repeats),
        "gold_error": _share(n_wrong, n_gold),
    }


def _per_hour(answers: Sequence[LabelEvent]) -> float | None:
    # When the person answered, not when it was stored: answers given while the server was away
    # come all at once.
    moments = np.sort([_moment(e) for e in answers if not is_later_pair(e.submission_key)])
    gaps = np.diff(moments)
    gaps = gaps[gaps <= _LONGEST_GAP]
    active = float(gaps.sum())
    return len(gaps) / active * 3600 if active >= _LEAST_ACTIVE else None


def _moment(event: LabelEvent) -> float:
    if event.shown_at is None or event.client_ms is None:
        return event.answered_at
    return event.shown_at + event.client_ms / 1000


def _median_seconds(answers: Sequence[LabelEvent]) -> float | None:
    # A ranking was looked at once, whatever the number of its pairs.
    looked = [
        event.client_ms / 1000
        for event in answers
        if event.client_ms is not None
        and (event.order_shown in _LEFT_ON_SCREEN or not is_later_pair(event.submission_key))
    ]
    return float(np.median(looked)) if looked else None


def _fast_share(answers: Sequence[LabelEvent], fast: Collection[str]) -> dict[str, Any]:
    keys = [e.submission_key for e in answers if not is_later_pair(e.submission_key)]
    return _share(sum(key_of_answer(key) in fast for key in keys), len(keys))


def _agreement(current: Mapping[tuple[str, str], LabelEvent]) -> dict[str, Any]:
    units, categories, rows = list[int](), list[int](), dict[str, int]()
    for (query_id, annotator_id), event in current.items():
        category = _CATEGORIES.get(event.answer) if event.answer else None
        if category is not None and _is_rating(annotator_id):
            units.append(rows.setdefault(query_id, len(rows)))
            categories.append(category)
    counts = tabulate(units, categories, len(_CATEGORIES))
    n = int((counts.sum(axis=1) >= 2).sum())
    # With two people per pair, each pair is one trial. With more, it is worth more than one, and
    # the interval is too wide rather than too narrow.
    percent = percent_agreement(counts) or 0.0
    return {
        "pairs": n,
        "percent": _share(min(percent, 1.0) * n, n),
        "krippendorff_alpha": krippendorff_alpha(counts),
        "gwet_ac1": gwet_ac1(counts),
        "with_people": _with_people(current),
    }


def _with_people(current: Mapping[tuple[str, str], LabelEvent]) -> dict[str, dict[str, Any]]:
    """How often each judging model agrees with a person, by the model's name."""
    said = defaultdict[str, list[LabelEvent]](list)
    for (query_id, _), event in current.items():
        if event.answer in _CATEGORIES:
            said[query_id].append(event)
    found: dict[str, list[bool]] = {}
    for events in said.values():
        people = [event.answer for event in events if _is_rating(event.annotator_id)]
        for event in events:
            if event.annotator_id.startswith(AI):
                same = found.setdefault(event.annotator_id, [])
                same += [event.answer is answer for answer in people]
    return {name: _share(sum(same), len(same)) for name, same in sorted(found.items())}


def _is_rating(annotator_id: str) -> bool:
    """Whether an answer counts for people's agreement.

    Answers from a file do, each as another person's: people gave them elsewhere.
    """
    return is_person(annotator_id) or is_data(annotator_id)


def _share(part: float, n: int) -> dict[str, Any]:
    if n == 0:
        return {"value": None, "low": None, "high": None, "n": 0}
    low, high = wilson_interval(part, n)
    return {"value": part / n, "low": float(low), "high": float(high), "n": n}


def _over_time(moments: Iterable[float]) -> list[list[float]]:
    times = np.sort(np.fromiter(moments, dtype=np.float64))
    if times.size == 0:
        return []
    chosen = np.unique(np.linspace(0, times.size - 1, _MOST_POINTS).round().astype(int))
    return [[float(times[i]), int(i) + 1] for i in chosen]
