"""Gold score over KL of several methods on the same answers; see the command file beside this."""

import argparse
import csv
import math
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
from frontier_texts import demonstrations, write_demonstrations, write_new_model
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from prefrl.core.trainer import FitConfig
from prefrl.runtime.rundir import RunDirectory
from prefrl.text.candidates import TextQueryConfig
from prefrl.text.config import AlignConfig
from prefrl.text.data.export import export_responses
from prefrl.text.data.prompts import EVERYDAY
from prefrl.text.methods.finetune import FinetuneConfig
from prefrl.text.methods.ppo import PpoConfig
from prefrl.text.methods.preference_losses import PairLossConfig
from prefrl.text.nets.generate import SamplingConfig
from prefrl.text.nets.reward_model import TextRewardConfig
from prefrl.text.sft import resume_sft, sft
from prefrl.text.sft_config import SftConfig
from prefrl.text.train import align, resume_alignment

TABLES = Path(__file__).parents[1] / "tables"
RUNS = Path("runs/benchmark/frontier")
N_SENTENCES = 4000
MOST_SEEDS = 10
T_95 = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776}
"""Student's t by the number of seeds, for intervals of 95 %."""

COEFFICIENTS = {
    "best-of-n": [64],
    "ppo": [0.02, 0.1, 0.3],
    "dpo": [0.1, 0.3, 1.0],
    "ipo": [0.1, 0.3, 1.0],
    "hinge": [0.1, 0.3, 1.0],
    "kto": [0.1, 0.3, 1.0],
    "raft": [1, 3, 6],
}
"""Of each method: n; kl_coef; beta; passes of raft over the best of eight responses."""
COLOURS = {
    "best-of-n": "#000000", "ppo": "#0072B2", "dpo": "#D55E00", "ipo": "#009E73",
    "hinge": "#CC79A7", "kto": "#E69F00", "raft": "#56B4E9",
}  # fmt: skip
KEPT = ("labels", "gold_before", "gold_after", "gold_after_error", "score_after", "kl_after")
KEPT += ("kl_after_error", "length_after", "reward_accuracy_holdout", "wall_seconds")


def base_model() -> Path:
    """The model that all runs start from: fine-tuned on sentences that the project wrote."""
    run = RunDirectory(RUNS / "base")
    if not run.summary.is_file():
        if not run.config.is_file():
            shutil.rmtree(run.root, ignore_errors=True)
            openings = EVERYDAY.read_text().splitlines()
            told = demonstrations(openings, N_SENTENCES, 0)
            texts = [row["prompt"] + row["completion"] for row in told]
            write_demonstrations(RUNS / "sentences.jsonl", openings, n=N_SENTENCES, seed=0)
            write_new_model(RUNS / "new", texts, seed=0)
            config = SftConfig(
                str(RUNS / "new"),
                RUNS / "sentences.jsonl",
                run=run.root,
                sampling=SamplingConfig(max_new_tokens=24),
                finetune=FinetuneConfig(
                    epochs=2, batch_size=32, microbatch=32, learning_rate=2e-3, schedule="cosine",
                    warmup_steps=20,
                ),
            )  # fmt: skip
            sft(config)
        else:
            resume_sft(run)
    return run.model


def config_of(method: str, coefficient: float, seed: int, base: Path) -> AlignConfig:
    """A run; best of n asks for the answers, and the other methods have them as data."""
    config = AlignConfig(
        str(base),
        EVERYDAY,
        method=method,
        labels=0,
        data=RUNS / f"answers-{seed}.jsonl",
        responses=1024,
        batch=64,
        eval_prompts=32,
        eval_responses=8,
        seed=seed,
        device="cpu",
        sync=True,
        run=RUNS / f"{method}-{coefficient}-{seed}",
        sampling=SamplingConfig(max_new_tokens=24),
        query=TextQueryConfig(selection="uniform", max_open=1000),
        reward=TextRewardConfig(train_layers=None),
        refit_growth=1.0,
        fit=FitConfig(
            epochs=8, batch_size=16, learning_rate=1e-3, linear_decay=True, noise=0.0, l2=0.0
        ),
        ppo=PpoConfig(learning_rate=5e-4, n_epochs=2, microbatch=64),
        finetune=FinetuneConfig(learning_rate=3e-4, epochs=3, batch_size=16, microbatch=16),
    )
    if method == "best-of-n":
        return replace(config, labels=500, initial_fraction=0.0, data=None, n=int(coefficient))
    if method == "ppo":
        return replace(config, ppo=replace(config.ppo, kl_coef=coefficient))
    if method == "raft":
        finetune = replace(config.finetune, epochs=int(coefficient))
        return replace(config, per_prompt=8, finetune=finetune)
    return replace(config, loss=PairLossConfig(beta=coefficient))


def gradient_steps(config: AlignConfig) -> int:
    """How many a finished run took."""
    if config.method == "ppo":
        return config.n_batches * config.ppo.n_epochs * config.ppo.n_minibatches
    if config.method == "raft":
        n_kept = config.batch // config.per_prompt * config.raft.kept
        n_steps = math.ceil(n_kept / config.finetune.batch_size)
        return config.n_batches * config.finetune.epochs * n_steps
    if config.method == "best-of-n":
        return 0
    with RunDirectory(config.run_path).metrics.open(newline="") as file:
        return int(list(csv.DictReader(file))[-1]["update"])


