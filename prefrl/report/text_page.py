"""The report of a language model's run: its curves, and what it wrote, before and after."""

from __future__ import annotations

import html
import json
import math
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from prefrl.core.disk import naming
from prefrl.runtime.rundir import RunDirectory
from prefrl.runtime.tables import read_rows
from prefrl.runtime.troubles import troubles_of
from prefrl.runtime.writing import write_atomically

__all__ = ["write_text_report"]

_COLOUR, _LIGHT, _OTHER = "#0072B2", "#9ecae1", "#D55E00"
_SHOWN_OVER_TIME = 12
_CURVES = (
    ("gold_mean", "gold score", "gold.png"),
    ("score_mean", "learned score", "score.png"),
    ("kl", "KL to the reference, nats", "kl.png"),
    ("length", "tokens of a response", "length.png"),
    ("ended", "share of responses that ended", "ended.png"),
    ("disagreement", "disagreement", "disagreement.png"),
    ("holdout_accuracy", "hold-out accuracy of the reward", "accuracy.png"),
)

_TUNING_CURVES = (
    (("loss",), "loss", "tuning_loss.png"),
    (("rewards/chosen", "rewards/rejected"), "rewards", "rewards.png"),
    (("rewards/margins",), "rewards/margins", "margins.png"),
    (("rewards/accuracies",), "rewards/accuracies", "accuracies.png"),
    (("logps/chosen", "logps/rejected"), "logps, nats", "logps.png"),
)


def write_text_report(run: RunDirectory) -> Path:
    """Draws the report of a run, finished or not.

    Returns:
        The path of its page.

    Raises:
        OSError: If it cannot be written there; it says where.
    """
    with naming(run.report):
        run.report.mkdir(exist_ok=True)
        return _write(run)


def _write(run: RunDirectory) -> Path:
    rows = read_rows(run.metrics)
    pictures = [name for name in (_curve(run, rows, *curve) for curve in _CURVES) if name]
    pictures = [name for name in (_frontier(run, rows), _losses(run, rows)) if name] + pictures
    pictures += [name for name in (_tuning(run, rows, *curve) for curve in _TUNING_CURVES) if name]
    summary = run.read_json(run.summary) if run.summary.is_file() else {}
    config = run.read_json(run.config) if run.config.is_file() else {}
    style = (Path(__file__).parent / "style.css").read_text(encoding="utf-8")
    title = f"{config.get('model', run.root.name)}, {config.get('method', '')}"
    body = [
        f"<h1>{html.escape(title)}</h1>",
        _troubles(run, finished=bool(summary)),
        _figures(summary),
        "".join(f'<figure><img src="{name}" alt="{name[:-4]}"></figure>' for name in pictures),
        _comparison(run),
        _examples(run),
        _over_time(run),
    ]
    page = (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{html.escape(title)}</title>'
        f"<style>{style}</style><body><main>{''.join(body)}</main></body></html>"
    )
    path = run.report / "index.html"
    write_atomically(path, page.encode())
    return path


def _troubles(run: RunDirectory, *, finished: bool) -> str:
    found = troubles_of(run, total_steps=None, finished=finished)
    told = (f"<p>{html.escape(trouble.text)}</p>" for trouble in found)
    return "".join(f'<div class="notes">{text}</div>' for text in told)


def _points(rows: list[dict[str, str]], x: str, y: str) -> list[tuple[float, float]]:
    points = [(float(row[x]), float(row[y])) for row in rows if row.get(x) and row.get(y)]
    return [point for point in points if all(map(math.isfinite, point))]


def _curve(
    run: RunDirectory, rows: list[dict[str, str]], column: str, label: str, name: str
) -> str:
    points = _points(rows, "responses", column)
    if not points:
        return ""
    figure, axes = _axes("responses", label)
    axes.plot(*zip(*points, strict=True), color=_COLOUR, lw=1.5)
    figure.savefig(run.report / name)
    return name


