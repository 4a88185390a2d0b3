"""Trainings side by side as suites of arms over tasks and seeds; a benchmark gives its suites."""

import argparse
import csv
import multiprocessing
import re
import subprocess
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from csv_rows import append_row
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from prefrl.control.agent.agent import Agent, AgentConfig
from prefrl.control.config import TrainConfig
from prefrl.control.environments.source import EnvConfig
from prefrl.control.policies.evaluate import evaluate
from prefrl.control.preferences import PreferenceConfig
from prefrl.control.reward.config import RewardNetConfig
from prefrl.control.train import train
from prefrl.runtime.rundir import RunDirectory

HERE = Path(__file__).parent
EVALUATION_SEED = 1_000_003
KEY = ("suite", "arm", "task", "seed", "steps")
STUDENTS_T = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776, 6: 2.571, 8: 2.365, 10: 2.262}


@dataclass(frozen=True)
class Arm:
    """One way to train."""

    labels: int = 0  # none, and no preferences: the true reward
    algo: str = "ppo"
    preferences: dict = field(default_factory=dict)
    agent: dict = field(default_factory=dict)


@dataclass(frozen=True)
class Suite:
    """Arms that are compared, on the same tasks with the same seeds."""

    tasks: tuple[str, ...]
    steps: int
    arms: dict[str, Arm]
    env: str = "prefrl_envs:prefrl/{}-v0"  # the id of a task
    episodes: int = 10  # of the final evaluation
    kwargs: dict = field(default_factory=dict)  # arguments of the environment, by task


@dataclass(frozen=True)
class Benchmark:
    """Suites with a table, run directories and pictures of their own."""

    name: str
    suites: dict[str, Suite]

    @property
    def table(self):
        return HERE / f"{self.name}.csv"

    def picture(self, suite):
        return Path("docs/pictures") / f"{self.name}_{suite.replace('-', '_')}.png"

    def rows(self):
        if not self.table.is_file():
            return []
        with self.table.open(newline="") as file:
            return list(csv.DictReader(file))


@dataclass(frozen=True)
class Job:
    """One training, which is one row of the table."""

    benchmark: str
    about: Suite
    suite: str
    arm: str
    task: str
    seed: int
    steps: int

    @property
    def key(self):
        return tuple(str(getattr(self, name)) for name in KEY)

    @property
    def env_id(self):
        return self.about.env.format(self.task)

    @property
    def env(self):
        return EnvConfig(kwargs=self.about.kwargs.get(self.task, {}))

    @property
    def path(self):
        name = re.sub("[ /:]", "-", "-".join(self.key).replace(",", ""))
        return Path("runs/benchmark") / self.benchmark / name


def on_true_reward(job, arm):
    """The agent, its wall seconds, and what is known of a reward model: nothing."""
    settings = AgentConfig(**arm.agent)
    agent = Agent(job.env_id, arm.algo, settings, seed=job.seed, hide_reward=False, env=job.env)
    started = time.monotonic()
    agent.start(job.steps, [])
    while agent.iterate():
        pass
    agent.finish()
    seconds = time.monotonic() - started
    newest = [episode["r"] for episode in list(agent.model.ep_info_buffer)[-20:]]
    return agent, seconds, float(np.mean(newest)), {"labels": 0}


def on_comparisons(job, arm):
    """The same from comparisons; the run directory stays for whoever wants to look."""
    # Each finished run leaves a row: what lies here without one was killed.
    if job.path.is_dir():
        subprocess.run(["rm", "-r", job.path], check=True)
    told = dict(arm.preferences)
    if "net" in told:
        told["net"] = RewardNetConfig(**told["net"])
    config = TrainConfig(
        job.env_id,
        steps=job.steps,
        algo=arm.algo,
        sync=True,
        seed=job.seed,
        run=job.path,
        films=False,
        env=job.env,
        preferences=PreferenceConfig(**{"labels": arm.labels, **told}),
        agent=AgentConfig(**arm.agent),
    )
    summary = train(config).summary
    agent = Agent(job.env_id, arm.algo, config.agent, seed=job.seed, env=job.env)
    agent.restore(RunDirectory.open(job.path))
    return agent, summary["wall_seconds"], summary["train_return_mean"], summary


def run(job):
    """One training and its evaluation, as a row."""
    torch.set_num_threads(1)
    arm = job.about.arms[job.arm]
    way = on_comparisons if arm.labels or arm.preferences else on_true_reward
    agent, seconds, training_return, about = way(job, arm)
    seed, n = job.seed + EVALUATION_SEED, job.about.episodes
    after = evaluate(agent, job.env_id, episodes=n, seed=seed, env=job.env)
    drawn = evaluate(agent, job.env_id, episodes=n, seed=seed, env=job.env, deterministic=False)
    agent.close()
    return {
        **dict(zip(KEY, job.key, strict=True)),
        "labels": about["labels"],
        "return_mean": round(float(after.returns.mean()), 3),
        "return_std": round(float(after.returns.std()), 3),
        "stochastic_return_mean": round(float(drawn.returns.mean()), 3),
        "training_return": round(training_return, 3),
        "reward_correlation": about.get("reward_correlation", ""),
        "wall_seconds": round(seconds, 1),
        "commit": commit(),
    }


