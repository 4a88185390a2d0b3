"""One self-contained HTML page, with figures, films and film strips embedded."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from html import escape
from pathlib import Path

from matplotlib.figure import Figure

from prefrl.core.disk import naming
from prefrl.errors import PrefrlError
from prefrl.report import figures as drawn
from prefrl.report.layout import cards, data_uri, drawn_at, duration, notes, page, plain, section
from prefrl.report.tables import Pair, RunRecord, Table, column, find_setting, number, read_run
from prefrl.report.verdict import verdict
from prefrl.runtime.figures import FigureFunction, OwnFigure, own_figures
from prefrl.runtime.rundir import RunDirectory
from prefrl.runtime.rundir.tally import tally_of
from prefrl.runtime.rundir.troubles import steps_of, troubles_of
from prefrl.runtime.rundir.writing import write_atomically

__all__ = ["write_report"]

_LARGEST_FILM = 8_000_000

# The four most important ones come first.
_SECTIONS: list[tuple[str, str, str, Callable[[RunRecord], Figure]]] = [
    (
        "learning_curve",
        "Does it learn?",
        "The true return, which the agent never sees. It should rise. A fall while the predicted "
        "reward rises means that the agent exploits a mistake of the reward.",
        lambda record: drawn.learning_curve(
            record.metrics,
            final_return=number(record.summary, "eval_return_mean"),
            final_std=number(record.summary, "eval_return_std"),
            evaluations=record.evaluations,
        ),
    ),
    (
        "along_episode",
        "Along one episode",
        "Both rewards should rise and fall together. Stretches where only the prediction is high "
        "are what an agent would learn to exploit.",
        lambda record: drawn.along_episode(record.evaluation),
    ),
    (
        "holdout",
        "Does the reward generalise?",
        "Each member is judged on comparisons that it was not trained on. Accuracy should stay "
        "well above one half. Pairs are chosen to be hard, so it need not come near one.",
        lambda record: drawn.holdout(record.fits),
    ),
    (
        "disagreement",
        "How sure are the members?",
        "Disagreement should fall as labels come in. A sudden rise means that the agent reached "
        "behaviour that nobody has compared yet.",
        lambda record: drawn.disagreement(record.metrics),
    ),
    (
        "predicted_against_true",
        "Is the learned reward the true one?",
        "Each point is a step of an evaluation episode. The closer to a rising line, the better; "
        "scale and shift do not matter, since comparisons do not fix them.",
        lambda record: drawn.predicted_against_true(record.evaluation),
    ),
    (
        "calibration",
        "Are its probabilities honest?",
        "When the members say 80 per cent, four of five answers should agree. Points below the "
        "diagonal on the right mean overconfidence.",
        lambda record: drawn.calibration(record.evaluation),
    ),
]


def write_report(run: RunDirectory, *, figures: Sequence[str | FigureFunction] = ()) -> Path:
    """Draws all figures of a run and writes its page. The run may be in progress or cut short.

    Args:
        run: The run.
        figures: The user's own figures, besides those that its config names: functions that take
            the run and return a matplotlib figure, or their names as ``module:name``.

    Returns:
        The path of the page. Each figure lies beside it as a PNG.

    Raises:
        ConfigError: If one of the user's own figures cannot be found.
        RunDirectoryError: If the directory holds nothing of a run at all.
        OSError: If the report cannot be written; its file name is set.
    """
    record, own = read_run(run), own_figures(run, figures)
    with naming(run.report):
        run.report.mkdir(exist_ok=True)
        return _write(run, record, own)


def _write(run: RunDirectory, record: RunRecord, own: Sequence[OwnFigure]) -> Path:
    troubles = troubles_of(run, total_steps=steps_of(record.config), finished=bool(record.summary))
    parts = [*_headline(run, record), *notes(troubles), *_notes(record), *_films(run)]
    parts.append('<div class="figures">')
    for name, title, reading, draw in _SECTIONS:
        path = run.report / f"{name}.png"
        parts.append(section(title, reading, drawn_at(path, title, partial(draw, record))))
    for figure in own:
        path = run.report / f"own_{figure.name}.png"
        shown = drawn_at(path, figure.title, partial(figure.draw, run))
        parts.append(section(figure.title, figure.reading, shown))
    parts += ["</div>", *_pairs(run, record.pairs), *_settings(run, record)]
    path = run.report / "index.html"
    write_atomically(path, page(_name(record), "\n".join(parts)).encode())
    return path


def _name(record: RunRecord) -> str:
    env_id = record.summary.get("env_id") or find_setting(record.config, "env_id") or "a run"
    return f"{env_id} from comparisons"


def _headline(run: RunDirectory, record: RunRecord) -> Iterator[str]:
    summary = record.summary
    algo = summary.get("algo") or find_setting(record.config, "algo")
    seed = summary.get("seed", find_setting(record.config, "seed"))
    # A narrow screen may break the environment's id after its slash.
    yield f"<h1>{escape(_name(record)).replace('/', '/<wbr>')}</h1>"
    agent = "unknown algorithm" if algo is None else str(algo).upper()
    if settings := summary.get("agent_settings"):  # unknown in older runs, and before the end
        agent += f" with {settings}"
    yield f'<p class="soft">{escape(agent)}, seed {"?" if seed is None else escape(str(seed))}</p>'
    if said := verdict(record):
        yield f'<p class="verdict">{escape(" ".join(said))}</p>'
    yield from cards(_cards(run, record))


def _cards(run: RunDirectory, record: RunRecord) -> list[tuple[str, str]]:
    """Returns label and value of each card; without a summary, from the tables' newest rows."""
    summary, metrics = record.summary, record.metrics
    after, spread = (number(summary, f"eval_return_{name}") for name in ("mean", "std"))
    label = "true return after"
    if math.isfinite(number(summary, "eval_episodes")):
        n_cut = number(summary, "eval_episodes_cut")
        cut = f", {plain(n_cut)} of them cut" if n_cut > 0 else ""  # unknown in older runs
        label += f" (std over {plain(number(summary, 'eval_episodes'))} episodes{cut})"
    value = plain(after) + (f" ± {plain(spread)}" if math.isfinite(spread) else "")
    if not math.isfinite(after):
        label, value = "true return in training", plain(_newest(metrics, "true_return_mean"))
    labels, version = _labels_and_version(run, record)
    steps = _first(number(summary, "env_steps"), _newest(metrics, "env_steps"))
    seconds = _first(number(summary, "wall_seconds"), _newest(metrics, "wall_seconds"))
    correlation, accuracy = (
        number(summary, name) if summary else _newest(table, column_name)
        for name, table, column_name in (
            ("reward_correlation", metrics, "reward_correlation"),
            ("reward_accuracy_holdout", record.fits, "holdout_accuracy"),
        )
    )
    return [
        ("true return before", plain(number(summary, "eval_return_before_mean"))),
        (label, value),
        ("labels", plain(labels)),
        ("reward version", plain(version)),
        ("environment steps", plain(steps)),
        ("correlation of rewards", plain(correlation, 2)),
        ("hold-out accuracy", plain(accuracy, 2)),
        ("accuracy on its own play", plain(number(summary, "reward_accuracy_on_policy"), 2)),
        ("training time", duration(seconds)),
    ]


