"""The core terms: item, query, answer, comparison, and THE preference convention.

``preference`` is P(left is better), a float in [0, 1], everywhere. A tie is 0.5. A skip ("can't
tell") has no preference: it is kept in the store and never trained on (Christiano et al. 2017,
section 2.2.2). Code that has another convention converts at its boundary.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

__all__ = ["Answer", "Comparison", "Item", "Judgement", "Query", "SoftComparison"]


@runtime_checkable
class Item(Protocol):
    """Something to compare: a segment or a response. The core only reads its name."""

    @property
    def id(self) -> str:
        """A name that is unique within a run."""
        ...


class Answer(enum.Enum):
    """What a labeller chose when shown a query."""

    LEFT = "left"
    RIGHT = "right"
    TIE = "tie"
    SKIP = "skip"

    @property
    def preference(self) -> float | None:
        """P(left is better): 1 for LEFT, 0 for RIGHT, 0.5 for TIE; None for SKIP."""
        return _PREFERENCES[self]

    @property
    def mirrored(self) -> Answer:
        """The same judgement with left and right exchanged."""
        return _MIRRORED.get(self, self)


_PREFERENCES = {Answer.LEFT: 1.0, Answer.RIGHT: 0.0, Answer.TIE: 0.5, Answer.SKIP: None}
_MIRRORED = {Answer.LEFT: Answer.RIGHT, Answer.RIGHT: Answer.LEFT}


@dataclass(frozen=True)
class Query:
    """A pair of items put to a labeller, not yet answered."""

    id: str
    """A name that is unique within a run."""
    left: str
    """The id of the item on the left."""
    right: str
    """The id of the item on the right."""
    group: str | None = None
    """Name that all K (K - 1) / 2 pairs of K items share if a labeller ranks them at once (Ouyang
    et al. 2022, section 3.5); None for a single pair."""


@dataclass(frozen=True)
class Comparison:
    """A query with its answer."""

    query: Query
    answer: Answer
    certainty: float = 1.0
    """P(the chosen side is better), in [0.5, 1]: less than 1 if the labeller said that it is only
    slightly better."""

    @property
    def preference(self) -> float | None:
        """P(left is better); None when the labeller could not tell."""
        said = self.answer.preference
        return said if said in (None, 0.5) else abs(self.certainty - (said == 0.0))

    @property
    def margin(self) -> float:
        """Least difference of scores in favour of the better one: not known, so 0."""
        return 0.0


@dataclass(frozen=True)
class SoftComparison:
    """A query with a preference of any strength, from another data set."""

    query: Query
    """The pair."""
    preference: float
    """P(left is better), in [0, 1]."""
    margin: float = 0.0
    """Least difference of scores in favour of the better one (Touvron et al. 2023, arXiv
    2307.09288, equation 2)."""


class Judgement(Protocol):
    """A comparison of either kind, as a fit reads it."""

    @property
    def query(self) -> Query:
        """The pair."""
        ...

    @property
    def preference(self) -> float | None:
        """P(left is better); None when the labeller could not tell."""
        ...

    @property
    def margin(self) -> float:
        """Least difference of scores in favour of the better one."""
        ...
