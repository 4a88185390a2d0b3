"""The figures of a language model's report: tables in, a `matplotlib` figure out.

As in `figures`, nothing touches files, and each function raises `NotEnoughDataError` if there is
nothing to draw.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, MaxNLocator, PercentFormatter

from prefrl.errors import NotEnoughDataError
from prefrl.report.panels import FAINT, INK, PREDICTED, TRUE, describe, legend, line, panels
from prefrl.report.tables import Table, column
from prefrl.report.verdict import has_changed

__all__ = [
    "accuracies",
    "calibration_of_wins",
    "demonstrations",
    "disagreement",
    "divergence",
    "frontier",
    "log_probabilities",
    "rewards",
    "scores",
    "shapes",
    "tuning_loss",
]

_RESPONSES, _STEPS = "Responses written", "Gradient steps"


def frontier(metrics: Table) -> Figure:
    """Score over KL, one point for each update.

    Args:
        metrics: The columns `kl`, and `gold_mean` or, without gold scores, `score_mean`.
    """
    kl, values, what = column(metrics, "kl"), column(metrics, "gold_mean"), "Gold score"
    if not np.isfinite(values).any():
        values, what = column(metrics, "score_mean"), "Learned score"
    known = np.isfinite(kl) & np.isfinite(values)
    if known.sum() < 2:
        raise NotEnoughDataError("No update has a score and a KL yet.")
    figure, (axes,) = panels(1)
    axes.plot(kl[known], values[known], color=FAINT, lw=1, zorder=1)
    shades = np.arange(known.sum())
    dots = axes.scatter(kl[known], values[known], c=shades, cmap="viridis", s=30, zorder=2)
    bar = figure.colorbar(dots, ax=axes, pad=0.02)
    bar.set_label("Update", fontsize=13, color=INK)
    bar.ax.tick_params(labelsize=12, colors=INK)
    bar.ax.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=5))
    describe(axes, has_changed(values[known], what), "KL to the reference (nats)", what)
    return figure


def scores(metrics: Table) -> Figure:
    """Gold score and learned score over the responses: the columns `gold_mean`, `score_mean`."""
    lines = (("gold_mean", "Gold score", TRUE), ("score_mean", "Learned score", PREDICTED))
    return _stacked(metrics, lines, "No batch has a score yet.")


def divergence(metrics: Table) -> Figure:
    """KL to the reference over the responses: the column `kl`."""
    return _stacked(metrics, (("kl", "KL (nats)", TRUE),), "No batch has a KL yet.")


def shapes(metrics: Table) -> Figure:
    """Length of responses, and the share that ends: the columns `length` and `ended`."""
    lines = (("length", "Tokens of a response", TRUE), ("ended", "Responses that ended", TRUE))
    figure = _stacked(metrics, lines, "No batch has been written yet.")
    if np.isfinite(column(metrics, "ended")).any():
        axes = figure.axes[-1]
        axes.set_ylim(-0.03, 1.03)
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    return figure


def disagreement(metrics: Table) -> Figure:
    """Disagreement within the ensemble over the responses: the column `disagreement`."""
    lines = (("disagreement", "Disagreement", PREDICTED),)
    figure = _stacked(metrics, lines, "No batch has a disagreement yet.")
    figure.axes[0].set_ylim(bottom=0.0)
    return figure


def demonstrations(metrics: Table) -> Figure:
    """Losses of a fine-tuning: the columns `examples`, `loss` of each step, and `eval_loss`."""
    seen, loss, held = (column(metrics, name) for name in ("examples", "loss", "eval_loss"))
    if not (np.isfinite(seen) & np.isfinite(loss)).any():
        raise NotEnoughDataError("No step has been made yet.")
    figure, (axes,) = panels(1)
    line(axes, seen, loss, FAINT, "each step")
    if np.isfinite(held).any():
        line(axes, seen, held, TRUE, "held out", always_mark=True)
    told = held if np.isfinite(held).any() else loss
    which = "Held-out loss" if told is held else "Loss"
    describe(axes, has_changed(told, which), "Demonstrations seen", "Loss (nats per token)")
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    legend(axes, n_columns=2)
    return figure


def tuning_loss(metrics: Table) -> Figure:
    """Loss on the answers over the gradient steps: the columns `update` and `loss`."""
    return _tuning(metrics, {"loss": "loss"}, "Loss", "Loss")


def rewards(metrics: Table) -> Figure:
    """Implicit rewards, and their margin below: `rewards/chosen`, `/rejected` and `/margins`."""
    figure, (top, bottom) = panels(2)
    names = {"rewards/chosen": "chosen", "rewards/rejected": "rejected"}
    _draw_tuning(top, metrics, names, "Implicit reward", "Implicit reward of")
    _draw_tuning(bottom, metrics, {"rewards/margins": "margin"}, "Margin", "Margin")
    return figure


def accuracies(metrics: Table) -> Figure:
    """Share of chosen responses with the higher implicit reward: `rewards/accuracies`."""
    names = {"rewards/accuracies": "accuracy"}
    figure = _tuning(metrics, names, "Chosen above rejected", "Accuracy")
    axes = figure.axes[0]
    axes.axhline(0.5, color=INK, lw=1.2, ls=":")
    axes.set_ylim(-0.03, 1.03)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    return figure


def log_probabilities(metrics: Table) -> Figure:
    """Log-probabilities of both responses: `logps/chosen` and `logps/rejected`."""
    names = {"logps/chosen": "chosen", "logps/rejected": "rejected"}
    return _tuning(metrics, names, "Log-probability (nats)", "Log-probability of")


def calibration_of_wins(curves: Mapping[str, Sequence[Sequence[float]]]) -> Figure:
    """Accuracy of the reward model by its confidence.

    Args:
        curves: For each comparison its bins: mean confidence, share of correct predictions, and
            count.
    """
    figure, (axes,) = panels(1)
    axes.plot([0.5, 1], [0.5, 1], color=INK, ls=":", lw=1.2, label="as it should be")
    for task, bins in curves.items():
        said, right, _ = zip(*bins, strict=True)
        axes.plot(said, right, marker="o", ms=5, lw=2, label=task)
    axes.set(xlim=(0.48, 1.02), ylim=(-0.02, 1.02))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    describe(axes, "Confidence and truth", "Confidence of the reward model", "Share that was right")
    legend(axes)
    return figure


def _stacked(metrics: Table, lines: Sequence[tuple[str, str, str]], none: str) -> Figure:
    """Draws a panel over the responses for each column that has values."""
    steps = column(metrics, "responses")
    known = [one for one in lines if np.isfinite(column(metrics, one[0])).any()]
    if not known or not steps.size:
        raise NotEnoughDataError(none)
    figure, places = panels(len(known))
    for axes, (name, label, colour) in zip(places, known, strict=True):
        values = column(metrics, name)
        line(axes, steps, values, colour, "")
        describe(axes, has_changed(values, label.split(" (")[0]), _RESPONSES, label)
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    return figure


def _tuning(metrics: Table, names: Mapping[str, str], label: str, what: str) -> Figure:
    figure, (axes,) = panels(1)
    _draw_tuning(axes, metrics, names, label, what)
    return figure


def _draw_tuning(
    axes: Axes, metrics: Table, names: Mapping[str, str], label: str, what: str
) -> None:
    """Draws columns of fine-tuning on answers: means over the steps since the previous row."""
    steps = column(metrics, "update")
    if not any((np.isfinite(column(metrics, name)) & np.isfinite(steps)).any() for name in names):
        raise NotEnoughDataError("No gradient step on answers has been made yet.")
    for (name, short), colour in zip(names.items(), (TRUE, PREDICTED), strict=False):
        line(axes, steps, column(metrics, name), colour, short)
    first, short = next(iter(names.items()))
    subject = f"{what} {short}" if len(names) > 1 else what
    describe(axes, has_changed(column(metrics, first), subject), _STEPS, label)
    if len(names) > 1:
        legend(axes, n_columns=2)