def _tuning(
    run: RunDirectory, rows: list[dict[str, str]], columns: tuple[str, ...], label: str, name: str
) -> str:
    """Figures of fine-tuning on answers: means over the gradient steps since the row before."""
    lines = [(column, _points(rows, "update", column)) for column in columns]
    if not any(points for _, points in lines):
        return ""
    figure, axes = _axes("gradient steps", label)
    for (column, points), colour in zip(lines, (_COLOUR, _OTHER), strict=False):
        axes.plot(*zip(*points, strict=True), color=colour, lw=1.5, label=column)
    if len(lines) > 1:
        axes.legend()
    figure.savefig(run.report / name)
    return name


def _frontier(run: RunDirectory, rows: list[dict[str, str]]) -> str:
    """Gold score, or the learned one where there is none, over KL: a point for each update."""
    what, label = "gold_mean", "gold score"
    points = _points(rows, "kl", what)
    if not points:
        what, label = "score_mean", "learned score"
        points = _points(rows, "kl", what)
    if not points:
        return ""
    figure, axes = _axes("KL to the reference, nats", label)
    kls, values = zip(*points, strict=True)
    dots = axes.scatter(kls, values, c=range(len(points)), cmap="viridis", s=16)
    figure.colorbar(dots, label="update")
    figure.savefig(run.report / "frontier.png")
    return "frontier.png"


def _losses(run: RunDirectory, rows: list[dict[str, str]]) -> str:
    """Losses of fine-tuning on demonstrations: at each step, and on held-out demonstrations."""
    points, held_out = (_points(rows, "examples", name) for name in ("loss", "eval_loss"))
    if not points:
        return ""
    figure, axes = _axes("demonstrations seen", "loss, nats per token")
    axes.plot(*zip(*points, strict=True), color=_LIGHT, lw=1, label="each step")
    if held_out:
        axes.plot(*zip(*held_out, strict=True), color=_COLOUR, marker="o", ms=4, label="held out")
    axes.legend()
    figure.savefig(run.report / "loss.png")
    return "loss.png"


