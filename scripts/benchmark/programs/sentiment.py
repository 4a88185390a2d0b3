"""Sentiment by PPO, DPO and best of n; see the command file beside this."""

import argparse
import csv
import json
import subprocess
import sys
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from prefrl.text.data.prompts import EVERYDAY

TABLES = Path(__file__).parents[1] / "tables"
RUNS = Path("runs/benchmark/sentiment")
COLOURS = {"ppo": "#0072B2", "dpo": "#D55E00", "best-of-n": "#009E73"}
COEFFICIENTS = {"ppo": "--ppo.kl-coef", "dpo": "--loss.beta", "best-of-n": "--n"}
WAYS = ["ppo-0.02", "ppo-0.1", "dpo-0.1", "dpo-0.03", "best-of-n-16"]
KEPT = ("labels", "responses", "gold_before", "gold_before_error", "gold_after", "gold_after_error")
KEPT += ("kl_after", "kl_after_error", "length_after", "reward_accuracy_holdout", "wall_seconds")


def run(way, seed, threads):
    """One alignment, unless its result is there already: its summary."""
    method, _, coefficient = way.rpartition("-")
    path = RUNS / f"{way}-{seed}"
    if not (path / "summary.json").is_file():
        verb = ["resume", str(path)]
        if not (path / "config.json").is_file():
            verb = ["align", "smollm2", "--prompts", str(EVERYDAY), "--method", method]
            verb += [COEFFICIENTS[method], coefficient, "--seed", str(seed), "--run", str(path)]
            verb += ["--threads", str(threads)]
        subprocess.run([sys.executable, "-m", "prefrl", *verb], check=True)
    return json.loads((path / "summary.json").read_text())


def row_of(way, seed, summary):
    method, _, coefficient = way.rpartition("-")
    about = {"method": method, "coefficient": coefficient, "seed": seed}
    return about | {name: summary[name] for name in KEPT}


def draw(summaries, picture):
    figure = Figure(figsize=(7.5, 4), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    for (way, seed), summary in summaries.items():
        method = way.rpartition("-")[0]
        axes.errorbar(
            summary["kl_after"],
            summary["gold_after"],
            yerr=summary["gold_after_error"],
            fmt="o",
            color=COLOURS[method],
            label=f"{way}, seed {seed}",
        )
        if "best_of_n" in summary:
            curve = summary["best_of_n"]
            kls, golds = [p["kl"] for p in curve], [p["gold"] for p in curve]
            axes.plot(kls, golds, color=COLOURS[method], lw=1)
    first = next(iter(summaries.values()))
    axes.errorbar(
        0, first["gold_before"], yerr=first["gold_before_error"], fmt="s", color="k", label="before"
    )
    axes.set(
        title="SmolLM2-135M, aligned by comparisons",
        xlabel="KL to the model it began as, nats",
        ylabel="sentiment by VADER, mean over 32 prompts",
    )
    figure.legend(loc="outside right upper", frameon=False)
    axes.grid(alpha=0.3)
    figure.savefig(picture)


def write():
    """Table, examples and figure of all runs that are there, whichever were asked for just now."""
    summaries, examples = {}, {}
    for path in sorted(RUNS.glob("*/summary.json"), key=_place):
        way, _, seed = path.parent.name.rpartition("-")
        summaries[way, int(seed)] = json.loads(path.read_text())
        told = json.loads((path.parent / "examples.json").read_text())
        examples[f"{way}, seed {seed}"] = told[:8]
    rows = [row_of(way, seed, summary) for (way, seed), summary in summaries.items()]
    with (TABLES / "sentiment.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    (TABLES / "sentiment_examples.json").write_text(json.dumps(examples, indent=1))
    draw(summaries, Path("docs/pictures/sentiment.png"))


def _place(summary):
    """By seed, and the ways in their order; others come after them."""
    way, _, seed = summary.parent.name.rpartition("-")
    return int(seed), WAYS.index(way) if way in WAYS else len(WAYS), way


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--ways", nargs="+", default=WAYS, help="METHOD-COEFFICIENT")
    parser.add_argument("--threads", type=int, default=2)
    told = parser.parse_args()
    RUNS.mkdir(parents=True, exist_ok=True)
    for seed in told.seeds:
        for way in told.ways:
            run(way, seed, told.threads)
            write()


if __name__ == "__main__":
    main()
