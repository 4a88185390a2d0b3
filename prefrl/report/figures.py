"""The figures of the report: data in, a `matplotlib` figure out.

Nothing here touches files or `pyplot`, so the functions may be used from any thread and in
notebooks. The figures are made for a phone: two panels are stacked, the text is large, and the
background stays white on a dark page. Colours are those of Okabe and Ito (2008), which colour-blind
readers can tell apart; lines differ in their dashes too.

Each function raises `NotEnoughDataError` if there is nothing to draw. A figure with one empty
panel is drawn, and the panel says so.
"""

from __future__ import annotations

import math

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, MaxNLocator, PercentFormatter

from prefrl.errors import NotEnoughDataError
from prefrl.report.measures import pearson, reliability_bins, running_mean
from prefrl.report.panels import INK, LABELS, PREDICTED, TRUE, describe, legend, line, panels
from prefrl.report.tables import Array, Evaluation, Table, column
from prefrl.report.verdict import (
    above_chance,
    has_changed,
    how_calibrated,
    how_close,
    how_correlated,
    way_of,
)

__all__ = [
    "along_episode",
    "calibration",
    "disagreement",
    "holdout",
    "learning_curve",
    "predicted_against_true",
]

_MANY_STEPS = 2000
_CLOSE_UP = 100


def learning_curve(
    metrics: Table,
    *,
    final_return: float = math.nan,
    final_std: float = math.nan,
    evaluations: Table | None = None,
) -> Figure:
    """True return against environment steps and against labels.

    Args:
        metrics: The columns `env_steps`, `labels` and `true_return_mean`, (rollouts,) each.
        final_return: Mean true return of the evaluation after training; NaN if there was none.
        final_std: Its std over episodes.
        evaluations: Evaluations during training: the columns `env_steps` and `return_mean`,
            (evaluations,) each.

    Returns:
        Two panels; ticks along the bottom of the first mark the rollouts that brought labels.

    Raises:
        NotEnoughDataError: If no rollout has a true return.
    """
    steps, labels = column(metrics, "env_steps"), column(metrics, "labels")
    returns = column(metrics, "true_return_mean")
    if not np.isfinite(returns).any():
        raise NotEnoughDataError("No episode has finished yet, so there is no true return to show.")
    figure, (top, bottom) = panels(2)
    line(top, steps, returns, TRUE, "while training, newest 20 episodes")
    if evaluations:
        found = column(evaluations, "env_steps"), column(evaluations, "return_mean")
        top.plot(*found, "s--", color=PREDICTED, ms=5, lw=1.4, label="evaluations in training")
    if math.isfinite(final_return):
        spread = final_std if math.isfinite(final_std) else None
        end = np.nanmax(steps)
        top.errorbar(
            end, final_return, yerr=spread, fmt="D", color=PREDICTED, ms=7, capsize=5, lw=2,
            label="evaluation at the end ± std", zorder=4, clip_on=False,
        )  # fmt: skip
    came = steps[np.diff(labels, prepend=0.0) > 0]
    if came.size:
        top.plot(
            came, np.full(came.size, 0.035), "|", color=LABELS, ms=13, mew=1.6,
            transform=top.get_xaxis_transform(), label="labels came in",
        )  # fmt: skip
    line(bottom, labels, returns, TRUE, "", always_mark=True)
    describe(top, has_changed(returns, "True return"), "Environment steps", "True return")
    n_labels = np.nanmax(labels, initial=0.0)
    describe(
        bottom, f"The same by labels: {n_labels:,.0f}", "Labels answered so far", "True return"
    )
    top.xaxis.set_major_formatter(EngFormatter(sep=""))
    bottom.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=7))
    legend(top)
    return figure


def predicted_against_true(evaluation: Evaluation) -> Figure:
    """Predicted against true reward, step by step, over all evaluation episodes.

    Args:
        evaluation: `true_rewards` and `predicted_rewards`, (E, T) each.

    Returns:
        One panel: points, or their density if there are many.

    Raises:
        NotEnoughDataError: If no step has both rewards.
    """
    finite = np.isfinite(evaluation.true_rewards) & np.isfinite(evaluation.predicted_rewards)
    true, predicted = evaluation.true_rewards[finite], evaluation.predicted_rewards[finite]
    if not true.size:
        raise NotEnoughDataError(
            "There are no evaluation steps with a true and a predicted reward."
        )
    figure, (axes,) = panels(1, height=4.9)
    if true.size > _MANY_STEPS:
        cells = axes.hexbin(
            true, predicted, gridsize=36, bins="log", mincnt=1, cmap="cividis_r", linewidths=0.2
        )
        bar = figure.colorbar(cells, ax=axes, pad=0.02)
        bar.set_label("Steps per cell", fontsize=13, color=INK)
        bar.ax.tick_params(labelsize=12, colors=INK)
    else:
        axes.plot(true, predicted, "o", color=TRUE, ms=4, alpha=0.45, mec="none")
    r = pearson(true, predicted)
    text = f"correlation r = {r:.2f}" if math.isfinite(r) else "correlation undefined: no variation"
    n_episodes = int(finite.any(axis=1).sum())
    text += f"\n{true.size:,} steps, {_count(n_episodes, 'episode')}"
    axes.set_ylim(top=axes.get_ylim()[1] + 0.22 * float(np.ptp(axes.get_ylim())))
    axes.text(
        0.03, 0.97, text, transform=axes.transAxes, va="top", fontsize=13, color=INK,
        bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.85, "pad": 3},
    )  # fmt: skip
    describe(
        axes,
        way_of(r),
        "True reward per step (environment's units)",
        "Predicted reward (normalised)",
    )
    return figure


