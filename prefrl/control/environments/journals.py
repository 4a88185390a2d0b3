"""Journals of episodes: their start and actions, to replay them for films."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "JOURNAL_KEY",
    "Journal",
    "Journals",
    "as_arrays",
    "as_state",
    "from_arrays",
    "from_state",
    "shared_from_state",
    "shared_state",
]

JOURNAL_KEY = "prefrl/journal"
"""Key of an episode's number and journal in the info of its last step."""


@dataclass(frozen=True, eq=False)
class Journal:
    """Record of an episode or a game, from which it can be replayed."""

    actions: NDArray[Any]
    """All actions since it began, shape (n, ...)."""
    beginning: str = ""
    """How it began, as JSON; empty for a game, which its number determines."""
    seen: NDArray[np.uint32] = field(default_factory=lambda: np.empty(0, np.uint32))
    """Checksums of everything that was observed up to each step, shape (n + 1,); empty for a
    game."""

    def __len__(self) -> int:
        return len(self.actions)

    @property
    def nbytes(self) -> int:
        """Size in bytes."""
        return self.actions.nbytes + len(self.beginning) + self.seen.nbytes

    def until(self, step: int) -> Journal:
        """Returns the journal of the first ``step`` actions; it shares their memory."""
        return Journal(self.actions[:step], self.beginning, self.seen[: step + 1])


Journals = Mapping[int, Journal]
"""Episodes or games by number. Numbers are unique within a run."""

_ACTIONS, _BEGINNING, _SEEN = "journal_", "beginning_", "seen_"


def as_arrays(journals: Journals) -> dict[str, NDArray[Any]]:
    """Converts journals to named arrays, for a file."""
    arrays = dict[str, NDArray[Any]]()
    for number, journal in journals.items():
        arrays[f"{_ACTIONS}{number}"] = journal.actions
        if journal.beginning:
            arrays[f"{_BEGINNING}{number}"] = np.frombuffer(journal.beginning.encode(), np.uint8)
            arrays[f"{_SEEN}{number}"] = journal.seen
    return arrays


def from_arrays(arrays: Mapping[str, NDArray[Any]]) -> dict[int, Journal]:
    """Restores journals from the output of ``as_arrays``, among other arrays."""
    journals = dict[int, Journal]()
    for number in [n.removeprefix(_ACTIONS) for n in arrays if n.startswith(_ACTIONS)]:
        actions = arrays[f"{_ACTIONS}{number}"]
        if (beginning := arrays.get(f"{_BEGINNING}{number}")) is None:
            journals[int(number)] = Journal(actions)
        else:
            seen = arrays[f"{_SEEN}{number}"]
            journals[int(number)] = Journal(actions, beginning.tobytes().decode(), seen)
    return journals


def as_state(journals: Journals) -> list[list[Any]]:
    """Converts journals to lists, for a checkpoint."""
    return [[n, one.actions, one.beginning, one.seen] for n, one in journals.items()]


def from_state(state: Iterable[Sequence[Any]]) -> dict[int, Journal]:
    """Restores copies from ``as_state``. Earlier releases wrote only numbers and actions."""
    return {
        number: Journal(actions.copy(), *beginning, *(seen.copy() for seen in checked))
        for number, actions, beginning, checked in (
            (one[0], one[1], one[2:3], one[3:4]) for one in state
        )
    }


def shared_state(many: Sequence[Journals]) -> dict[str, Any]:
    """Converts the journals of many segments for a checkpoint, with each episode only once."""
    longest = dict[int, Journal]()
    for journals in many:
        for number, journal in journals.items():
            if number not in longest or len(journal) > len(longest[number]):
                longest[number] = journal
    lengths = [[[number, len(one)] for number, one in journals.items()] for journals in many]
    return {"episodes": as_state(longest), "lengths": lengths}


def shared_from_state(state: Mapping[str, Any]) -> list[dict[int, Journal]]:
    """Restores journals from ``shared_state``."""
    longest = from_state(state["episodes"])
    return [{number: longest[number].until(n) for number, n in row} for row in state["lengths"]]
