"""The figures of a benchmark, each from an outcome to a matplotlib figure."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from prefrl.benchmark.outcome import Outcome, short_name
from prefrl.benchmark.statistics import Interval, interquartile_mean, profile

__all__ = ["FIGURES", "by_accuracy", "by_arm", "by_labels", "by_task", "profiles"]

_COLOURS = ("#24292f", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7f7f7f")
_SCORE = "Return: random play 0, true reward 1"
_ALONG = np.linspace(-0.25, 1.75, 401)


def by_task(outcome: Outcome) -> Figure | None:
    """Draws each training as a dot and each arm's mean as a bar, with one panel per task."""
    n_columns = min(4, len(outcome.tasks))
    n_rows = math.ceil(len(outcome.tasks) / n_columns)
    figure = _figure(max(4.0, 2.4 * n_columns), 2.4 * n_rows + 0.5)
    panels = list(figure.subplots(n_rows, n_columns, squeeze=False).ravel())
    for axes, task in zip(panels, outcome.tasks, strict=False):
        for place, arm in enumerate(outcome.arms):
            returns = outcome.column(arm, task, "return_mean")
            if returns.size:
                colour = _colour(place)
                axes.bar(place, returns.mean(), 0.7, color=colour, alpha=0.35, label=arm)
                axes.plot([place] * returns.size, returns, "o", ms=3.5, color=colour)
        axes.set(title=short_name(task), xticks=[])
        axes.title.set_size(9)
        axes.tick_params(labelsize=7)
        axes.grid(axis="y", alpha=0.3)
    for axes in panels[len(outcome.tasks) :]:
        axes.set_axis_off()
    _legend(figure, panels)
    return figure


def by_arm(outcome: Outcome) -> Figure | None:
    """Draws the interquartile mean of each arm over all tasks, with its interval."""
    found = {arm: interquartile_mean(s) for arm, s in outcome.shared_scores().items() if s}
    if not found:
        return None
    figure = _figure(5.6, 0.42 * len(found) + 1.1)
    axes = figure.subplots()
    for place, (arm, interval) in enumerate(found.items()):
        colour = _colour(outcome.arms.index(arm))
        if math.isfinite(interval.low):
            axes.barh(
                place, interval.high - interval.low, 0.6, interval.low, color=colour, alpha=0.35
            )
        axes.plot([interval.value] * 2, [place - 0.3, place + 0.3], color=colour, lw=2.5)
    axes.use_sticky_edges = False  # leaves a margin between intervals and the frame
    axes.set_yticks(range(len(found)), list(found))
    axes.invert_yaxis()
    axes.set_xlabel(f"{_SCORE} (interquartile mean, 95 % interval)", fontsize=8)
    axes.grid(axis="x", alpha=0.3)
    return figure


def profiles(outcome: Outcome) -> Figure | None:
    """Draws the share of each arm's trainings above each score."""
    found = {arm: scores for arm, scores in outcome.shared_scores().items() if scores}
    if not found:
        return None
    figure = _figure(5.6, 3.4)
    axes = figure.subplots()
    for arm, scores in found.items():
        colour = _colour(outcome.arms.index(arm))
        axes.step(_ALONG, profile(scores, _ALONG), where="post", color=colour, label=arm)
    axes.set(xlabel=_SCORE, ylabel="Share of trainings above", ylim=(0, 1.02))
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, fontsize=8)
    return figure


def by_labels(outcome: Outcome) -> Figure | None:
    """Draws the interquartile mean over the number of comparisons, to show how few are enough."""
    curves: dict[str, list[tuple[int, Interval]]] = {}
    for arm, scores in outcome.shared_scores().items():
        if scores and (labels := outcome.labels(arm)):
            point = labels, interquartile_mean(scores)
            curves.setdefault(outcome.curve(arm), []).append(point)
    if max(map(len, curves.values()), default=0) < 2:
        return None
    figure = _figure(5.6, 3.4)
    axes = figure.subplots()
    for place, (name, points) in enumerate(curves.items(), 1):
        points.sort(key=lambda point: point[0])
        budgets = [n for n, _ in points]
        values = np.array([[one.low, one.value, one.high] for _, one in points]).T
        axes.fill_between(budgets, values[0], values[2], color=_colour(place), alpha=0.2)
        axes.plot(budgets, values[1], "o-", color=_colour(place), label=name or None)
    axes.axhline(1, color=_COLOURS[0], lw=1, ls="--")
    axes.set(xscale="log", xlabel="Comparisons", ylabel=_SCORE)
    ticks = sorted({n for points in curves.values() for n, _ in points})
    axes.set_xticks(ticks, [f"{n:,}" for n in ticks])
    axes.minorticks_off()
    axes.grid(alpha=0.3)
    if any(curves):
        axes.legend(frameon=False, fontsize=8)
    return figure


def by_accuracy(outcome: Outcome) -> Figure | None:
    """Draws each training's normalised return over how well its reward ranks its own segments."""
    figure = _figure(5.6, 3.6)
    axes = figure.subplots()
    n_points = 0
    for place, arm in enumerate(outcome.arms):
        scores = outcome.scores(arm)
        pairs = [(outcome.column(arm, task, "accuracy"), scores[task]) for task in scores]
        accuracy, score = np.concatenate([np.empty((2, 0)), *map(np.stack, pairs)], axis=1)
        seen = np.isfinite(accuracy)
        n_points += int(seen.sum())
        if seen.any():
            axes.plot(
                accuracy[seen], score[seen], "o", ms=4, alpha=0.7, color=_colour(place), label=arm
            )
    if n_points < 2:
        return None
    axes.set(
        xlabel="Share of pairs of the final policy's segments in the right order", ylabel=_SCORE
    )
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, fontsize=8)
    return figure


FIGURES = {
    "by_arm": by_arm,
    "by_labels": by_labels,
    "by_task": by_task,
    "profiles": profiles,
    "by_accuracy": by_accuracy,
}
"""The figures by file name; each function returns None if there is nothing to show yet."""


def _figure(width: float, height: float) -> Figure:
    figure = Figure(figsize=(width, height), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _colour(place: int) -> str:
    return _COLOURS[place % len(_COLOURS)]


def _legend(figure: Figure, panels: Sequence[Axes]) -> None:
    """Draws one legend for all panels, since an arm may be missing in some."""
    found: dict[str, Artist] = {}
    for axes in panels:
        handles, labels = axes.get_legend_handles_labels()
        found |= dict(zip(labels, handles, strict=True))
    figure.legend(
        list(found.values()), list(found), loc="outside lower center", frameon=False,
        ncols=min(4, len(found)), fontsize=8,
    )  # fmt: skip
