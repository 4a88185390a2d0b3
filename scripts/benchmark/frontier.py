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
from prefrl.text.methods.finetune import FinetuneConfig
from prefrl.text.methods.ppo import PpoConfig
from prefrl.text.methods.preference_losses import PairLossConfig
from prefrl.text.nets.generate import SamplingConfig
from prefrl.text.nets.reward_model import TextRewardConfig
from prefrl.text.sft import resume_sft, sft
from prefrl.text.sft_config import SftConfig
from prefrl.text.train import align, resume_alignment

HERE = Path(__file__).parent
PROMPTS = HERE / "everyday_prompts.txt"
RUNS = Path("runs/benchmark/frontier")
N_SENTENCES = 4000
T_95 = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776}
"""Student's t by the number of seeds, for intervals of 95 %."""

COEFFICIENTS = {
    "best-of-n": [64],
    "ppo": [0.02, 0.1, 0.3],
    "dpo": [0.1, 0.3, 1.0],
    "ipo": [0.1, 0.3, 1.0],
    "hinge": [0.1, 0.3, 1.0],
    "kto": [0.1, 0.3, 1.0],
    "raft": [2, 4, 8],
}
"""Of each method: n; kl_coef; beta; responses to each prompt, of which raft learns the best."""
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
            openings = PROMPTS.read_text().splitlines()
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
        PROMPTS,
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
        return replace(config, labels=500, initial_fraction=1.0, data=None, n=int(coefficient))
    if method == "ppo":
        return replace(config, ppo=replace(config.ppo, kl_coef=coefficient))
    if method == "raft":
        return replace(
            config, per_prompt=int(coefficient), finetune=replace(config.finetune, epochs=1)
        )
    return replace(config, loss=PairLossConfig(beta=coefficient))


def summary_of(method: str, coefficient: float, seed: int, base: Path) -> dict[str, object]:
    """What a run came to; it is made, or gone on with, if that is not known yet."""
    config = config_of(method, coefficient, seed, base)
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
        print(f"{method} {coefficient}, seed {seed}: gold {gold:.3f}, KL {kl:.2f}", flush=True)
    if method == "best-of-n":
        answers = RUNS / f"answers-{seed}.jsonl"
        answers.write_text("".join(export_responses(run, "preference").lines()))
    return run.read_json(run.summary)


def rows_of(method: str, coefficient: float, seed: int, summary: dict) -> list[dict[str, object]]:
    """A row for a run; of best of n one for each n on the way."""
    about = {"method": method, "coefficient": coefficient, "seed": seed}
    row = about | {name: summary[name] for name in KEPT}
    if method != "best-of-n":
        return [row]
    unknown = dict.fromkeys(("gold_after_error", "kl_after_error", "score_after", "length_after"))
    return [
        row
        | unknown
        | {"coefficient": point["n"], "gold_after": point["gold"], "kl_after": point["kl"]}
        for point in summary["best_of_n"]
    ]


def write_rows(rows: list[dict[str, object]]) -> None:
    with (HERE / "frontier.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def mean_and_interval(values: list[float]) -> tuple[float, float]:
    """Mean over seeds, and half of its interval of 95 % by Student's t; NaN of one seed."""
    n = len(values)
    half = T_95[n] * float(np.std(values, ddof=1)) / math.sqrt(n) if n in T_95 else math.nan
    return float(np.mean(values)), half


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
    base, rows = base_model(), []
    # Best of n comes first: it asks for the answers that the others learn from.
    methods = ["best-of-n", *(name for name in told.methods if name != "best-of-n")]
    for seed in told.seeds:
        for method in methods:
            for coefficient in COEFFICIENTS[method]:
                summary = summary_of(method, coefficient, seed, base)
                rows += rows_of(method, coefficient, seed, summary)
                write_rows(rows)
            draw(rows, Path("docs/pictures/frontier.png"))


if __name__ == "__main__":
    main()
