"""Keeps a fitting process up to date with the current answers of a label store."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping

from prefrl.core.comparisons import Comparison, Judgement
from prefrl.core.store import LabelStore
from prefrl.runtime.people.strengths import Strengths, judgement_of

__all__ = ["CurrentAnswers", "n_with_preference"]

_BATCH = 10_000


class CurrentAnswers:
    """Reads answers from a store, and keeps those that a fit may use.

    Args:
        store: Label store to read.
        newest: Most answers that a fit uses, or most queries with ``by_query``.
        by_query: Whether a fit uses the majority's answer to each query, instead of every answer.
        certainties: P(the chosen side is better) for each strength that people may name.
        strengths: Strengths from data.
    """

    def __init__(
        self,
        store: LabelStore,
        *,
        newest: int,
        by_query: bool,
        certainties: Mapping[str, float],
        strengths: Strengths,
    ) -> None:
        self.cursor = 0
        """Id of the newest event read."""
        self.n_forgotten = 0
        """Number of answers with a preference that were dropped because of their age."""
        self._store = store
        self._newest = newest
        self._by_query = by_query
        self._certainties = certainties
        self._strengths = strengths
        self._answers: dict[tuple[str, str], tuple[int, Judgement]] = {}

    def __len__(self) -> int:
        return len(self._answers)

    def clear(self) -> None:
        """Forgets everything read so far, so that the next ``read`` starts from the beginning."""
        self._answers, self.cursor, self.n_forgotten = {}, 0, 0

    def read(self) -> bool:
        """Reads all new answers, in batches, and returns whether there were any."""
        before = self.cursor
        while changes := self._store.changes(self.cursor, limit=_BATCH):
            newest = changes[-1].event_id
            said = self._store.marks.strengths(since=self.cursor, until=newest)
            for change in changes:
                key = (change.query.id, change.annotator_id)
                if change.answer is None:
                    self._answers.pop(key, None)
                else:
                    told = judgement_of(
                        Comparison(change.query, change.answer),
                        change.annotator_id,
                        said.get(change.event_id),
                        certainties=self._certainties,
                        strengths=self._strengths,
                    )
                    self._answers[key] = (change.event_id, told)
            self.cursor = newest
            self._forget()
        return self.cursor != before

    def judgements(self, known: Container[str] | None = None) -> list[Judgement]:
        """Returns the current answers in the order of their events.

        Args:
            known: Ids of the queries whose answers to return; None returns all.
        """
        answers = sorted(self._answers.values(), key=lambda answer: answer[0])
        return [told for _, told in answers if known is None or told.query.id in known]

    def _forget(self) -> None:
        """Drops old answers that no fit will use, so that memory stays bounded."""
        if len(self._answers) <= 2 * self._newest:
            return
        in_order = sorted(self._answers, key=lambda key: self._answers[key][0], reverse=True)
        if self._by_query:  # a query's old votes count as long as the query is kept
            queries = list(dict.fromkeys(query_id for query_id, _ in in_order))
            gone = set(queries[self._newest :])
            in_order = [key for key in in_order if key[0] in gone]
        else:
            in_order = in_order[self._newest :]
        self.n_forgotten += n_with_preference(self._answers.pop(key)[1] for key in in_order)


def n_with_preference(judgements: Iterable[Judgement]) -> int:
    """Counts the answers that have a preference."""
    return sum(judgement.preference is not None for judgement in judgements)