def _axes(x: str, y: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(5.6, 3.4), dpi=130, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    axes.set(xlabel=x, ylabel=y)
    axes.grid(alpha=0.3)
    return figure, axes


def _figures(summary: dict[str, Any]) -> str:
    if not summary:
        return "<p>The run has not come to its end yet.</p>"
    if "eval_loss_after" in summary:
        return _figures_of_demonstrations(summary)
    rows = ["<tr><th></th><th>before</th><th>after</th></tr>"]
    for what, name in (("gold", "gold score"), ("score", "learned score"), ("kl", "KL, nats")):
        cells = "".join(f"<td>{_number(summary, what, when)}</td>" for when in ("before", "after"))
        rows.append(f"<tr><th>{name}</th>{cells}</tr>")
    if "ended_after" in summary:  # runs of before have none
        shares = (f"<td>{summary[f'ended_{when}']:.0%}</td>" for when in ("before", "after"))
        rows.append(f"<tr><th>responses that ended</th>{''.join(shares)}</tr>")
    about = (
        f"{summary['labels']} labels, {summary['responses']:,} responses, seed {summary['seed']}, "
        f"{summary['wall_seconds']:,.0f} s; means over {summary['eval_prompts']} prompts ± their "
        "standard error."
    )
    return f"<p>{about}</p><table>{''.join(rows)}</table>{_best_of_n(summary)}"


def _figures_of_demonstrations(summary: dict[str, Any]) -> str:
    cells = "".join(f"<td>{_number(summary, 'eval_loss', w)}</td>" for w in ("before", "after"))
    about = (
        f"{summary['examples']:,} demonstrations, {summary['tokens']:,} tokens to learn, "
        f"{summary['epochs']} epochs, {summary['steps']:,} gradient steps, seed "
        f"{summary['seed']}, {summary['wall_seconds']:,.0f} s; {summary['eval_examples']:,} held "
        f"out; {summary['cut']:,} of all cut. A held-out loss that rises while the other falls "
        "means that it learns them by heart."
    )
    head = "<tr><th></th><th>before</th><th>after</th></tr>"
    row = f"<tr><th>held-out loss, nats per token</th>{cells}</tr>"
    return f"<p>{about}</p><table>{head}{row}</table>"


def _best_of_n(summary: dict[str, Any]) -> str:
    curve = summary.get("best_of_n")
    if not curve:
        return ""
    rows = "".join(
        f"<tr><td>{point['n']}</td><td>{point['kl']:.2f}</td><td>{point['gold']:.3f}</td></tr>"
        for point in curve
    )
    head = "<tr><th>n</th><th>KL, nats</th><th>gold score</th></tr>"
    return f"<h2>Best of n</h2><table>{head}{rows}</table>"


def _number(summary: dict[str, Any], what: str, when: str) -> str:
    value, error = summary.get(f"{what}_{when}"), summary.get(f"{what}_{when}_error")
    if value is None:
        return "-"
    return f"{value:.3f}" if error is None else f"{value:.3f} ± {error:.3f}"


def _comparison(run: RunDirectory) -> str:
    """What prefrl evaluate has found: win rates, Elo, and how good the reward model is at them."""
    path = run.root / "comparison" / "results.json"
    if not path.is_file():
        return ""
    told = run.read_json(path)
    names = ("win_rate", "length_controlled_win_rate", "reward_acc", "elo")
    rows, curves = [], {}
    for task, found in told["results"].items():
        cells = "".join(f"<td>{_interval(found, name)}</td>" for name in names)
        ece = found.get("reward_ece,none")
        cells += f"<td>{'-' if ece is None else f'{ece:.3f}'}</td>"
        rows.append(f"<tr><th>{html.escape(task)}</th>{cells}</tr>")
        if bins := found.get("reward_calibration"):
            curves[task] = bins
    heads = ("", "win rate", "length-controlled", "reward model right", "Elo", "ECE")
    head = "".join(f"<th>{name}</th>" for name in heads)
    by = html.escape(str(told["config"]["judge"]))
    picture = ""
    if curves:
        _draw_calibration(run, curves)
        picture = '<figure><img src="calibration.png" alt="calibration"></figure>'
    return (
        f"<h2>Against others</h2><p>Judged by {by}; intervals of 95 %.</p>"
        f"<table><tr>{head}</tr>{''.join(rows)}</table>{picture}"
    )


def _interval(found: dict[str, Any], name: str) -> str:
    if f"{name},none" not in found:
        return "-"
    value, low, high = (found[f"{name}{end},none"] for end in ("", "_low", "_high"))
    return (
        f"{value:,.0f} ({low:,.0f} to {high:,.0f})"
        if name == "elo"
        else f"{value:.3f} ({low:.3f} to {high:.3f})"
    )


def _draw_calibration(run: RunDirectory, curves: dict[str, list[list[float]]]) -> None:
    figure, axes = _axes("confidence of the reward model", "share that was right")
    axes.plot([0.5, 1], [0.5, 1], color="0.6", ls="--", lw=1, label="as it should be")
    for task, bins in curves.items():
        said, right, _ = zip(*bins, strict=True)
        axes.plot(said, right, marker="o", ms=4, lw=1.5, label=task)
    axes.set(xlim=(0.48, 1.02), ylim=(-0.02, 1.02))
    axes.legend()
    figure.savefig(run.report / "calibration.png")


def _examples(run: RunDirectory) -> str:
    if not run.examples.is_file():
        return ""
    rows = "".join(
        f"<tr><td>{html.escape(row['prompt'])}</td><td>{html.escape(row['before'])}</td>"
        f"<td>{html.escape(row['after'])}</td></tr>"
        for row in json.loads(run.examples.read_text(encoding="utf-8"))
    )
    head = "<tr><th>prompt</th><th>before</th><th>after</th></tr>"
    return f"<h2>Examples</h2><table>{head}{rows}</table>"


def _over_time(run: RunDirectory) -> str:
    """Some of what it wrote on the way, spread evenly."""
    if not run.samples.is_file():
        return ""
    lines = run.samples.read_text(encoding="utf-8").splitlines()
    every = max(1, len(lines) // _SHOWN_OVER_TIME)
    rows = "".join(
        f"<tr><td>{row['responses']:,}</td><td>{row['score']:.2f}</td>"
        f"<td>{html.escape(row['prompt'])}</td><td>{html.escape(row['response'])}</td></tr>"
        for row in map(json.loads, lines[::every])
    )
    head = "<tr><th>after responses</th><th>score</th><th>prompt</th><th>response</th></tr>"
    return f"<h2>On the way</h2><table>{head}{rows}</table>"
