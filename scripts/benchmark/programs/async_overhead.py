"""The asynchronous run against plain PPO and against one process; see the command file beside."""

import argparse
import csv
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch

from prefrl.control.agent.agent import Agent, AgentConfig
from prefrl.runtime.rundir import RunDirectory

TABLES = Path(__file__).parents[1] / "tables"
ENV_ID = "HalfCheetah-v5"
T_975_2 = 4.303  # Student's t for three seeds
RETURNS = (1000, 2000, 3000)


def rows_of(path):
    with path.open(newline="") as file:
        return [{name: float(v) for name, v in row.items()} for row in csv.DictReader(file)]


def plain_steps_per_second(steps, seed):
    """Stable-Baselines3's PPO on the true reward, without anything of ours around it."""
    agent = Agent(ENV_ID, "ppo", AgentConfig(), seed=seed, hide_reward=False)
    agent.model.learn(8192)
    started, before = time.perf_counter(), agent.model.num_timesteps
    agent.model.learn(steps, reset_num_timesteps=False)
    rate = (agent.model.num_timesteps - before) / (time.perf_counter() - started)
    agent.close()
    return rate


def train(run, steps, seed, *more):
    """Runs `prefrl train` in a process of its own."""
    shutil.rmtree(run.root, ignore_errors=True)
    command = [sys.executable, "-m", "prefrl", "train", ENV_ID, "--labels", "100"]
    command += ["--steps", str(steps), "--seed", str(seed), "--no-films", "--run", str(run.root)]
    subprocess.run([*command, *more], check=True, stdout=subprocess.DEVNULL)


def steps_per_second(metrics):
    """From the end of the second rollout on, as plain PPO too is measured after a start."""
    first, last = metrics[1], metrics[-1]
    passed = last["wall_seconds"] - first["wall_seconds"]
    return (last["env_steps"] - first["env_steps"]) / passed


def pairs(folder, n_pairs, steps):
    rows = []
    for pair in range(n_pairs):
        run = RunDirectory(folder / f"pair{pair}")
        if pair % 2:
            train(run, steps, pair)
            plain = plain_steps_per_second(steps, pair)
        else:
            plain = plain_steps_per_second(steps, pair)
            train(run, steps, pair)
        metrics = rows_of(run.metrics)
        learned = steps_per_second(metrics)
        ages = [row["reward_age"] for row in metrics if row["reward_version"]]
        row = {"pair": pair, "plain_steps_per_second": plain, "async_steps_per_second": learned}
        row |= {"ratio": learned / plain, "fits": metrics[-1]["reward_version"]}
        rows.append(row | {"median_reward_age": np.median(ages), "load": os.getloadavg()[0]})
        print({name: round(value, 3) for name, value in rows[-1].items()}, flush=True)
    ratios = [row["ratio"] for row in rows]
    print(f"async / plain: median {np.median(ratios):.3f}, {min(ratios):.3f} to {max(ratios):.3f}")
    write(TABLES / "async_overhead.csv", rows)


def curves(folder, seeds, steps):
    rows, finals = [], []
    for seed in seeds:
        for way in ("--sync", "--no-sync") if seed % 2 else ("--no-sync", "--sync"):
            run = RunDirectory(folder / f"curve{way}-{seed}")
            if not run.summary.is_file():  # a benchmark that was stopped goes on
                train(run, steps, seed, way)
            summary = json.loads(run.summary.read_text())
            metrics = rows_of(run.metrics)
            final = {"way": way, "seed": seed, "eval_return": summary["eval_return_mean"]}
            final |= {"train_seconds": summary["wall_seconds"]}
            for wanted in RETURNS:
                reached = (r["wall_seconds"] for r in metrics if r["true_return_mean"] >= wanted)
                final[f"seconds_to_{wanted}"] = next(reached, float("nan"))
            finals.append(final)
            for row in metrics:
                kept = ("env_steps", "true_return_mean", "wall_seconds", "labels", "reward_age")
                rows.append({"way": way, "seed": seed} | {name: row[name] for name in kept})
            print(
                {k: v if isinstance(v, str) else f"{v:.0f}" for k, v in final.items()}, flush=True
            )
    write(TABLES / "async_curves.csv", rows)
    write(TABLES / "async_finals.csv", finals)
    for way in ("--sync", "--no-sync"):
        returns = np.array([f["eval_return"] for f in finals if f["way"] == way])
        half = T_975_2 * returns.std(ddof=1) / np.sqrt(3) if len(returns) == 3 else float("nan")
        print(f"{way}: return {returns.mean():,.0f} ± {half:,.0f} (95 % t)")
    for what in ("train_seconds", *(f"seconds_to_{wanted}" for wanted in RETURNS)):
        by_way = {
            way: np.array([f[what] for f in finals if f["way"] == way])
            for way in ("--sync", "--no-sync")
        }
        print(
            f"{what}: async / sync per seed {np.round(by_way['--no-sync'] / by_way['--sync'], 2)}"
        )


def write(path, rows):
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        for row in rows:
            writer.writerow({k: f"{v:.6g}" if isinstance(v, float) else v for k, v in row.items()})


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--pair-steps", type=int, default=100_000)
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=300_000)
    parser.add_argument("--folder", type=Path, default=Path("runs/benchmark/async"))
    told = parser.parse_args()
    torch.set_num_threads(1)
    told.folder.mkdir(parents=True, exist_ok=True)
    if told.pairs:
        pairs(told.folder, told.pairs, told.pair_steps)
    if told.seeds:
        curves(told.folder, told.seeds, told.steps)


if __name__ == "__main__":
    main()
