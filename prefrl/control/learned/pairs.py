"""Pairs of segments with their answers, from a file or as objects.

Files are read in two forms. Lines of JSON are what ``prefrl export`` writes, or::

    {"left": SEGMENT, "right": SEGMENT, "preference": 0.7, "margin": 0.0}

An ``.npz`` file has B segments of T steps, as the environment gives them, and N pairs of them::

    observations (B, T, ...)   actions (B, T, ...)   pairs (N, 2): rows of left and right
    preferences (N,): P(left is better), in [0, 1]
    and if known: next_observations (B, T, ...)   ended (B, T)   lengths (B,)   margins (N,)
"""

from __future__ import annotations

import itertools
import json
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium import spaces

from prefrl.control.environments.spaces import Layout, layout_of
from prefrl.control.learned.raw_segments import ORDER, segment_of
from prefrl.control.segments import Segment
from prefrl.core.comparisons import Judgement, Query, SoftComparison
from prefrl.errors import ConfigError, NotEnoughDataError, PrefrlError

__all__ = ["PairData", "Reader", "pairs_of", "read_pairs"]


_UNREADABLE = (
    OSError,
    EOFError,
    ValueError,
    KeyError,
    TypeError,
    IndexError,
    AttributeError,
    zipfile.BadZipFile,
)


@dataclass(frozen=True)
class PairData:
    """Segments, and answers to pairs of them."""

    segments: Mapping[str, Segment]
    """The segments by id."""
    comparisons: Sequence[Judgement]
    """The answers in their order."""


class Reader:
    """Makes segments from arrays, for the spaces of an environment.

    Args:
        observation_space: Observation space of one environment.
        action_space: Action space of one environment.
        n_before: Number of pictures before a step on which the reward depends.
    """

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        *,
        n_before: int = 0,
    ) -> None:
        self.spaces = observation_space, action_space
        self._layout: Layout = layout_of(observation_space)
        self.n_before = n_before
        """Number of pictures before a step on which the reward depends."""
        self._segments: dict[str, Segment] = {}
        self._comparisons: list[Judgement] = []

    def add(self, told: Segment | Mapping[str, Any] | tuple[Any, ...], *, length: int = 0) -> str:
        """Adds a segment, or its arrays by name or in order; returns its id.

        Args:
            told: The segment.
            length: Number of steps to which arrays whose last step ended the episode are extended.

        Raises:
            ConfigError: If it does not fit the spaces.
        """
        made = dict(zip(ORDER, told, strict=False)) if isinstance(told, tuple) else told
        if not isinstance(made, Segment):
            if not isinstance(made, Mapping):
                raise ConfigError(
                    f"expected a segment, a dict or a tuple of arrays, got {told!r:.60}."
                )
            made = segment_of(
                made, self._layout, self.spaces, n_before=self.n_before, length=length
            )
        self.check(made)
        self._segments[made.id] = made
        return made.id

    def segment(self, segment_id: str) -> Segment:
        """Returns a segment that was added."""
        return self._segments[segment_id]

    def check(self, segment: Segment) -> None:
        """Refuses a segment that does not fit the environment.

        Raises:
            ConfigError: If its numbers or pictures do not have the sizes of the spaces.
        """
        widths = {
            "observations": (self._layout.width, segment.observations.shape[1]),
            "actions": (spaces.flatdim(self.spaces[1]), segment.actions.shape[1]),
        }
        for name, (wanted, got) in widths.items():
            if wanted != got:
                raise ConfigError(
                    f"expected segments with {wanted} numbers in their {name}, as the environment "
                    f"has, got {got}; answers can be taken to the same observations and actions "
                    "only."
                )
        shown = None if segment.frames is None else segment.frames.shape[1:]
        if shown != self._layout.picture:
            raise ConfigError(
                f"expected segments with pictures {self._layout.picture}, got {shown}; answers can "
                "be taken to the same observations only."
            )
        if segment.frames is None:
            return
        n_before = segment.frames.shape[0] - len(segment)
        if n_before != self.n_before:
            raise ConfigError(
                f"expected segments with the {self.n_before} pictures before them that the reward "
                f"net looks back on, got {n_before}; choose the same settings of the net."
            )

    def compare(
        self,
        left: str,
        right: str,
        preference: float,
        margin: float = 0.0,
        *,
        group: str | None = None,
    ) -> None:
        """Adds an answer about two segments, given by id; ``group`` makes it part of a ranking.

        Raises:
            ConfigError: If the preference is not in [0, 1], the margin is negative or infinite, or
                the segments are the same.
        """
        if left == right:
            raise ConfigError("expected two segments in a pair, got one that is on both sides.")
        if not 0 <= preference <= 1:
            raise ConfigError(
                f"expected a preference in [0, 1], P(left is better), got {preference}."
            )
        if not 0 <= margin < np.inf:
            raise ConfigError(f"expected a margin of at least 0, got {margin}.")
        query = Query(f"d{len(self._comparisons)} {left} {right}", left, right, group)
        self._comparisons.append(SoftComparison(query, float(preference), float(margin)))

    def data(self) -> PairData:
        """Returns all segments and answers.

        Raises:
            NotEnoughDataError: If there is no pair.
        """
        if not self._comparisons:
            raise NotEnoughDataError("expected at least one pair of segments, got none.")
        return PairData(self._segments, self._comparisons)


