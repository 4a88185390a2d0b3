"""HalfCheetah on the true reward and on 700 and 100 labels; see the command file beside this."""

import argparse
import csv
import json
import multiprocessing
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from stable_baselines3.common.callbacks import BaseCallback

from prefrl.control.agent.agent import Agent, AgentConfig
from prefrl.control.config import TrainConfig
from prefrl.control.policies.evaluate import evaluate
from prefrl.control.preferences import PreferenceConfig
from prefrl.control.train import train
from prefrl.runtime.rundir.tables import CsvTable
from prefrl.runtime.rundir.versions import installed_versions

ENV_ID = "HalfCheetah-v5"
RUNS = Path("runs/benchmark/halfcheetah")
TABLES = Path(__file__).parents[1] / "tables"
PICTURE = Path("docs/pictures/halfcheetah.png")
CONDITIONS = {"true reward": None, "700 labels": 700, "100 labels": 100}
COLOURS = {"true reward": "#24292f", "700 labels": "#0072B2", "100 labels": "#D55E00"}
EVALUATION_SEED, EPISODES = 1_000_003, 10
T_975_2 = 4.303  # Student's t for three seeds


class LogReturns(BaseCallback):
    """Writes the columns of metrics.csv that a training on the true reward has."""

    def __init__(self, path):
        super().__init__()
        self.table = CsvTable(path)
        self.started = time.monotonic()

    def _on_step(self):
        return True

    def _on_rollout_end(self):
        newest = [episode["r"] for episode in list(self.model.ep_info_buffer)[-20:]]
        self.table.append(
            {
                "env_steps": self.num_timesteps,
                "true_return_mean": float(np.mean(newest)) if newest else float("nan"),
                "wall_seconds": time.monotonic() - self.started,
            }
        )


def train_on_true_reward(path, seed, steps):
    torch.set_num_threads(1)
    path.mkdir(parents=True)
    started = time.monotonic()
    agent = Agent(ENV_ID, "ppo", AgentConfig(), seed=seed, hide_reward=False)
    agent.model.learn(steps, callback=LogReturns(path / "metrics.csv"))
    seconds = time.monotonic() - started
    after = evaluate(agent, ENV_ID, episodes=EPISODES, seed=seed + EVALUATION_SEED)
    summary = {
        "seed": seed,
        "labels": 0,
        "env_steps": agent.model.num_timesteps,
        "wall_seconds": round(seconds, 1),
        "eval_return_mean": float(after.returns.mean()),
        "eval_return_std": float(after.returns.std()),
        "versions": installed_versions(),
    }
    (path / "summary.json").write_text(json.dumps(summary, indent=2))


def run(condition, seed, steps):
    """One training, unless its result is there already."""
    path = RUNS / f"{condition.replace(' ', '-')}-{seed}"
    if not (path / "summary.json").is_file():
        if CONDITIONS[condition] is None:
            train_on_true_reward(path, seed, steps)
        else:
            preferences = PreferenceConfig(labels=CONDITIONS[condition])
            train(
                TrainConfig(
                    ENV_ID,
                    steps=steps,
                    sync=True,
                    seed=seed,
                    run=path,
                    films=False,
                    preferences=preferences,
                )
            )
    summary = json.loads((path / "summary.json").read_text())
    with (path / "metrics.csv").open() as file:
        return condition, seed, summary, list(csv.DictReader(file))


def write_tables(results):
    with (TABLES / "halfcheetah.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["condition", "seed", "env_steps", "true_return_mean", "wall_seconds"])
        for condition, seed, _, rows in results:
            for row in rows:
                columns = ("env_steps", "true_return_mean", "wall_seconds")
                writer.writerow([condition, seed, *(row[name] for name in columns)])
    names = ["eval_return_mean", "eval_return_std", "wall_seconds", "labels"]
    names += ["reward_correlation", "reward_accuracy_holdout"]
    with (TABLES / "halfcheetah_final.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["condition", "seed", *names])
        for condition, seed, summary, _ in results:
            writer.writerow([condition, seed, *(summary.get(name, "") for name in names)])


def draw(results):
    figure = Figure(figsize=(7, 4.4), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    for condition, colour in COLOURS.items():
        curves = [rows for name, _, _, rows in results if name == condition]
        steps = np.array([float(row["env_steps"]) for row in curves[0]])
        returns = np.array([[float(row["true_return_mean"]) for row in rows] for rows in curves])
        axes.plot(steps, returns.mean(0), color=colour, lw=2, label=condition)
        axes.fill_between(steps, returns.min(0), returns.max(0), color=colour, alpha=0.15, lw=0)
    axes.set(
        title="HalfCheetah: 100 comparisons against the true reward",
        xlabel="environment steps",
        ylabel="true return of the newest 20 episodes",
    )
    axes.legend(title="mean, lowest and highest of the seeds", frameon=False)
    axes.grid(alpha=0.3)
    PICTURE.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(PICTURE)


def print_table(results):
    print("| trained on | true return, mean of seeds | 95 % interval | per seed | wall time |")
    print("|---|--:|--:|--:|--:|")
    for condition in CONDITIONS:
        chosen = [summary for name, _, summary, _ in results if name == condition]
        values = np.array([summary["eval_return_mean"] for summary in chosen])
        seconds = np.mean([summary["wall_seconds"] for summary in chosen])
        half = T_975_2 * values.std(ddof=1) / np.sqrt(3) if len(values) == 3 else float("nan")
        each = ", ".join(f"{value:,.0f}" for value in values)
        print(f"| {condition} | {values.mean():,.0f} | ± {half:,.0f} | {each} | {seconds:,.0f} s |")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=500_000, help="environment steps of each run")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--jobs", type=int, default=2, help="trainings side by side, one per core")
    options = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(options.jobs, mp_context=context) as pool:
        waiting = [
            pool.submit(run, condition, seed, options.steps)
            for seed in options.seeds
            for condition in CONDITIONS
        ]
        results = [job.result() for job in waiting]
    write_tables(results)
    draw(results)
    print_table(results)


if __name__ == "__main__":
    main()
