"""Where the labelling page is served, and how: the options ``--page``."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

__all__ = ["PageConfig"]


@dataclass(frozen=True)
class PageConfig:
    """Where the labelling page is served, and what it shows besides new pairs."""

    port: int | None = None
    """Port to listen on; by default 8770, or the next free one."""
    host: str = "127.0.0.1"
    """Address to listen on; any other than this machine's own needs expose."""
    expose: bool = False
    """Let other machines reach the page. An SSH tunnel is safer."""
    hosts: tuple[str, ...] = ()
    """With expose: names by which other machines call this one."""
    name: str = "owner"
    """Your own name in the data."""
    instructions: Path | None = None
    """Markdown for those who label; by default a general text."""
    overlap_share: float = 0.1
    """Share of the pairs shown that somebody else has answered already, to see how far people
    agree."""
    repeat_share: float = 0.03
    """Share of the pairs shown that the same person has answered already, to see how consistent
    they are."""
    gold_share: float = 0.05
    """Share of the pairs shown whose right answer is known, if there are such pairs."""
    answers_per_pair: int = 1
    """How many people answer each pair, as far as there are so many; all their answers are fitted,
    or with --majority what most of them said."""
    strength: bool = False
    """Ask how much better one side is, slightly or clearly: keys 1 to 4, from left to right."""
    people_per_pair: int = 2
    """How many people answer each pair that is shown to see how far they agree."""

    qualify: int = 0
    """How many gold pairs somebody new answers first, before their answers count; 0 asks for none.
    Pairs are gold that you have answered after G."""
    qualify_share: float = 0.8
    """With qualify: what share of those must be right."""

    def for_run(self, own: PageConfig) -> PageConfig:
        """A run's own page, at this address."""
        here = {name: getattr(self, name) for name in ("port", "host", "expose", "hosts", "name")}
        return dataclasses.replace(own, **here)