def read_pairs(path: Path, reader: Reader) -> PairData:
    """Reads a file of lines of JSON or of arrays.

    Raises:
        ConfigError: If it cannot be read, or does not fit the environment.
        NotEnoughDataError: If it has no pairs.
    """
    if not path.is_file():
        raise ConfigError(f"expected a run, a .jsonl or an .npz file, but there is no file {path}.")
    try:
        _read_arrays(path, reader) if path.suffix == ".npz" else _read_lines(path, reader)
    except PrefrlError as error:
        raise type(error)(f"{path}: {error}") from error
    except _UNREADABLE as error:
        raise ConfigError(
            f"expected pairs of segments in {path}, as prefrl export writes them or as arrays in "
            f"an .npz file, but {error!r}."
        ) from error
    return reader.data()


def _read_lines(path: Path, reader: Reader) -> None:
    with path.open(encoding="utf-8") as file:
        for line in filter(str.strip, file):
            row = json.loads(line)
            if "ranks" in row:
                ids = [reader.add(segment) for segment in row["segments"]]
                for (a, first), (b, second) in itertools.combinations(
                    zip(ids, row["ranks"], strict=True), 2
                ):
                    said = 0.5 if first == second else float(first < second)
                    reader.compare(a, b, said, group=" ".join(ids) if len(ids) > 2 else None)
                continue
            if "chosen" in row:
                row = {"left": row["chosen"], "right": row["rejected"], "preference": 1.0, **row}
            pair = reader.add(row["left"]), reader.add(row["right"])
            reader.compare(*pair, float(row["preference"]), float(row.get("margin", 0.0)))


def _read_arrays(path: Path, reader: Reader) -> None:
    with np.load(path, allow_pickle=False) as file:
        arrays = dict(file)
    n, steps = arrays["observations"].shape[:2]
    lengths = arrays.get("lengths", np.full(n, steps))
    if not ((lengths >= 1) & (lengths <= steps)).all():
        raise ConfigError(f"expected lengths from 1 to the {steps} steps that there are.")
    parts = [p for p in ("observations", "actions", "next_observations", "ended") if p in arrays]
    for name in parts:
        if arrays[name].shape[:2] != (n, steps):
            raise ConfigError(
                f"expected {name} of {n} segments with {steps} steps each, as observations are, "
                f"got the shape {arrays[name].shape}."
            )
    ids = [
        reader.add({name: arrays[name][row][: lengths[row]] for name in parts}) for row in range(n)
    ]
    margins = arrays.get("margins", np.zeros(len(arrays["pairs"])))
    for (left, right), preference, margin in zip(
        arrays["pairs"].tolist(), arrays["preferences"].tolist(), margins.tolist(), strict=True
    ):
        if not (0 <= left < n and 0 <= right < n):
            raise ConfigError(f"expected rows of {n} segments in pairs, got {left} and {right}.")
        reader.compare(ids[left], ids[right], preference, margin)


def pairs_of(rows: Iterable[Any], reader: Reader) -> PairData:
    """Reads pairs from objects.

    Args:
        rows: Tuples of left, right, preference (P(left is better), in [0, 1]) and optionally a
            margin; the sides are Segments or dicts of arrays.
        reader: Makes segments for the environment.

    Raises:
        ConfigError: If a pair does not fit.
        NotEnoughDataError: If there are no pairs.
    """
    for row in rows:
        if not isinstance(row, tuple | list) or not 3 <= len(row) <= 4:
            raise ConfigError(
                f"expected pairs as (left, right, preference) or with a margin, got {row!r:.60}."
            )
        left, right, *said = row
        try:
            reader.compare(reader.add(left), reader.add(right), *map(float, said))
        except (TypeError, ValueError, IndexError) as error:
            raise ConfigError(
                f"expected pairs as (left, right, preference) or with a margin, got {row!r:.60}: "
                f"{error}."
            ) from error
    return reader.data()
