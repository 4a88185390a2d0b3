"""The report of a language model's run: its figures, and responses before and after."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from html import escape
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from prefrl.core.disk import naming
from prefrl.errors import NotEnoughDataError, RunDirectoryError
from prefrl.report import figures as common
from prefrl.report import text_figures as drawn
from prefrl.report.layout import cards, duration, embedded, notes, page, plain, section
from prefrl.report.tables import Table, number, read_csv
from prefrl.report.verdict import rounded, text_verdict
from prefrl.runtime.rundir import RunDirectory
from prefrl.runtime.rundir.troubles import troubles_of
from prefrl.runtime.rundir.writing import write_atomically

__all__ = ["write_text_report"]

_SHOWN_OVER_TIME = 12

# Figures without data are left out. The most important ones come first.
_SECTIONS: list[tuple[str, str, str, Callable[[Table], Figure]]] = [
    (
        "frontier",
        "What does it cost to get better?",
        "Each point is an update. Better is further up, cheaper is further left: responses that "
        "are far from the reference may be odd ones.",
        drawn.frontier,
    ),
    (
        "scores",
        "Does it get better?",
        "Both scores should rise. If only the learned one does, the policy exploits a mistake of "
        "the reward.",
        drawn.scores,
    ),
    (
        "loss",
        "Does it learn, or learn by heart?",
        "The held-out loss should fall with the other. Where it rises while the other falls, the "
        "demonstrations are learned by heart.",
        drawn.demonstrations,
    ),
    (
        "rewards",
        "Does it tell chosen from rejected?",
        "The implicit reward is the log-ratio of policy to reference, times beta. The margin "
        "should grow.",
        drawn.rewards,
    ),
    (
        "accuracies",
        "How often is the chosen response ahead?",
        "The share of pairs whose chosen response has the higher implicit reward.",
        drawn.accuracies,
    ),
    (
        "logps",
        "How likely are the answers' responses?",
        "If both fall far, the policy forgets what it could say: raise beta, or train for fewer "
        "epochs.",
        drawn.log_probabilities,
    ),
    (
        "tuning_loss",
        "Does the loss fall?",
        "The loss on the answers, as a mean over the steps since the point before.",
        drawn.tuning_loss,
    ),
    (
        "kl",
        "How far has it gone?",
        "The KL to the reference. A steady rise without a rise of the gold score is a warning.",
        drawn.divergence,
    ),
    (
        "shapes",
        "What do responses look like?",
        "Responses that no longer end, or that only grow, often mean that length was mistaken for "
        "quality.",
        drawn.shapes,
    ),
    (
        "disagreement",
        "How sure are the members?",
        "Disagreement should fall as labels come in. A rise means that the policy writes what "
        "nobody has compared yet.",
        drawn.disagreement,
    ),
]

_ABOUT_HOLDOUT = (
    "Each member is judged on comparisons that it was not trained on. Accuracy should stay well "
    "above one half. Pairs may be chosen to be hard, so it need not come near one."
)


def write_text_report(run: RunDirectory) -> Path:
    """Draws the report of a run, finished or not.

    Returns:
        The path of its page. Each figure lies beside it as a PNG.

    Raises:
        OSError: If the report cannot be written; its file name is set.
    """
    with naming(run.report):
        run.report.mkdir(exist_ok=True)
        return _write(run)


def _write(run: RunDirectory) -> Path:
    summary = run.read_json(run.summary) if run.summary.is_file() else {}
    config = run.read_json(run.config) if run.config.is_file() else {}
    title = f"{config.get('model', run.root.name)}, {config.get('method', 'demonstrations')}"
    troubles = troubles_of(run, total_steps=None, finished=bool(summary))
    body = [
        *_headline(title, summary),
        *notes(troubles),
        '<div class="figures">',
        *_figures(run),
        "</div>",
        *_best_of_n(summary),
        *_comparison(run),
        *_examples(run),
        *_over_time(run),
        *_settings(run, config),
    ]
    path = run.report / "index.html"
    write_atomically(path, page(title, "\n".join(body)).encode())
    return path


def _headline(title: str, summary: dict[str, Any]) -> Iterator[str]:
    yield f"<h1>{escape(title)}</h1>"
    if not summary:
        yield '<p class="soft">The run has not finished yet.</p>'
        return
    yield f'<p class="soft">seed {summary["seed"]}</p>'
    yield f'<p class="verdict">{escape(" ".join(text_verdict(summary)))}</p>'
    told = _of_demonstrations if "eval_loss_after" in summary else _of_alignment
    yield from cards(told(summary))


def _of_alignment(summary: dict[str, Any]) -> list[tuple[str, str]]:
    n = f"± standard error over {summary['eval_prompts']} prompts"
    shown = [
        ("gold score before", _with_error(summary, "gold", "before")),
        (f"gold score after ({n})", _with_error(summary, "gold", "after")),
        ("learned score before", _with_error(summary, "score", "before")),
        ("learned score after", _with_error(summary, "score", "after")),
        ("KL to the reference, nats", _with_error(summary, "kl", "after")),
        ("labels", plain(number(summary, "labels"))),
        ("responses written", plain(number(summary, "responses"))),
        ("hold-out accuracy", plain(number(summary, "reward_accuracy_holdout"), 2)),
        ("responses that ended, before", _percent(number(summary, "ended_before"))),
        ("responses that ended, after", _percent(number(summary, "ended_after"))),
        ("training time", duration(number(summary, "wall_seconds"))),
    ]
    return [(name, value) for name, value in shown if value != "-"]


def _of_demonstrations(summary: dict[str, Any]) -> list[tuple[str, str]]:
    return [
        ("held-out loss before, nats per token", _with_error(summary, "eval_loss", "before")),
        ("held-out loss after", _with_error(summary, "eval_loss", "after")),
        ("demonstrations", plain(number(summary, "examples"))),
        ("held out", plain(number(summary, "eval_examples"))),
        ("cut to the longest length", plain(number(summary, "cut"))),
        ("tokens to learn", plain(number(summary, "tokens"))),
        ("epochs", f"{number(summary, 'epochs'):g}"),
        ("gradient steps", plain(number(summary, "steps"))),
        ("training time", duration(number(summary, "wall_seconds"))),
    ]


def _with_error(summary: dict[str, Any], what: str, when: str) -> str:
    value, error = (number(summary, f"{what}_{when}{end}") for end in ("", "_error"))
    if not math.isfinite(value):
        return "-"
    return rounded(value) if not error > 0 else f"{rounded(value)} ± {rounded(error)}"


def _percent(share: float) -> str:
    return f"{share:.0%}" if math.isfinite(share) else "-"


def _figures(run: RunDirectory) -> Iterator[str]:
    metrics, fits = _table(run.metrics), _table(run.fits)
    shown: list[tuple[str, str, str, Callable[[], Figure]]] = [
        (name, title, reading, partial(draw, metrics)) for name, title, reading, draw in _SECTIONS
    ]
    title = "Does the reward generalise?"
    shown.insert(2, ("holdout", title, _ABOUT_HOLDOUT, partial(common.holdout, fits)))
    for name, title, reading, make in shown:
        path = run.report / f"{name}.png"
        try:
            yield section(title, reading, embedded(path, title, make()))
        except NotEnoughDataError:  # each method has data for some of them
            path.unlink(missing_ok=True)


def _table(path: Path) -> Table:
    try:
        return read_csv(path)
    except RunDirectoryError:  # it does not exist yet
        return {}


def _best_of_n(summary: dict[str, Any]) -> Iterator[str]:
    if curve := summary.get("best_of_n"):
        rows = [(f"{p['n']}", f"{p['kl']:.2f}", f"{p['gold']:.3f}") for p in curve]
        yield "<h2>Best of n</h2>"
        yield _html_table(("n", "KL, nats", "gold score"), rows)


def _comparison(run: RunDirectory) -> Iterator[str]:
    """Results of prefrl evaluate: win rates, Elo, and how well the reward model predicts wins."""
    path = run.root / "comparison" / "results.json"
    if not path.is_file():
        return
    told = run.read_json(path)
    names = ("win_rate", "length_controlled_win_rate", "reward_acc", "elo")
    rows, curves = [], {}
    for task, found in told["results"].items():
        ece = plain(number(found, "reward_ece,none"), 3)
        rows.append((task, *(_interval(found, name) for name in names), ece))
        if bins := found.get("reward_calibration"):
            curves[task] = bins
    yield "<h2>Against others</h2>"
    yield f"<p>Judged by {escape(str(told['config']['judge']))}; intervals of 95 %.</p>"
    yield _html_table(
        ("", "win rate", "length-controlled", "reward model right", "Elo", "ECE"), rows
    )
    if curves:
        title, path = "Is the reward model right?", run.report / "calibration.png"
        figure = embedded(path, title, drawn.calibration_of_wins(curves))
        reading = "A point below the dotted line: the reward model is surer than it should be."
        yield f'<div class="figures">{section(title, reading, figure)}</div>'


def _interval(found: dict[str, Any], name: str) -> str:
    if f"{name},none" not in found:
        return "-"
    value, low, high = (found[f"{name}{end},none"] for end in ("", "_low", "_high"))
    return (
        f"{value:,.0f} ({low:,.0f} to {high:,.0f})"
        if name == "elo"
        else f"{value:.3f} ({low:.3f} to {high:.3f})"
    )


def _examples(run: RunDirectory) -> Iterator[str]:
    if run.examples.is_file():
        told = json.loads(run.examples.read_text(encoding="utf-8"))
        rows = [(row["prompt"], row["before"], row["after"]) for row in told]
        yield "<h2>Examples</h2>"
        yield _html_table(("prompt", "before", "after"), rows, of_texts=True)


def _over_time(run: RunDirectory) -> Iterator[str]:
    """Some responses from the course of the training, evenly spaced."""
    if not run.samples.is_file():
        return
    lines = run.samples.read_text(encoding="utf-8").splitlines()
    every = max(1, len(lines) // _SHOWN_OVER_TIME)
    rows = [
        (f"{row['responses']:,}", f"{row['score']:.2f}", row["prompt"], row["response"])
        for row in map(json.loads, lines[::every])
    ]
    yield "<h2>On the way</h2>"
    yield _html_table(("after responses", "score", "prompt", "response"), rows, of_texts=True)


def _html_table(
    names: Sequence[str], rows: Sequence[Sequence[str]], *, of_texts: bool = False
) -> str:
    head = "".join(f"<th>{escape(name)}</th>" for name in names)
    cells = ("".join(f"<td>{escape(cell)}</td>" for cell in row) for row in rows)
    body = "".join(f"<tr>{row}</tr>" for row in cells)
    kind = "texts" if of_texts else "numbers"
    return f'<div class="wide"><table class="{kind}"><tr>{head}</tr>{body}</table></div>'


def _settings(run: RunDirectory, config: dict[str, Any]) -> Iterator[str]:
    versions = run.read_json(run.versions) if run.versions.is_file() else {}
    for title, content in (("Configuration", config), ("Versions", versions)):
        text = escape(json.dumps(content, indent=2))
        yield f"<details><summary>{title}</summary><pre>{text}</pre></details>"
