"""A run's numbers in words: the verdict above its report, and the titles of its figures.

Every sentence follows from the data. A difference counts if it is larger than twice its standard
error, and a share if its 95 % interval excludes one half.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from prefrl.core.intervals import wilson_interval
from prefrl.report.measures import pearson
from prefrl.report.tables import Array, RunRecord, column, number

__all__ = [
    "above_chance",
    "has_changed",
    "how_calibrated",
    "how_close",
    "how_correlated",
    "rounded",
    "text_verdict",
    "verdict",
    "way_of",
]

_CLOSE, _SOME = 0.8, 0.4  # correlations
_ENDS = 5  # points compared at the beginning and at the end


def verdict(record: RunRecord) -> list[str]:
    """Summarises the outcome of a run in a few sentences.

    Args:
        record: The run.

    Returns:
        Sentences: the true return, the learned reward, and what both together mean. None while the
        run goes on.
    """
    summary = record.summary
    before, after = (number(summary, f"eval_return_{k}mean") for k in ("before_", ""))
    if not math.isfinite(before) or not math.isfinite(after):
        return []
    spread = [number(summary, f"eval_return_{k}std") for k in ("before_", "")]
    n = max(1.0, number(summary, "eval_episodes")) if "eval_episodes" in summary else 1.0
    error = math.sqrt(sum(s**2 for s in spread if math.isfinite(s)) / n)
    labels = number(summary, "labels")
    asked = f" from {labels:,.0f} labels" if labels > 0 else ""
    told = f"from {rounded(before)} to {rounded(after)}"
    if after > before + 2 * error:
        said = [f"The true return rose {told}{asked}."]
    elif after < before - 2 * error:
        said = [f"The true return fell {told}{asked}: the agent learned something else."]
    else:
        said = [f"The true return did not change by more than chance, {told}{asked}."]
    said += _better_before(record, after, number(summary, "eval_return_std"))
    r = pearson(record.evaluation.true_rewards, record.evaluation.predicted_rewards)
    if math.isfinite(r):
        own = number(summary, "reward_accuracy_on_policy")
        told = f", and puts {own:.0%} of its pairs in order" if math.isfinite(own) else ""
        said.append(f"Along the final episodes the learned reward {how_correlated(r)}{told}.")
        if after <= before + 2 * error and r > _CLOSE:
            said.append("So the reward looks right there, and the agent has not made use of it.")
    return said


def _better_before(record: RunRecord, after: float, spread: float) -> list[str]:
    """Says if the agent was much better earlier in training than at the end."""
    returns, steps = (column(record.metrics, k) for k in ("true_return_mean", "env_steps"))
    if not np.isfinite(returns).any():
        return []
    best = int(np.nanargmax(returns))
    rise = returns[best] - returns[np.isfinite(returns)][0]
    spread = spread if math.isfinite(spread) else 0.0
    if returns[best] - after <= max(2 * spread, 0.25 * rise):
        return []
    return [
        f"It was better on the way: {rounded(returns[best])} at step {steps[best]:,.0f}. "
        "--evaluate-every keeps the best policy."
    ]


def text_verdict(summary: Mapping[str, Any]) -> list[str]:
    """Summarises the outcome of a language model's run in a few sentences.

    Args:
        summary: Summary of an alignment or a fine-tuning on demonstrations.

    Returns:
        Sentences: the score or loss, the reward, and what responses look like. None while the run
        goes on.
    """
    if "eval_loss_after" in summary:
        return [_moved(summary, "eval_loss", "The held-out loss", good=-1)]
    what, name = "gold", "The gold score"
    if not math.isfinite(number(summary, "gold_after")):
        what, name = "score", "The learned score"
    if not math.isfinite(number(summary, f"{what}_after")):
        return []
    said = [_moved(summary, what, name, good=1)]
    if what == "gold" and _change(summary, "score") > 0 >= _change(summary, "gold"):
        said.append("The learned score rose all the same: the policy may exploit the reward.")
    elif what == "score":
        said.append(
            "There is no gold score, so only people or a judge can say whether it is right."
        )
    before, after = (number(summary, f"ended_{when}") for when in ("before", "after"))
    if after < 0.5:
        was = f", {before:.0%} before" if math.isfinite(before) else ""
        said.append(f"Only {after:.0%} of the responses came to their end{was}.")
    before, after = (number(summary, f"length_{when}") for when in ("before", "after"))
    if math.isfinite(before) and not 0.8 * before <= after <= 1.25 * before:
        said.append(f"Their mean length went from {rounded(before)} to {rounded(after)} tokens.")
    return said


def _change(summary: Mapping[str, Any], what: str) -> float:
    """Change of a figure; 0 if it is within twice its standard error."""
    before, after, *errors = (
        number(summary, f"{what}_{name}")
        for name in ("before", "after", "before_error", "after_error")
    )
    error = math.hypot(*(error for error in errors if math.isfinite(error)))
    change = after - before
    return change if math.isfinite(change) and abs(change) > 2 * error else 0.0


def _moved(summary: Mapping[str, Any], what: str, name: str, *, good: int) -> str:
    before, after = (number(summary, f"{what}_{when}") for when in ("before", "after"))
    if not math.isfinite(before) or not math.isfinite(after):
        return f"{name} is unknown before or after the training."
    labels, kl = number(summary, "labels"), number(summary, "kl_after")
    told = f"from {rounded(before)} to {rounded(after)}"
    if labels > 0:
        told += f" with {labels:,.0f} labels"
    if kl > 0:
        told += f", at a KL of {rounded(kl)} nats to the reference"
    change = _change(summary, what)
    if change == 0:
        return f"{name} did not change by more than chance, {told}."
    end = "." if change * good > 0 else ": that is worse than before."
    return f"{name} {'rose' if change > 0 else 'fell'} {told}{end}"


def how_correlated(r: float) -> str:
    """Describes the correlation of predicted with true reward, as words after a subject."""
    if not math.isfinite(r):
        return "does not vary"
    if r > _CLOSE:
        return f"follows the true one closely (r = {r:.2f})"
    if r > _SOME:
        return f"follows the true one loosely (r = {r:.2f})"
    if r > -_SOME:
        return f"has little to do with the true one (r = {r:.2f})"
    return f"runs against the true one (r = {r:.2f})"


def has_changed(values: Array, what: str) -> str:
    """Says whether something rose or fell, from its first and last few values.

    Args:
        values: Over time, shape (T,); NaN is left out.
        what: The subject, as in "True return".
    """
    known = values[np.isfinite(values)]
    if known.size < 2:
        return what
    n = min(_ENDS, known.size // 2)
    first, last = known[:n], known[-n:]
    told = f"from {rounded(first.mean())} to {rounded(last.mean())}"
    difference = last.mean() - first.mean()
    error = math.sqrt((first.var() + last.var()) / n)
    if abs(difference) <= max(2 * error, 0.02 * abs(first.mean())):
        return f"{what} stayed about the same ({rounded(last.mean())})"
    return f"{what} {'rose' if difference > 0 else 'fell'} {told}"


def above_chance(accuracy: Array, n_comparisons: Array) -> str:
    """Says whether the newest accuracy is better than a coin.

    Args:
        accuracy: Accuracy of each fit, in [0, 1], shape (F,); NaN is left out.
        n_comparisons: Number of comparisons of each fit, of which 1/e are held out, shape (F,).
    """
    known = np.isfinite(accuracy)
    if not known.any():
        return "Accuracy on unseen answers"
    last = float(accuracy[known][-1])
    n = n_comparisons[known][-1] / math.e
    told = f"Accuracy on unseen answers: {last:.0%}"
    if not math.isfinite(n) or n < 1:
        return told
    low, high = wilson_interval(last * n, n)
    if low > 0.5:
        return f"{told}, above chance"
    return f"{told}, below chance" if high < 0.5 else f"{told}, not clearly above chance"


def how_close(held: Array, trained: Array) -> str:
    """Says how far the newest loss on held-out comparisons is from that on the fitted ones."""
    both = np.isfinite(held) & np.isfinite(trained)
    if not both.any():
        return "Loss"
    out, inside = float(held[both][-1]), float(trained[both][-1])
    if out > math.log(2):
        return f"Loss on unseen answers: {out:.2f}, worse than a coin's"
    gap = "close to" if out <= 1.5 * max(inside, 1e-9) else "well above"
    return f"Loss on unseen answers: {out:.2f}, {gap} the training loss"


def how_calibrated(observed: Array, low: Array, high: Array, predicted: Array) -> str:
    """Says whether probabilities are calibrated, from the bins whose interval misses them.

    Args:
        observed: Share of each bin that chose left, shape (K,).
        low: Lower end of its interval, shape (K,).
        high: Upper end of that interval, shape (K,).
        predicted: Mean predicted probability of each bin, shape (K,).
    """
    missed = (predicted < low) | (predicted > high)
    if not missed.any():
        return "Predicted shares agree with those observed"
    further = np.abs(predicted - 0.5) > np.abs(observed - 0.5)
    if further[missed].all():
        return "The reward is too sure of itself"
    return "Predicted shares differ from those observed"


def way_of(r: float) -> str:
    """Returns a title for the figure of predicted against true reward."""
    return f"Step by step, the learned reward {how_correlated(r)}"


def rounded(value: float) -> str:
    """Formats a number with about three significant digits, no exponent: 4,930, 12.3, 0.0412."""
    if value == 0 or not math.isfinite(value):
        return f"{value:.0f}"
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:,.{min(digits, 4)}f}"
