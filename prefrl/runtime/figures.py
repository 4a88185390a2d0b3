"""The user's own report figures: how they are named, checked and drawn."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from prefrl.core.plugs import check_takes, load_plug
from prefrl.errors import ConfigError, RunDirectoryError
from prefrl.runtime.rundir import RunDirectory

__all__ = ["FigureFunction", "OwnFigure", "check_figures", "own_figures"]

FigureFunction = Callable[[RunDirectory], Any]
"""Draws a matplotlib figure from a run directory."""


class OwnFigure:
    """A figure that a function draws; the first line of its docstring is the heading.

    Args:
        figure: The function, or its name as ``module:name`` or ``FILE.py:name``.

    Raises:
        ConfigError: If there is no such function, or it takes anything but one run directory.
    """

    def __init__(self, figure: str | FigureFunction) -> None:
        named = figure if isinstance(figure, str) else getattr(figure, "__qualname__", repr(figure))
        found = load_plug(figure, option="figure") if isinstance(figure, str) else figure
        if not callable(found):
            raise ConfigError(f"expected figure {named} to be a function, got {found!r}.")
        check_takes(found, "run directory", option=f"figure {named}")
        self._draw = found
        self.name = named.rpartition(":")[2].replace(".", "_")
        """Name of its file in the report."""
        told = (inspect.getdoc(found) or self.name.replace("_", " ")).strip().splitlines()
        self.title = told[0].rstrip(".")
        """Its heading."""
        self.reading = " ".join(told[1:]).strip()
        """The text below the heading: the rest of the docstring."""

    def draw(self, run: RunDirectory) -> Any:
        """Draws the figure; turns any error into one sentence.

        Raises:
            ConfigError: If the function raises, or returns no figure.
        """
        try:
            figure = self._draw(run)
        except Exception as error:  # a user's function may raise anything
            raise ConfigError(
                f"The figure {self.name} raised {type(error).__name__}: {error}."
            ) from error
        if not hasattr(figure, "savefig"):
            raise ConfigError(
                f"The figure {self.name} is {type(figure).__name__} and not a matplotlib figure."
            )
        return figure


def check_figures(figures: Iterable[str | FigureFunction]) -> None:
    """Refuses values that cannot be figures of a report.

    Raises:
        ConfigError: If one cannot be.
    """
    for figure in figures:
        OwnFigure(figure)


def own_figures(run: RunDirectory, more: Sequence[str | FigureFunction] = ()) -> list[OwnFigure]:
    """Returns the figures that a run's config names, followed by ``more``.

    Raises:
        ConfigError: If one cannot be a figure of a report.
    """
    try:
        config = run.read_json(run.config) if run.config.is_file() else {}
    except RunDirectoryError:
        config = {}  # the report itself says that the file is damaged
    return [OwnFigure(figure) for figure in dict.fromkeys([*config.get("figure", ()), *more])]
