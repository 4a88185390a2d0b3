"""Where commands print: what was asked for on standard output, complaints on standard error."""

from __future__ import annotations

from rich.console import Console

__all__ = ["console", "errors", "print_link"]

console = Console(highlight=False)
"""Standard output."""
errors = Console(stderr=True, highlight=False)
"""Standard error."""


def print_link(what: str, link: str) -> None:
    """Prints a link on a line of its own, whole, so that it can be clicked or copied."""
    console.print(f"{what}\n  {link}", soft_wrap=True, markup=False)
