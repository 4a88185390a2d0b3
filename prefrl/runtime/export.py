"""Exports answers as rows for other programs, and says what is left out."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, Protocol

from prefrl.core.bradley_terry import standings
from prefrl.core.store import LabelStore
from prefrl.core.store.labels import resolve
from prefrl.core.store.verdicts import Ranking, decided, rankings_of, verdicts_of, wins_of
from prefrl.errors import NotEnoughDataError, RunDirectoryError
from prefrl.runtime.rundir import RunDirectory

__all__ = ["Export", "Form", "Row", "Rows", "export_answers"]

Form = Literal["preference", "ranking", "unpaired", "scores"]
"""Pairs of a better and a worse item; K items with ranks; single items that are good or bad; or all
items with their scores by the Bradley-Terry model."""

Row = dict[str, Any]
"""What JSON can hold."""


class Rows(Protocol):
    """How a side writes its items."""

    def preference(self, query_id: str, better: str, worse: str) -> Row:
        """A pair, by the ids of its items."""
        ...

    def ranking(self, ranking: Ranking) -> Row:
        """K items with their ranks."""
        ...

    def unpaired(self, item_id: str, label: bool) -> Row:
        """An item that won more often than it lost, or lost more often than it won."""
        ...


@dataclass(frozen=True)
class Export:
    """The rows of a run in one form."""

    rows: Iterator[Row]
    """Made as they are asked for."""
    n_rows: int
    """How many they are."""
    left_out: Mapping[str, int]
    """What is not in them: why, and how much of it there is."""
    n_broken: int = 0
    """Groups that are written as pairs, since their answers make no order."""

    def lines(self) -> Iterator[str]:
        """The rows as lines of JSON, in ASCII.

        Raises:
            RunDirectoryError: If a number is not finite, or an item is missing or damaged.
        """
        for number, row in enumerate(self.rows, 1):
            try:
                yield json.dumps(row, allow_nan=False) + "\n"
            except ValueError as error:
                raise RunDirectoryError(
                    f"expected finite numbers in row {number}, but {error}; JSON has no others."
                ) from error

    def __str__(self) -> str:
        """In words."""
        said = f"{self.n_rows:,} row{'' if self.n_rows == 1 else 's'}"
        if self.left_out:
            said += "; left out: " + ", ".join(f"{n:,} {why}" for why, n in self.left_out.items())
        if self.n_broken:
            said += f"; groups written as pairs, as their answers make no order: {self.n_broken:,}"
        return said


def export_answers(
    run: RunDirectory, rows: Rows, form: Form, *, annotator: str | None = None
) -> Export:
    """The current answers of a run in a form.

    Args:
        run: Which run; it may go on meanwhile.
        rows: How its items are written.
        form: Which form.
        annotator: Whose answers alone; by default the verdict of most on each query.

    Raises:
        ConfigError: If an annotator is named who has given no answer.
        NotEnoughDataError: If there are no answers, or none that the form has a place for.
    """
    if not run.has_labels:
        raise NotEnoughDataError(
            f"expected answers in {run.labels}, but there is no such file; label some pairs first."
        )
    with LabelStore(run.label_store) as store:
        verdicts = verdicts_of(store, annotator=annotator)
        if form == "scores":
            return _scores(store, annotator)
        notes = _notes(store, annotator)
    left_out = {
        "skipped": verdicts.n_skipped,
        "on which annotators differ": verdicts.n_drawn,
        "without an answer": verdicts.n_unanswered,
    }
    pairs, n_broken = list(decided(verdicts.comparisons)), 0
    made: Iterable[Row]
    if form == "preference":
        n_rows, made = len(pairs), (rows.preference(*pair) | notes(pair[0]) for pair in pairs)
    elif form == "ranking":
        rankings, n_broken = rankings_of(verdicts.comparisons)
        n_rows, made = len(rankings), (rows.ranking(one) | notes(one.name) for one in rankings)
    else:
        wins = wins_of(verdicts.comparisons)
        labels = {item: n > 0 for item, n in wins.items() if n}
        left_out["responses that won as often as they lost"] = len(wins) - len(labels)
        n_rows, made = len(labels), (rows.unpaired(*label) for label in labels.items())
    if form != "ranking":
        left_out["tied"] = len(verdicts.comparisons) - len(pairs)
    export = Export(iter(made), n_rows, {why: n for why, n in left_out.items() if n}, n_broken)
    if not n_rows:
        raise NotEnoughDataError(
            f"expected answers for the form {form} in {run.label_store}, got {export}; label some "
            "more."
        )
    return export


def _notes(store: LabelStore, annotator: str | None) -> Callable[[str], Row]:
    """People's notes on their current answers to a query or a group, as a column of its row.

    Where nobody noted anything there is no such column; else each row has it.
    """
    current = {event.submission_key: name for (_, name), event in resolve(store.events()).items()}
    said = dict[str, list[str]]()
    for key, mark in store.marks.notes().items():
        name = current.get(key, current.get(f"{key}/0"))
        if name is not None and annotator in (None, name):
            (query,) = store.find([mark.query_id])
            for about in {query.id, query.group or query.id}:
                said.setdefault(about, []).append(mark.why)
    return lambda name: {"notes": said.get(name, [])} if said else {}


def _scores(store: LabelStore, annotator: str | None) -> Export:
    """The scores of all items. Every person's answer counts, not only the majority's verdict."""
    asked = [(query.left, query.right) for query in store.queries()]
    answers = [
        (comparison.query.left, comparison.query.right, comparison.preference)
        for _, comparison in store.comparisons(annotator=annotator)
        if comparison.preference is not None
    ]
    rows = standings(asked, answers)
    compared = [row for row in rows if row.n_compared]
    left_out = {"items that nobody has compared": len(rows) - len(compared)}
    if not compared:
        raise NotEnoughDataError("expected answers other than can't tell, found none.")
    made = map(asdict, compared)
    return Export(made, len(compared), {why: n for why, n in left_out.items() if n})
