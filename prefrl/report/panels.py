"""Panels of the report's figures: their size, titles, axes, lines and legends."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from prefrl.report.tables import Array

__all__ = [
    "FAINT",
    "INK",
    "LABELS",
    "PREDICTED",
    "TRUE",
    "describe",
    "legend",
    "line",
    "panels",
]

TRUE, PREDICTED, LABELS, INK, FAINT = "#0072B2", "#D55E00", "#009E73", "#24292f", "#d0d7de"
_WIDTH = 5.6  # inches; at 360 CSS pixels one point is then 0.85 pixels

_TITLE: dict[str, Any] = {"loc": "left", "fontsize": 12, "fontweight": "bold", "color": INK}


def panels(
    n_panels: int, *, height: float | None = None, ratios: Sequence[float] | None = None
) -> tuple[Figure, list[Axes]]:
    """Creates a figure with panels below each other; returns it and the panels."""
    height = height or (7.2 if n_panels == 2 else 4.4)
    figure = Figure(figsize=(_WIDTH, height), dpi=180, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    grid = figure.subplots(n_panels, 1, squeeze=False, height_ratios=ratios)
    return figure, list(grid[:, 0])


def describe(axes: Axes, title: str, x: str, y: str) -> None:
    """Sets title, axis labels and style of a panel."""
    axes.set_title(textwrap.fill(title, 46), pad=8, **_TITLE)
    axes.set_xlabel(x, fontsize=13, color=INK)
    axes.set_ylabel(y, fontsize=13, color=INK)
    axes.tick_params(labelsize=12, colors=INK)
    axes.set_axisbelow(True)
    axes.grid(True, color=FAINT, lw=0.7)
    axes.spines[["top", "right"]].set_visible(False)


def line(
    axes: Axes,
    x: Array,
    y: Array,
    colour: str,
    label: str,
    *,
    dashes: str = "-",
    always_mark: bool = False,
) -> None:
    """Draws the finite points, or says that there are none."""
    finite = np.isfinite(x) & np.isfinite(y)
    if not finite.any():
        axes.text(
            0.5, 0.5, "nothing recorded yet", transform=axes.transAxes, ha="center", va="center",
            fontsize=14, color=INK,
        )  # fmt: skip
        axes.tick_params(labelbottom=False, labelleft=False)
        return
    mark = "o" if always_mark or finite.sum() <= 60 else ""
    axes.plot(x[finite], y[finite], dashes, color=colour, lw=2, marker=mark, ms=4, label=label)


def legend(axes: Axes, *, n_columns: int = 1) -> None:
    """Puts the legend between title and panel, where it covers nothing."""
    made = axes.legend(
        loc="lower left", bbox_to_anchor=(0, 1), ncols=n_columns, fontsize=12, frameon=False,
        labelcolor=INK, borderaxespad=0.1, borderpad=0.2, columnspacing=1.2, handlelength=1.6,
    )  # fmt: skip
    n_rows = math.ceil(len(made.get_texts()) / n_columns)
    axes.set_title(axes.get_title(loc="left"), pad=10 + 18 * n_rows, **_TITLE)
