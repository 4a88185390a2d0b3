"""A folder to label with pairs of the user's own films or texts, without an agent."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from prefrl.core.bradley_terry import groups_of
from prefrl.core.comparisons import Query
from prefrl.core.store import LabelStore
from prefrl.errors import ConfigError, RunDirectoryError
from prefrl.runtime.own.drawing import draw_pairs, named_pairs
from prefrl.runtime.own.films import find_films, look_at, with_length
from prefrl.runtime.own.texts import read_texts
from prefrl.runtime.rundir import RunDirectory
from prefrl.runtime.rundir.media import add_file, add_medium

__all__ = ["MADE_OF", "Chosen", "Kind", "Made", "is_own", "make_folder", "own_kind"]

MADE_OF = "own"
"""The key in config.json that says what a folder was made of."""

_MOST_TOGETHER = 2000  # their scores are fitted together

Kind = Literal["films", "texts"]
"""The items that are compared."""


@dataclass(frozen=True)
class Chosen:
    """Which pairs to ask about."""

    n_pairs: int | None = None
    """Number of pairs to draw; None: 100, or three per item if that is more."""
    table: Path | None = None
    """A table that names the pairs, instead of drawing them."""
    seed: int = 0
    """Seed of the drawn pairs."""


@dataclass(frozen=True)
class Made:
    """A folder that was made."""

    run: RunDirectory
    """The folder, in the form of a run."""
    notes: tuple[str, ...] = ()
    """Sentences that the user should know."""


def is_own(config: Mapping[str, Any]) -> bool:
    """Whether a folder was made of the user's own films or texts, by its config.json."""
    return MADE_OF in config


def own_kind(config: Mapping[str, Any]) -> Kind | None:
    """Returns whether a folder was made of films or of texts; None for any other folder."""
    kind: Kind | None = config.get(MADE_OF, {}).get("kind")
    return kind


def make_folder(
    root: Path,
    kind: Kind,
    source: Path,
    chosen: Chosen,
    *,
    told: Callable[[int, int], None] = lambda done, of: None,
) -> Made:
    """Makes a folder of films or texts to compare.

    Args:
        root: A new folder, or one made of the same, which is opened as it is. If anything fails,
            nothing of a new one is left.
        kind: The items to compare.
        source: The folder of films, or the file of texts.
        chosen: Which pairs to ask about.
        told: Called with the number of items that are done, and of all.

    Raises:
        ConfigError: If an item is not a film or text, or the pairs cannot be made.
        RunDirectoryError: If the folder exists with other content.
    """
    root, source = root.absolute(), source.absolute()
    made_of = {
        "kind": kind,
        "from": str(source),
        "pairs": chosen.n_pairs if chosen.table is None else str(chosen.table.absolute()),
        "seed": chosen.seed,
    }
    if (there := _made_before(root, made_of)) is not None:
        return Made(there)
    part = root.with_name(f".{root.name}.part")  # left over if killed, and then made again
    shutil.rmtree(part, ignore_errors=True)
    try:
        run = RunDirectory.create(part)
        with LabelStore(run.label_store) as store:
            add = _add_films if kind == "films" else _add_texts
            names, groups, notes = add(run, store, source, told)
            pairs, more = _pairs(kind, names, groups, chosen)
            _ask(store, pairs)
        title = source.stem if kind == "texts" else source.name
        run.write_json(run.config, {"title": title, MADE_OF: made_of})
        part.replace(root)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise
    return Made(RunDirectory.open(root), (*notes, *more))


def _made_before(root: Path, made_of: Mapping[str, Any]) -> RunDirectory | None:
    run = RunDirectory(root)
    if not root.exists() or (root.is_dir() and not any(root.iterdir())):
        return None
    there = run.read_json(run.config).get(MADE_OF) if run.config.is_file() else None
    if there == made_of:
        return run
    has = "something else" if there is None else f"pairs made as {there}"
    raise RunDirectoryError(
        f"expected a new folder for pairs made as {dict(made_of)}, but {root} has {has}; choose "
        f"another one, or serve that by prefrl label {root}"
    )


def _add_films(
    run: RunDirectory, store: LabelStore, source: Path, told: Callable[[int, int], None]
) -> tuple[dict[str, str], list[list[str]], list[str]]:
    paths, others = find_films(source)
    films = [look_at(path, source) for path in paths]  # all, before any is copied
    names, notes = dict[str, str](), list[str]()
    if others:
        shown = ", ".join(path.name for path in others[:3]) + (" …" if len(others) > 3 else "")
        notes.append(f"Left out, as no name in .mp4 or .webm: {shown} ({len(others)}).")
    for number, film in enumerate(films, 1):
        if film.has_length:
            media_id = add_file(run.media, film.path, film.media_type)
        else:
            media_id = add_medium(run.media, with_length(film), film.media_type)
        store.media.add(film.name, media_id, film.media_type)
        names[film.name] = film.name
        told(number, len(films))
    short = Counter(film.name.rpartition(".")[0] for film in films)
    for film in films:  # a suffix may be left out if the name is unique without
        if short[name := film.name.rpartition(".")[0]] == 1:
            names.setdefault(name, film.name)
    return names, [[film.name for film in films]], notes


def _add_texts(
    run: RunDirectory, store: LabelStore, source: Path, told: Callable[[int, int], None]
) -> tuple[dict[str, str], list[list[str]], list[str]]:
    texts = read_texts(source)
    groups = dict[str, list[str]]()
    for number, text in enumerate(texts, 1):
        content = json.dumps({"prompt": text.prompt, "response": text.text}).encode()
        media_id = add_medium(run.media, content, "application/json")
        store.media.add(text.name, media_id, "application/json")
        groups.setdefault(text.prompt, []).append(text.name)
        told(number, len(texts))
    alone = [group[0] for group in groups.values() if len(group) == 1]
    if len(alone) == len(groups):
        raise ConfigError(
            f"expected at least two texts to one prompt in {source}, but each of the "
            f"{len(groups)} prompts has one."
        )
    notes = []
    if alone:
        notes.append(f"Left out, as the only ones to their prompts: {len(alone)} texts.")
    return {text.name: text.name for text in texts}, list(groups.values()), notes


def _pairs(
    kind: Kind, names: Mapping[str, str], groups: Sequence[Sequence[str]], chosen: Chosen
) -> tuple[list[tuple[str, str]], list[str]]:
    """Returns the pairs, and notes about them."""
    if chosen.table is not None:
        pairs = named_pairs(chosen.table, names, groups)
    else:
        rng = np.random.default_rng(chosen.seed)
        pairs = draw_pairs(groups, chosen.n_pairs, rng)
    linked = groups_of(pairs)
    if (largest := max(map(len, linked))) > _MOST_TOGETHER:
        raise ConfigError(
            f"expected at most {_MOST_TOGETHER:,} {kind} to be compared with one another, got "
            f"{largest:,}; give fewer."
        )
    notes = []
    if len(linked) > sum(len(group) > 1 for group in groups):
        left = sum(map(len, groups)) - sum(map(len, linked))
        notes.append(
            f"The {len(pairs)} pairs do not link all {kind}: they make {len(linked)} rankings"
            + (f", and {left} are in no pair." if left else ".")
        )
    return pairs, notes


def _ask(store: LabelStore, pairs: Sequence[tuple[str, str]]) -> None:
    queries = [Query(f"p{number}", *pair) for number, pair in enumerate(pairs)]
    # The higher the priority, the sooner it is shown.
    store.add_queries(queries, priorities=[float(-number) for number in range(len(queries))])
