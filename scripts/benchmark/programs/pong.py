"""A game from comparisons and from its true reward; see the command file beside this."""

import argparse
import csv
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from stable_baselines3.common.callbacks import BaseCallback

from prefrl.control.agent.agent import Agent
from prefrl.control.policies.evaluate import evaluate
from prefrl.control.presets import preset
from prefrl.runtime.devices import choose_devices, use_cpu
from prefrl.runtime.rundir import RunDirectory
from prefrl.runtime.rundir.tables import CsvTable

TABLES = Path(__file__).parents[1] / "tables"
RUNS = Path("runs/benchmark/games")
EVALUATION_SEED, EPISODES = 1_000_003, 10
COLOURS = {"true reward": "#24292f", "comparisons": "#D55E00"}
SECONDS_BETWEEN_LOOKS = 10.0


class LogScores(BaseCallback):
    """Writes the columns of metrics.csv that a training on the true reward has."""

    def __init__(self, path):
        super().__init__()
        self.table = CsvTable(path)
        self.started = time.monotonic()

    def _on_step(self):
        return True

    def _on_rollout_end(self):
        newest = [episode["r"] for episode in list(self.model.ep_info_buffer)[-20:]]
        row = {"env_steps": self.num_timesteps, "labels": 0}
        row["true_return_mean"] = float(np.mean(newest)) if newest else float("nan")
        self.table.append(row | {"wall_seconds": time.monotonic() - self.started})


def train_on_true_reward(env_id, path, seed, steps):
    use_cpu(1)
    path.mkdir(parents=True, exist_ok=True)
    (path / "metrics.csv").unlink(missing_ok=True)
    config, (device, _) = preset("atari", env_id), choose_devices("auto")
    agent = Agent(env_id, "ppo", config.agent, seed=seed, hide_reward=False, device=device)
    agent.model.learn(steps, callback=LogScores(path / "metrics.csv"))
    after = evaluate(agent, env_id, episodes=EPISODES, seed=seed + EVALUATION_SEED)
    scores = after.returns
    summary = {"eval_return_mean": scores.mean(), "eval_return_std": scores.std()}
    (path / "summary.json").write_text(json.dumps(summary))


def train_on_comparisons(env_id, path, seed, steps):
    """`prefrl train`, watched from outside: what it takes of memory, by process."""
    run = RunDirectory(path)
    verb = ["resume", str(path)]
    if not run.config.is_file():
        verb = ["train", env_id, "--steps", str(steps), "--seed", str(seed), "--run", str(path)]
    training = subprocess.Popen([sys.executable, "-m", "prefrl", *verb], stdout=subprocess.DEVNULL)
    table = CsvTable(path.with_suffix(".memory.csv"))
    started = time.monotonic()
    while training.poll() is None:
        time.sleep(SECONDS_BETWEEN_LOOKS)
        row = {"seconds": round(time.monotonic() - started)}
        table.append(row | {role: resident(run, role) for role in ("agent", "learner", "labeller")})
    if training.returncode:
        sys.exit(f"the training ended with {training.returncode}; see {run.root}/logs")


def resident(run, role):
    """Resident MiB of a role's process; NaN where there is none."""
    try:
        pid = json.loads((run.root / "status" / f"{role}.json").read_text())["pid"]
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        return round(
            int(next(line for line in lines if line.startswith("VmRSS")).split()[1]) / 1024
        )
    except (OSError, StopIteration, ValueError):
        return float("nan")


def rows_of(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def run(game, way, seed, steps):
    """One training, unless its result is there already: rows of metrics, and its summary."""
    path = RUNS / f"{game}-{way.replace(' ', '-')}-{seed}-{steps}"
    if not (path / "summary.json").is_file():
        trains = {"true reward": train_on_true_reward, "comparisons": train_on_comparisons}
        trains[way](f"prefrl_envs:prefrl/{game}-v0", path, seed, steps)
    return rows_of(path / "metrics.csv"), json.loads((path / "summary.json").read_text())


def write(path, rows):
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def draw(game, curves, picture):
    figure = Figure(figsize=(7, 4.4), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    for (way, seed), rows in curves.items():
        steps = [float(row["env_steps"]) for row in rows]
        scores = [float(row["true_return_mean"]) for row in rows]
        axes.plot(steps, scores, color=COLOURS[way], lw=1.5, label=f"{way}, seed {seed}")
    axes.set(
        title=f"{game}: PPO on comparisons and on the true reward",
        xlabel="environment steps",
        ylabel="score of the newest 20 games",
    )
    axes.legend(frameon=False)
    axes.grid(alpha=0.3)
    figure.savefig(picture)


def draw_memory(game, rows, picture):
    figure = Figure(figsize=(7, 3), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    for role in ("agent", "learner", "labeller"):
        points = [(float(row["seconds"]), float(row[role])) for row in rows]
        axes.plot(*zip(*points, strict=True), lw=1.5, label=role)
    axes.set(title=f"{game}: memory of each process", xlabel="seconds", ylabel="resident MiB")
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False)
    axes.grid(alpha=0.3)
    figure.savefig(picture)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--game", default="Pong")
    parser.add_argument("--steps", type=int, default=1_000_000, help="steps of each run")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    told = parser.parse_args()
    RUNS.mkdir(parents=True, exist_ok=True)
    curves, rows, memory = {}, [], []
    for seed in told.seeds:
        for way in COLOURS:
            metrics, summary = run(told.game, way, seed, told.steps)
            curves[way, seed] = metrics
            kept = ("env_steps", "labels", "true_return_mean", "wall_seconds")
            rows += [{"way": way, "seed": seed} | {n: r[n] for n in kept} for r in metrics[::4]]
            print(
                f"{told.game}, {way}, seed {seed}: {summary['eval_return_mean']:.1f} ± "
                f"{summary['eval_return_std']:.1f} over {EPISODES} games, "
                f"{float(metrics[-1]['wall_seconds']):.0f} s",
                flush=True,
            )
        name = f"{told.game}-comparisons-{seed}-{told.steps}.memory.csv"
        memory += [{"seed": seed} | row for row in rows_of(RUNS / name)]
    name = told.game.lower()
    write(TABLES / f"{name}.csv", rows)
    write(TABLES / f"{name}_memory.csv", memory)
    draw(told.game, curves, Path(f"docs/pictures/{name}.png"))
    draw_memory(told.game, memory, Path(f"docs/pictures/{name}_memory.png"))


if __name__ == "__main__":
    main()
