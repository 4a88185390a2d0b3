"""Where the labelling page is served, and how: the options ``--page``."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from prefrl.errors import RunDirectoryError
from prefrl.runtime.rundir import RunDirectory

__all__ = ["PageConfig", "note_page", "page_of"]


@dataclass(frozen=True)
class PageConfig:
    """Where the labelling page is served, and what it shows besides new pairs."""

    port: int | None = None
    """Port to listen on; by default 8770, or the next free one."""
    host: str = "127.0.0.1"
    """Address to listen on; anything but this machine's own address needs expose."""
    expose: bool = False
    """Let other machines reach the page. An SSH tunnel is safer."""
    hosts: tuple[str, ...] = ()
    """With expose: the names that other machines use for this one."""
    elsewhere: bool = False
    """Serve no page here: people label on another machine (--store and --media)."""
    name: str = "owner"
    """Your own name in the data."""
    instructions: Path | None = None
    """Markdown file with instructions for labellers; by default a general text."""
    overlap_share: float = 0.1
    """Share of the shown pairs that somebody else has already answered, to measure how far people
    agree."""
    repeat_share: float = 0.03
    """Share of the shown pairs that the same person has already answered, to measure how consistent
    they are."""
    gold_share: float = 0.05
    """Share of the shown pairs whose right answer is known, if there are such pairs."""
    answers_per_pair: int = 1
    """How many people answer each pair, if there are enough people; the reward is fitted to all
    their answers, or with --majority to what most of them said."""
    strength: bool = False
    """Also ask how much better a side is, slightly or clearly: keys 1 to 4, from left to right."""
    people_per_pair: int = 2
    """How many people answer each pair that serves to measure agreement."""

    qualify: int = 0
    """How many gold pairs a new person answers before their answers count; 0 asks none. To make a
    pair gold, press G on the page and answer it."""
    qualify_share: float = 0.8
    """With qualify: the share of these answers that must be right."""

    def for_run(self, own: PageConfig) -> PageConfig:
        """Returns the options of a run's own page, but at this address and for this owner."""
        here = {name: getattr(self, name) for name in ("port", "host", "expose", "hosts", "name")}
        return dataclasses.replace(own, **here)


def note_page(run: RunDirectory, page: PageConfig) -> None:
    """Stores where a run's page is served from now on."""
    told = {**dataclasses.asdict(page), "hosts": list(page.hosts)}
    told["instructions"] = None if page.instructions is None else str(page.instructions)
    run.write_json(run.page, told)


def page_of(run: RunDirectory) -> PageConfig:
    """Loads the options with which a run's page is served, or was served last.

    Raises:
        RunDirectoryError: If it never was, or its file is damaged.
    """
    if not run.page.is_file():
        raise RunDirectoryError(
            f"expected a run with a labelling page, but {run.root} has no {run.page.name}; serve "
            f"one: prefrl label {run.root}"
        )
    told = run.read_json(run.page)
    try:
        told["hosts"] = tuple(told["hosts"])
        told["instructions"] = told["instructions"] and Path(told["instructions"])
        return PageConfig(**told)
    except (KeyError, TypeError) as error:
        raise RunDirectoryError(
            f"expected settings of a labelling page in {run.page}, but {error}; remove the file, "
            "and new ones are made."
        ) from error
