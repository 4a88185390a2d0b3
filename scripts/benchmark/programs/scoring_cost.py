"""Plain PPO against PPO whose rewards are scored by an ensemble, in pairs; see the command file."""

import argparse
import csv
import time
from pathlib import Path

import numpy as np
import torch

from prefrl.control.agent.agent import Agent, AgentConfig
from prefrl.control.agent.callback import PreferenceCallback
from prefrl.control.preferences import PreferenceConfig
from prefrl.core.trainer import FitConfig

OUT = Path(__file__).parents[1] / "tables" / "scoring_cost.csv"


def seconds(steps, seed, *, learned):
    agent = Agent("HalfCheetah-v5", "ppo", AgentConfig(), seed=seed, hide_reward=learned)
    # Two labels and fits of one step, so that what is left is recording, scoring and relabelling.
    config = PreferenceConfig(labels=2, fit=FitConfig(max_steps=1))
    callback = PreferenceCallback(config) if learned else None
    started = time.perf_counter()
    agent.model.learn(steps, callback=callback)
    passed = time.perf_counter() - started
    agent.close()
    return passed


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=16_384)
    parser.add_argument("--pairs", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    seconds(8192, 0, learned=True)  # warm up
    rows = []
    for pair in range(options.pairs):
        plain = seconds(options.steps, pair, learned=False)
        learned = seconds(options.steps, pair, learned=True)
        rows.append([pair, plain, learned, learned / plain])
        print(f"pair {pair}: plain {plain:.1f} s, scored {learned:.1f} s, {learned / plain:.3f}")
    with OUT.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["pair", "plain_seconds", "scored_seconds", "ratio"])
        writer.writerows(rows)
    ratios = [row[3] for row in rows]
    print(f"ratio: median {np.median(ratios):.3f}, {min(ratios):.3f} to {max(ratios):.3f}")


if __name__ == "__main__":
    main()
