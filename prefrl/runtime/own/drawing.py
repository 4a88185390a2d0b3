"""Chooses the pairs of the user's own items: drawn evenly, or named in a table."""

from __future__ import annotations

import csv
import heapq
import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from prefrl.errors import ConfigError

__all__ = ["draw_pairs", "named_pairs"]

_LEAST_PAIRS, _PAIRS_PER_ITEM = 100, 3
_LARGEST_TABLE = 64 * 2**20


def draw_pairs(
    groups: Sequence[Sequence[str]], n: int | None, rng: np.random.Generator
) -> list[tuple[str, str]]:
    """Draws distinct pairs, in which each item is used about equally often at any point.

    The items of a group are arranged in a circle at random. The first round pairs neighbours, which
    links all items. Each later round pairs items at another distance, with distances in random
    order.

    Args:
        groups: Items that may be compared with one another.
        n: Number of pairs; None: 100, or three per item if that is more. At most all pairs.
        rng: Random number generator.

    Returns:
        The pairs, in the order in which they should be asked.

    Raises:
        ConfigError: If n is less than 1.
    """
    if n is None:
        n = max(_LEAST_PAIRS, _PAIRS_PER_ITEM * sum(map(len, groups)))
    if n < 1:
        raise ConfigError(f"expected at least 1 pair, got {n}.")
    # Groups take turns, ordered by how often each of their items was used.
    turns = heapq.merge(*(_timed(group, rng) for group in groups))
    return [(left, right) for _, _, left, right in itertools.islice(turns, n)]


def _timed(
    group: Sequence[str], rng: np.random.Generator
) -> Iterator[tuple[float, float, str, str]]:
    """Yields all pairs of a group with sort keys: how often items were used, then at random."""
    for number, (i, j) in enumerate(_around(rng.permutation(len(group)).tolist(), rng), 1):
        yield number / len(group), rng.random(), group[i], group[j]


def _around(circle: Sequence[int], rng: np.random.Generator) -> Iterator[tuple[int, int]]:
    """Yields all pairs of n numbers, in an order that uses each about equally often."""
    n = len(circle)
    if n < 2:
        return
    distances = [1, *(2 + rng.permutation(max(0, n // 2 - 1)))]
    for distance in map(int, distances):
        for at in _alternately(n, distance):
            yield circle[at], circle[(at + distance) % n]


def _alternately(n: int, distance: int) -> list[int]:
    """Returns where pairs at a distance begin: first pairs without a shared item, then the rest."""
    if 2 * distance == n:
        return list(range(distance))  # the other half would repeat them
    first, then = list[int](), list[int]()
    for start in range(math.gcd(n, distance)):
        length = n // math.gcd(n, distance)
        ring = [(start + step * distance) % n for step in range(length)]
        first += ring[0 : length - 1 : 2]
        then += [*ring[1::2], *(ring[-1:] if length % 2 else [])]
    return first + then


def named_pairs(
    path: Path, names: Mapping[str, str], groups: Iterable[Sequence[str]]
) -> list[tuple[str, str]]:
    """Reads pairs from a table.

    Args:
        path: CSV with two names per line. A first line with only unknown names is a heading.
        names: The item of each name.
        groups: Items that may be compared with one another.

    Returns:
        Each pair once, in the order of the table.

    Raises:
        ConfigError: If the table cannot be read, or a line is not two items of one group.
    """
    where = {item: number for number, group in enumerate(groups) for item in group}
    pairs = dict[frozenset[str], tuple[str, str]]()
    for number, row in enumerate(_rows(path), 1):
        found = [names.get(name.strip()) for name in row]
        if number == 1 and not any(found):
            continue
        if len(found) != 2 or None in found:
            absent = [name for name, item in zip(row, found, strict=True) if item is None]
            what = f"nothing is called {absent[0]!r:.80}" if absent else f"it has {len(row)}"
            raise ConfigError(
                f"expected two names of what is compared in line {number} of {path}, but {what}."
            )
        left, right = (item for item in found if item is not None)
        if left == right or where[left] != where[right]:
            why = "they are the same" if left == right else "their prompts differ"
            raise ConfigError(
                f"expected two different ones to one prompt in line {number} of {path}, but {why}."
            )
        pairs.setdefault(frozenset((left, right)), (left, right))
    if not pairs:
        raise ConfigError(f"expected pairs of names in {path}, found none.")
    return list(pairs.values())


def _rows(path: Path) -> list[list[str]]:
    try:
        if path.stat().st_size > _LARGEST_TABLE:
            raise ConfigError(f"expected a table of at most 64 MiB, but {path} is larger.")
        text = path.read_text(encoding="utf-8-sig")
        return [row for row in csv.reader(text.splitlines()) if any(map(str.strip, row))]
    except (OSError, ValueError, csv.Error) as error:
        why = getattr(error, "strerror", None) or error
        raise ConfigError(f"expected a table of pairs in CSV at {path}, but {why}.") from error