def commit():
    """Which one, and whether what is measured was changed since."""

    def git(*arguments):
        return subprocess.run(["git", *arguments], capture_output=True, text=True, check=False)

    told = git("describe", "--always").stdout.strip()
    changed = git("diff", "--quiet", "HEAD", "--", "prefrl", "envs").returncode
    return f"{told}-dirty" if changed else told


def interval(values):
    """Half of the 95 % interval of the mean, Student's t over seeds."""
    n = len(values)
    return STUDENTS_T[n] * np.std(values, ddof=1) / np.sqrt(n) if n in STUDENTS_T else np.nan


def print_table(name, suite, steps, rows):
    print(f"\n{name}, {steps:,} steps; final deterministic return, 95 % interval over seeds\n")
    print("| task | trained on | return | interval | per seed | of the true reward | wall time |")
    print("|---|---|--:|--:|---|--:|--:|")
    for task in suite.tasks:
        true = None
        for arm in suite.arms:
            chosen = [row for row in rows if row["task"] == task and row["arm"] == arm]
            if not chosen:
                continue
            values = np.array([float(row["return_mean"]) for row in chosen])
            is_true = not (suite.arms[arm].labels or suite.arms[arm].preferences)
            true = values.mean() if is_true else true
            share = "" if true is None or true <= 0 else f"{values.mean() / true:.0%}"
            each = ", ".join(f"{value:,.4g}" for value in values)
            seconds = np.mean([float(row["wall_seconds"]) for row in chosen])
            print(
                f"| {task} | {arm} | {values.mean():,.4g} | ± {interval(values):,.3g} | {each} "
                f"| {share} | {seconds:,.0f} s |"
            )


def draw(suite, rows, path):
    """Each seed as a dot, the mean as a bar, a panel for each task."""
    there = {row["task"] for row in rows}
    tasks = [task for task in suite.tasks if task in there]
    arms = list(suite.arms)
    colours = ["#24292f", "#0072B2", "#D55E00"]
    figure = Figure(figsize=(max(3.6, 2.2 * len(tasks)), 3.2), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    for axes, task in zip(figure.subplots(1, len(tasks), squeeze=False)[0], tasks, strict=True):
        for place, arm in enumerate(arms):
            chosen = [r for r in rows if r["task"] == task and r["arm"] == arm]
            values = [float(row["return_mean"]) for row in chosen]
            if not values:
                continue
            colour = colours[place % len(colours)]
            axes.bar(place, np.mean(values), 0.7, color=colour, alpha=0.35, label=arm)
            axes.plot([place] * len(values), values, "o", ms=4, color=colour)
        axes.set(title=task, xticks=[])
        axes.grid(axis="y", alpha=0.3)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(arms), frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)


def main(benchmark, about):
    """Does what is missing in the table, and prints and draws what is there."""
    suites = benchmark.suites
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--suite", choices=suites, nargs="+", default=[next(iter(suites))])
    parser.add_argument("--tasks", nargs="+", help="some of the suite's tasks")
    parser.add_argument("--arms", nargs="+", help="some of the suite's arms")
    parser.add_argument("--steps", type=int, help="environment steps of each run")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--jobs", type=int, default=2, help="trainings side by side, one per core")
    options = parser.parse_args()
    jobs = [
        Job(
            benchmark.name, suites[name], name, arm, task, seed, options.steps or suites[name].steps
        )
        for seed in options.seeds
        for name in options.suite
        for task in options.tasks or suites[name].tasks
        for arm in options.arms or suites[name].arms
    ]
    done = {tuple(row[name] for name in KEY) for row in benchmark.rows()}
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(options.jobs, mp_context=context, max_tasks_per_child=1) as pool:
        waiting = [pool.submit(run, job) for job in jobs if job.key not in done]
        for number, job in enumerate(as_completed(waiting), 1):
            row = job.result()
            append_row(benchmark.table, row)  # at once: what is here need not be done again
            told = ", ".join(row[name] for name in KEY)
            print(f"{number} of {len(waiting)}: {told}: {row['return_mean']}", flush=True)
    for name in options.suite:
        steps = options.steps or suites[name].steps
        rows = [r for r in benchmark.rows() if r["suite"] == name and int(r["steps"]) == steps]
        print_table(name, suites[name], steps, rows)
        draw(suites[name], rows, benchmark.picture(name))
