"""Journals of episodes: what was done in them, so that they can be played again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Journals", "as_arrays", "from_arrays"]

Journals = Mapping[int, NDArray[np.uint8]]
"""Games by their number: all actions, shape (n,), as far as they are known."""

_NAME = "journal_"


def as_arrays(journals: Journals) -> dict[str, NDArray[Any]]:
    """Journals as named arrays, for a file."""
    return {f"{_NAME}{game}": actions for game, actions in journals.items()}


def from_arrays(arrays: Mapping[str, NDArray[Any]]) -> Journals:
    """What ``as_arrays`` gave, among other arrays."""
    return {
        int(name.removeprefix(_NAME)): actions
        for name, actions in arrays.items()
        if name.startswith(_NAME)
    }
