"""Parts of every report's page: frame, cards, figures, notes."""

from __future__ import annotations

import base64
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from html import escape
from importlib.resources import files
from pathlib import Path

from matplotlib.figure import Figure

from prefrl.errors import ConfigError, NotEnoughDataError
from prefrl.runtime.rundir.troubles import Trouble

__all__ = [
    "cards",
    "data_uri",
    "drawn_at",
    "duration",
    "embedded",
    "notes",
    "page",
    "plain",
    "section",
]

_DPI = 150


def page(title: str, body: str) -> str:
    """Returns a complete HTML page, with its style."""
    style = files("prefrl.report").joinpath("style.css").read_text(encoding="utf-8")
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{style}</style></head>\n<body>{body}</body></html>\n"
    )


def cards(figures: Sequence[tuple[str, str]]) -> Iterator[str]:
    """Yields cards for the most important numbers, each given as label and value."""
    yield '<div class="cards">'
    for label, value in figures:
        yield f'<div class="card"><b>{escape(value)}</b><span>{escape(label)}</span></div>'
    yield "</div>"


def section(title: str, reading: str, figure: str) -> str:
    """Returns a figure with its question above and how to read it below."""
    return f"<section><h2>{escape(title)}</h2>{figure}<p>{escape(reading)}</p></section>"


def drawn_at(path: Path, title: str, draw: Callable[[], Figure]) -> str:
    """Draws a figure for the page, and saves it as a PNG, too.

    Args:
        path: Path of the PNG, which is removed if the figure cannot be drawn.
        title: Alternative text of the image.
        draw: Draws the figure.

    Returns:
        HTML with the figure, or with a sentence why there is none.
    """
    try:
        return embedded(path, title, draw())
    except (NotEnoughDataError, ConfigError) as error:
        path.unlink(missing_ok=True)
        return f'<p class="soft">{escape(str(error))}</p>'


def embedded(path: Path, title: str, figure: Figure) -> str:
    """Saves a figure as a PNG, and returns HTML with it."""
    figure.savefig(path, dpi=_DPI)
    source = data_uri(path, "image/png")
    return f'<figure class="plot"><img src="{source}" alt="{escape(title)}"></figure>'


def notes(troubles: Iterable[Trouble]) -> Iterator[str]:
    """Yields notes that a training goes wrong, or that its run cannot be saved."""
    for trouble in troubles:
        yield f'<div class="notes"><p>{escape(trouble.text)}</p></div>'


def data_uri(path: Path, media_type: str) -> str:
    """Returns a file as a data URI."""
    return f"data:{media_type};base64,{base64.b64encode(path.read_bytes()).decode()}"


def plain(value: float, digits: int = 0) -> str:
    """Formats a number with some decimal places; a dash if it is not finite."""
    # Adding 0 turns a negative zero into a plain one.
    return f"{round(value, digits) + 0.0:,.{digits}f}" if math.isfinite(value) else "-"


def duration(seconds: float) -> str:
    """Formats seconds, from two minutes on as minutes; a dash if they are unknown."""
    if not math.isfinite(seconds):
        return "-"
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.1f} min"