def along_episode(evaluation: Evaluation) -> Figure:
    """Predicted and true reward along the evaluation episode of median true return.

    Both are standardised within the episode, because the predicted reward has no unit of its
    own; the legend gives the mean and std that were removed. A long episode is shown as a
    running mean, with a close-up of single steps from its middle.

    Args:
        evaluation: `true_rewards` and `predicted_rewards`, (E, T) each.

    Returns:
        One panel, or two for an episode of more than 200 steps.

    Raises:
        NotEnoughDataError: If no episode has two steps with both rewards.
    """
    finite = np.isfinite(evaluation.true_rewards) & np.isfinite(evaluation.predicted_rewards)
    episodes = np.flatnonzero(finite.sum(axis=1) >= 2) if finite.size else np.empty(0, np.int64)
    if not episodes.size:
        raise NotEnoughDataError("No evaluation episode has two steps with both rewards.")
    returns = np.where(finite, evaluation.true_rewards, 0.0).sum(axis=1)[episodes]
    chosen = episodes[np.argsort(returns, kind="stable")[(episodes.size - 1) // 2]]
    steps = np.flatnonzero(finite[chosen]).astype(np.float64)
    series = (
        ("true", evaluation.true_rewards[chosen][finite[chosen]], TRUE, "-"),
        ("predicted", evaluation.predicted_rewards[chosen][finite[chosen]], PREDICTED, "--"),
    )
    is_long = steps.size > 2 * _CLOSE_UP
    window = max(1, steps.size // 100) if is_long else 1
    figure, axes = panels(2 if is_long else 1)
    middle = slice((steps.size - _CLOSE_UP) // 2, (steps.size + _CLOSE_UP) // 2)
    for name, rewards, colour, dashes in series:
        label = f"{name} (mean {rewards.mean():.3g}, std {rewards.std():.3g})"
        z = _standardised(rewards)
        smooth, centre = running_mean(z, window), running_mean(steps, window)
        axes[0].plot(centre, smooth, dashes, color=colour, lw=1.8, label=label)
        if is_long:
            axes[1].plot(steps[middle], z[middle], dashes, color=colour, lw=1.8, label=label)
    shown = f", mean of {window} steps" if window > 1 else ""
    r = pearson(series[0][1], series[1][1])
    title = f"In one episode{shown}, the learned reward {how_correlated(r)}"
    unit = "Reward, std from\nthe episode's mean"
    describe(axes[0], title, "Step of the episode", unit)
    if is_long:
        describe(axes[1], f"Close-up: {_CLOSE_UP} single steps", "Step of the episode", unit)
    legend(axes[0])
    return figure


def holdout(fits: Table) -> Figure:
    """Accuracy and loss on comparisons that were held out, over the reward fits.

    Args:
        fits: The columns `fit`, `holdout_accuracy`, `holdout_loss` and `train_loss`, (fits,) each.

    Returns:
        Two panels, each with a line at chance level.

    Raises:
        NotEnoughDataError: If no fit has an accuracy or a loss.
    """
    fit = column(fits, "fit")
    names = ("holdout_accuracy", "holdout_loss", "train_loss")
    accuracy, held, trained = (column(fits, name) for name in names)
    if not np.isfinite([accuracy, held, trained]).any():
        raise NotEnoughDataError("No fit of the reward model has an accuracy or a loss yet.")
    figure, (top, bottom) = panels(2)
    line(top, fit, accuracy, TRUE, "held-out")
    line(bottom, fit, held, TRUE, "held-out")
    line(bottom, fit, trained, PREDICTED, "training", dashes="--")
    top.axhline(0.5, color=INK, lw=1.2, ls=":", label="chance")
    bottom.axhline(math.log(2), color=INK, lw=1.2, ls=":", label="chance (ln 2)")
    top.set_ylim(min(0.4, _smallest(accuracy)) - 0.02, 1.02)
    top.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    bottom.set_ylim(bottom=0.0)
    describe(
        top, above_chance(accuracy, column(fits, "fitted")), "Reward fit (number)",
        "Hold-out accuracy",
    )  # fmt: skip
    describe(bottom, how_close(held, trained), "Reward fit (number)", "Loss (nats)")
    for axes in (top, bottom):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=7))
    legend(top, n_columns=2)
    legend(bottom, n_columns=2)
    return figure


def calibration(evaluation: Evaluation) -> Figure:
    """Predicted probability against observed preference on held-out comparisons.

    Args:
        evaluation: `holdout_probability` and `holdout_preference`, (N,) each. Fewer than 200
            comparisons are sorted into five bins, more into ten.

    Returns:
        A reliability diagram with 95 % Wilson intervals, and the comparisons per bin below it.

    Raises:
        NotEnoughDataError: If there is no held-out comparison.
    """
    probability, preference = evaluation.holdout_probability, evaluation.holdout_preference
    n = int((np.isfinite(probability) & np.isfinite(preference)).sum())
    if not n:
        raise NotEnoughDataError("There is no held-out comparison to compare predictions with.")
    bins = reliability_bins(probability, preference, n_bins=5 if n < 200 else 10)
    figure, (top, bottom) = panels(2, height=7.2, ratios=(2.6, 1))
    top.plot([0, 1], [0, 1], ":", color=INK, lw=1.4, label="perfectly calibrated")
    below = np.maximum(bins.observed - bins.low, 0.0)
    above = np.maximum(bins.high - bins.observed, 0.0)
    top.errorbar(
        bins.predicted, bins.observed, yerr=np.stack([below, above]), fmt="o-", color=TRUE, ms=7,
        lw=1.6, elinewidth=1.6, capsize=4, label="held-out answers, 95 % interval",
    )  # fmt: skip
    top.set_ylim(-0.03, 1.03)
    bottom.bar(bins.centres, bins.counts, width=0.92 * bins.width, color=TRUE)
    for x, count in zip(bins.centres, bins.counts, strict=True):
        bottom.annotate(
            f"{count:.0f}", (x, count), (0, 2), textcoords="offset points", ha="center",
            fontsize=11.5, color=INK,
        )  # fmt: skip
    bottom.set_ylim(0, 1.3 * bins.counts.max())
    bottom.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=3))
    describe(
        top, how_calibrated(bins.observed, bins.low, bins.high, bins.predicted),
        "Predicted P(left is better)", "Share that chose left",
    )  # fmt: skip
    describe(
        bottom,
        f"The {_count(n, 'held-out comparison')}, by bin",
        "Predicted P(left is better)",
        "Comparisons",
    )
    for axes in (top, bottom):
        axes.set_xlim(-0.03, 1.03)
    legend(top)
    return figure


