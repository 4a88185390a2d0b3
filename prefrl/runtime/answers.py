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
        store: Where they come from.
        newest: A fit uses at most so many: of answers, or of queries.
        by_query: Whether it uses what most people said of a query; else each answer.
        certainties: P(the chosen side is better) for each word of how much better it is.
        strengths: What data told.
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
        """Id of the newest event that was read."""
        self.n_forgotten = 0
        """Answers with a preference that are too old to be kept."""
        self._store = store
        self._newest = newest
        self._by_query = by_query
        self._certainties = certainties
        self._strengths = strengths
        self._answers: dict[tuple[str, str], tuple[int, Judgement]] = {}

    def __len__(self) -> int:
        return len(self._answers)

    def clear(self) -> None:
        """Returns to the beginning, so that everything is read again."""
        self._answers, self.cursor, self.n_forgotten = {}, 0, 0

    def read(self) -> bool:
        """Reads new answers, a batch at a time. Returns whether there were any."""
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
        """Current answers in the order of their events.

        Args:
            known: Ids of the queries whose answers are asked for; None takes all.
        """
        answers = sorted(self._answers.values(), key=lambda answer: answer[0])
        return [told for _, told in answers if known is None or told.query.id in known]

    def _forget(self) -> None:
        """Drops old answers that no fit will use, so that memory stays bounded."""
        if len(self._answers) <= 2 * self._newest:
            return
        in_order = sorted(self._answers, key=lambda key: self._answers[key][0], reverse=True)
        if self._by_query:  # an old vote counts as long as its query does
            queries = list(dict.fromkeys(query_id for query_id, _ in in_order))
            gone = set(queries[self._newest :])
            in_order = [key for key in in_order if key[0] in gone]
        else:
            in_order = in_order[self._newest :]
        self.n_forgotten += n_with_preference(self._answers.pop(key)[1] for key in in_order)


def n_with_preference(judgements: Iterable[Judgement]) -> int:
    """How many answers have a preference."""
    return sum(judgement.preference is not None for judgement in judgements)
