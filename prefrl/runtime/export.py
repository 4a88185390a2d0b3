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
"""One row, as an object of JSON."""


class Rows(Protocol):
    """Writes rows about one kind of items."""

    def preference(self, query_id: str, better: str, worse: str) -> Row:
        """Returns the row of a decided pair, which is given by the ids of its items."""
        ...

    def ranking(self, ranking: Ranking) -> Row:
        """Returns the row of K items with their ranks."""
        ...

    def unpaired(self, item_id: str, label: bool) -> Row:
        """Returns the row of one item; the label is whether it won more often than it lost."""
        ...


@dataclass(frozen=True)
class Export:
    """The rows of a run in one form."""

    rows: Iterator[Row]
    """The rows, made lazily."""
    n_rows: int
    """Number of rows."""
    left_out: Mapping[str, int]
    """Number of queries or items left out, by reason."""
    n_broken: int = 0
    """Groups that are written as pairs because their answers give no ranking."""

    def lines(self) -> Iterator[str]:
        """Yields the rows as lines of JSON, in ASCII.

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
        """Describes the counts in words."""
        said = f"{self.n_rows:,} row{'' if self.n_rows == 1 else 's'}"
        if self.left_out:
            said += "; left out: " + ", ".join(f"{n:,} {why}" for why, n in self.left_out.items())
        if self.n_broken:
            said += f"; groups written as pairs, as their answers make no order: {self.n_broken:,}"
        return said


def export_answers(
    run: RunDirectory, rows: Rows, form: Form, *, annotator: str | None = None
) -> Export:
    """Exports the current answers of a run.

    Args:
        run: The run, which may still be in progress.
        rows: Writes its items.
        form: Form of the rows.
        annotator: Only the answers of this person; by default, for each query, the answer of most.

    Raises:
        ConfigError: If an annotator is named who has given no answer.
        NotEnoughDataError: If there are no answers, or none that the form can express.
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
    """Returns a function from a query's or group's id to a column with people's notes on it.

    The notes are those on current answers. Each row has the column, unless there are no notes at
    all.
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
    """Exports the scores of all items, from every person's answers and not only the majority's."""
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