def disagreement(metrics: Table) -> Figure:
    """Disagreement within the ensemble, and correlation with the true reward.

    Args:
        metrics: The columns `env_steps`, `disagreement` and `reward_correlation`, (rollouts,) each.

    Returns:
        Two panels over environment steps.

    Raises:
        NotEnoughDataError: If no rollout has either.
    """
    steps = column(metrics, "env_steps")
    spread, correlation = column(metrics, "disagreement"), column(metrics, "reward_correlation")
    if not np.isfinite([spread, correlation]).any():
        raise NotEnoughDataError("No rollout has a disagreement or a reward correlation yet.")
    figure, (top, bottom) = panels(2)
    line(top, steps, spread, PREDICTED, "")
    top.set_ylim(bottom=0.0)
    line(bottom, steps, correlation, TRUE, "")
    bottom.axhline(0.0, color=INK, lw=1.2, ls=":")
    bottom.set_ylim(min(-0.05, _smallest(correlation) - 0.05), 1.03)
    describe(
        top, has_changed(spread, "Disagreement"), "Environment steps",
        "Disagreement\n(std of preference)",
    )  # fmt: skip
    describe(
        bottom, has_changed(correlation, "Correlation with the true reward"), "Environment steps",
        "Correlation r\n(newest rollout)",
    )  # fmt: skip
    for axes in (top, bottom):
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    return figure


def _standardised(values: Array) -> Array:
    std = values.std()
    return np.asarray((values - values.mean()) / (std if std > 1e-12 else 1.0))


def _smallest(values: Array) -> float:
    finite = values[np.isfinite(values)]
    return float(finite.min()) if finite.size else math.inf


def _count(n: int, word: str) -> str:
    return f"{n:,} {word}" if n == 1 else f"{n:,} {word}s"