def _labels_and_version(run: RunDirectory, record: RunRecord) -> list[float]:
    """From the summary; before it exists, from label store and weights, or else the tables."""
    if not record.summary and run.has_labels:
        with contextlib.suppress(PrefrlError):  # reports matter most when something is broken
            tally = tally_of(run)
            return [tally.labels, tally.reward_version]
    return [
        _first(number(record.summary, name), _newest(record.metrics, name))
        for name in ("labels", "reward_version")
    ]


def _notes(record: RunRecord) -> Iterator[str]:
    if record.notes:
        yield '<div class="notes"><p>This report is not complete:</p><ul>'
        yield from (f"<li>{escape(note)}</li>" for note in record.notes)
        yield "</ul></div>"


def _films(run: RunDirectory) -> Iterator[str]:
    films = {name: run.films / f"{name}.webm" for name in ("before", "after")}
    if not any(path.is_file() for path in films.values()):
        yield '<p class="soft">There are no films of this run.</p>'
        return
    yield '<h2>Before and after</h2><div class="films">'
    for name, path in films.items():
        if not path.is_file():
            yield f'<p class="soft">There is no film of the agent {name} training.</p>'
        elif path.stat().st_size >= _LARGEST_FILM:
            size = f"{path.stat().st_size / 1e6:.0f} MB"
            link = f'<a href="../films/{path.name}">The film {name} training</a>'
            yield f"<p>{link} lies beside this page: at {size} it is too large to be inside.</p>"
        else:
            source = data_uri(path, "video/webm")
            yield (
                f'<figure><video controls loop muted autoplay playsinline src="{source}"></video>'
                f"<figcaption>{name} training</figcaption></figure>"
            )
    yield "</div>"


def _pairs(run: RunDirectory, pairs: list[Pair]) -> Iterator[str]:
    if not pairs:
        return
    yield "<h2>The most informative pairs</h2>"
    yield "<p>On these the members disagreed most when asked. The better one is framed.</p>"
    for pair in pairs:
        yield '<div class="pair">'
        for side, name in (("left", pair.left), ("right", pair.right)):
            strip = run.films / name
            if not strip.is_file():
                yield f'<p class="soft">{side}: {escape(name) or "its strip"} is missing.</p>'
            else:
                mark = ' class="better"' if pair.answer == side else ""
                caption = f"{side}: better" if mark else side
                yield (
                    f'<figure{mark}><img src="{data_uri(strip, "image/png")}" alt="{side} clip">'
                    f"<figcaption>{caption}</figcaption></figure>"
                )
        yield "</div>"
        yield (
            f'<p class="soft">{escape(pair.query)}: answer {escape(pair.answer)}, disagreement '
            f"{plain(pair.disagreement, 2)}, asked by step {plain(pair.env_steps)}</p>"
        )


def _settings(run: RunDirectory, record: RunRecord) -> Iterator[str]:
    for title, content in (("Configuration", record.config), ("Versions", record.versions)):
        text = escape(json.dumps(content, indent=2))
        yield f"<details><summary>{title}</summary><pre>{text}</pre></details>"
    yield f"<p>Evaluate the agent again: <code>prefrl evaluate {escape(str(run.root))}</code></p>"


def _first(*values: float) -> float:
    return next((value for value in values if math.isfinite(value)), math.nan)


def _newest(table: Table, name: str) -> float:
    values = column(table, name)
    return _first(*values[::-1].tolist())
