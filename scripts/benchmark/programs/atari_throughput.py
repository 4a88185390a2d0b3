"""Steps per second in Atari, ours against Stable-Baselines3's; see the command file beside."""

import argparse
import csv
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import ale_py
import gymnasium as gym
import numpy as np
import torch
from csv_rows import append_row
from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_atari_env
from stable_baselines3.common.vec_env import VecFrameStack

from prefrl.control.environments.hide_reward import HideReward
from prefrl.control.environments.making import make_environments
from prefrl.control.environments.stacking import StackFrames
from prefrl.control.presets import preset
from prefrl.runtime.rundir import RunDirectory

TABLES = Path(__file__).parents[1] / "tables"
OURS, THEIRS = "prefrl_envs:prefrl/Pong-v0", "PongNoFrameskip-v4"
N_ENVS, N_WARM = 8, 100

gym.register_envs(ale_py)


def theirs(seed):
    venv = make_atari_env(THEIRS, n_envs=N_ENVS, seed=seed)
    return VecFrameStack(venv, 4)


def ours(seed):
    venv = HideReward(make_environments(OURS, n_envs=N_ENVS, seed=seed))
    venv.record(N_WARM, n_before=3)
    return StackFrames(venv, 4)


def steps_per_second(venv, n_steps):
    """Of random play, with the recording that segments are cut from."""
    rng, hidden = np.random.default_rng(0), getattr(venv, "venv", None)
    venv.reset()
    started = time.perf_counter()
    for t in range(-N_WARM, n_steps):
        if t == 0:
            started = time.perf_counter()
        venv.step(rng.integers(6, size=N_ENVS))
        if (t + 1) % N_WARM == 0 and isinstance(hidden, HideReward):
            hidden.take()
    return n_steps * N_ENVS / (time.perf_counter() - started)


def pairs(n_pairs, n_steps):
    ratios = []
    for pair in range(n_pairs):
        makes = {"theirs": theirs, "ours": ours}
        rates = {}
        for name in sorted(makes, reverse=bool(pair % 2)):
            venv = makes[name](pair)
            rates[name] = steps_per_second(venv, n_steps)
            venv.close()
        report("environments", pair, rates["ours"], rates["theirs"])
        ratios.append(rates["ours"] / rates["theirs"])
    summarize("environments", ratios)


def plain_rate(steps, seed):
    """Stable-Baselines3's PPO on its own environments, with the settings of our preset."""
    config = preset("atari", OURS).agent
    model = PPO(
        "CnnPolicy",
        theirs(seed),
        n_steps=config.n_steps,
        batch_size=config.batch_size,
        n_epochs=config.n_epochs,
        learning_rate=config.learning_rate,
        gamma=config.gamma,
        gae_lambda=config.gae_lambda,
        clip_range=config.clip_range,
        ent_coef=config.ent_coef,
        seed=seed,
    )
    model.learn(2 * config.n_steps * N_ENVS)
    started, before = time.perf_counter(), model.num_timesteps
    model.learn(steps, reset_num_timesteps=False)
    return (model.num_timesteps - before) / (time.perf_counter() - started)


def plain_process(steps, seed):
    """In a process of its own, as ours is: what torch has loaded here does not help it."""
    command = [sys.executable, __file__, "--plain", str(steps), "--seed", str(seed)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def learned_rate(folder, steps, seed):
    """Of `prefrl train`, from the first fit on: before it the agent waits."""
    run = RunDirectory(folder / f"train{seed}")
    shutil.rmtree(run.root, ignore_errors=True)
    command = [sys.executable, "-m", "prefrl", "train", OURS, "--steps", str(steps + 2048)]
    command += ["--seed", str(seed), "--no-films", "--run", str(run.root), "--eval-episodes", "1"]
    # Labels come in at the rate of the preset, over its 2 million steps: 500, and then 1.25 a
    # thousand steps.
    n_labels = 300 + round(1.25e-3 * steps)
    command += ["--labels", str(n_labels), "--initial-fraction", str(300 / n_labels)]
    command += ["--eval-max-steps", "10"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    with run.metrics.open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if int(row["reward_version"])]
    first, last = rows[1], rows[-1]
    passed = float(last["wall_seconds"]) - float(first["wall_seconds"])
    return (int(last["env_steps"]) - int(first["env_steps"])) / passed


def training(n_pairs, steps, folder):
    ratios = []
    for pair in range(n_pairs):
        ways = {
            "plain": lambda pair=pair: plain_process(steps, pair),
            "learned": lambda pair=pair: learned_rate(folder, steps, pair),
        }
        rates = {name: ways[name]() for name in sorted(ways, reverse=bool(pair % 2))}
        report("training", pair, rates["learned"], rates["plain"])
        ratios.append(rates["learned"] / rates["plain"])
    summarize("training", ratios)


def report(what, pair, rate, other):
    row = {"what": what, "pair": pair, "ours": f"{rate:.1f}", "theirs": f"{other:.1f}"}
    row |= {"ratio": f"{rate / other:.3f}", "load": f"{os.getloadavg()[0]:.2f}"}
    append_row(TABLES / "atari_throughput.csv", row)
    print(row, flush=True)


def summarize(what, ratios):
    if ratios:
        low, middle, high = min(ratios), float(np.median(ratios)), max(ratios)
        print(f"{what}: ours / theirs {middle:.2f} (median), {low:.2f} to {high:.2f}")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--steps", type=int, default=1500, help="of each environment, per pair")
    parser.add_argument("--train-pairs", type=int, default=3)
    parser.add_argument("--train-steps", type=int, default=40_960)
    parser.add_argument("--folder", type=Path, default=Path("runs/benchmark/atari"))
    parser.add_argument("--plain", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--seed", type=int, default=0, help=argparse.SUPPRESS)
    told = parser.parse_args()
    torch.set_num_threads(1)
    if told.plain:
        print(plain_rate(told.plain, told.seed))
        return
    pairs(told.pairs, told.steps)
    training(told.train_pairs, told.train_steps, told.folder)


if __name__ == "__main__":
    main()