def make(config: AlignConfig, coefficient: float) -> None:
    """Makes a run, or goes on with it, if it is not done yet."""
    run = RunDirectory(config.run_path)
    if not run.summary.is_file():
        if run.config.is_file():
            result = resume_alignment(run)
        else:
            shutil.rmtree(run.root, ignore_errors=True)
            result = align(config)
        if not result.finished:
            raise SystemExit("stopped; give the command again to go on.")
        gold, kl = result.summary["gold_after"], result.summary["kl_after"]
        about = f"{config.method} {coefficient}, seed {config.seed}"
        print(f"{about}: gold {gold:.3f}, KL {kl:.2f}", flush=True)
    if config.method == "best-of-n":
        answers = RUNS / f"answers-{config.seed}.jsonl"
        answers.write_text("".join(export_responses(run, "preference").lines()))


def rows_of(config: AlignConfig, coefficient: float) -> list[dict[str, object]]:
    """A row for a run, if it is there; of best of n one for each n on the way."""
    run = RunDirectory(config.run_path)
    if not run.summary.is_file():
        return []
    summary = run.read_json(run.summary)
    row = {"method": config.method, "coefficient": coefficient, "seed": config.seed}
    row |= {"gradient_steps": gradient_steps(config)} | {name: summary[name] for name in KEPT}
    if config.method != "best-of-n":
        return [row]
    unknown = dict.fromkeys(("gold_after_error", "kl_after_error", "score_after", "length_after"))
    return [
        row
        | unknown
        | {"coefficient": point["n"], "gold_after": point["gold"], "kl_after": point["kl"]}
        for point in summary["best_of_n"]
    ]


def all_rows(seeds: int, base: Path) -> list[dict[str, object]]:
    """The rows of all runs that there are, with seeds below a number."""
    return [
        row
        for seed in range(seeds)
        for method, coefficients in COEFFICIENTS.items()
        for coefficient in coefficients
        for row in rows_of(config_of(method, coefficient, seed, base), coefficient)
    ]


def write_rows(rows: list[dict[str, object]]) -> None:
    with (TABLES / "frontier.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def mean_and_interval(values: list[float]) -> tuple[float, float]:
    """Mean over seeds, and half of its interval of 95 % by Student's t; NaN of one seed."""
    n = len(values)
    half = T_95[n] * float(np.std(values, ddof=1)) / math.sqrt(n) if n in T_95 else math.nan
    return float(np.mean(values)), half


def table(rows: list[dict[str, object]]) -> str:
    """Means over the seeds and their intervals, in Markdown."""
    lines = [
        "| method | coefficient | gradient steps | sentiment | KL, nats |",
        "|---|--:|--:|--:|--:|",
    ]
    for method, coefficient in dict.fromkeys((r["method"], r["coefficient"]) for r in rows):
        same = [r for r in rows if (r["method"], r["coefficient"]) == (method, coefficient)]
        steps = sorted({r["gradient_steps"] for r in same})
        told = f"{steps[0]}" if len(steps) == 1 else f"{steps[0]} to {steps[-1]}"
        gold = "{:.2f} ± {:.2f}".format(*mean_and_interval([r["gold_after"] for r in same]))
        kl = "{:.1f} ± {:.1f}".format(*mean_and_interval([r["kl_after"] for r in same]))
        lines.append(f"| {method} | {coefficient} | {told} | {gold} | {kl} |")
    return "\n".join(lines)


def draw(rows: list[dict[str, object]], picture: Path) -> None:
    figure = Figure(figsize=(7.5, 5), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    seeds = {row["seed"] for row in rows}
    for method, colour in COLOURS.items():
        found = [row for row in rows if row["method"] == method]
        points = []
        for coefficient in sorted({row["coefficient"] for row in found}):
            same = [row for row in found if row["coefficient"] == coefficient]
            kl = mean_and_interval([row["kl_after"] for row in same])
            points.append((*kl, *mean_and_interval([row["gold_after"] for row in same])))
        if not points:
            continue
        kls, kl_halves, golds, gold_halves = zip(*sorted(points), strict=True)
        dashed = method == "best-of-n"
        axes.errorbar(
            kls, golds, xerr=None if dashed else kl_halves, yerr=gold_halves, color=colour,
            fmt="s--" if dashed else "o-", ms=4, lw=1.2, elinewidth=0.7, capsize=2,
            label="best of n (KL by formula)" if dashed else method,
        )  # fmt: skip
        axes.scatter(
            [row["kl_after"] for row in found],
            [row["gold_after"] for row in found],
            s=6, color=colour, alpha=0.35,
        )  # fmt: skip
    before = mean_and_interval([row["gold_before"] for row in rows if row["method"] == "best-of-n"])
    axes.axhline(before[0], color="0.6", lw=0.8, zorder=0)
    axes.set(
        title=f"A model of 0.4 M parameters, 500 answers; means over {len(seeds)} seeds, 95 %",
        xlabel="KL to the model it began as, nats",
        ylabel="sentiment by VADER",
    )
    axes.legend(frameon=False)
    axes.grid(alpha=0.3)
    figure.savefig(picture)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--methods", nargs="+", default=list(COEFFICIENTS), choices=COEFFICIENTS)
    told = parser.parse_args()
    RUNS.mkdir(parents=True, exist_ok=True)
    base = base_model()
    # Best of n comes first: it asks for the answers that the others learn from.
    methods = ["best-of-n", *(name for name in told.methods if name != "best-of-n")]
    for seed in told.seeds:
        for method in methods:
            for coefficient in COEFFICIENTS[method]:
                make(config_of(method, coefficient, seed, base), coefficient)
                # Also what an earlier call made of other methods and seeds.
                rows = all_rows(MOST_SEEDS, base)
                write_rows(rows)
            draw(rows, Path("docs/pictures/frontier.png"))
    print(table(rows))


if __name__ == "__main__":
    main()
