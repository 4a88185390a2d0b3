"""Slow environments in one process and in several; see the command file beside this."""

import argparse
import os
import time
from pathlib import Path

import numpy as np
from csv_rows import append_row

from prefrl.control.environments.making import make_environments
from prefrl.control.environments.source import EnvConfig

TABLE = Path(__file__).parents[1] / "tables" / "processes.csv"
N_ENVS = 8


def steps_per_second(name, n_processes, seconds):
    """Of all environments together, once they are made."""
    venv = make_environments(
        f"slow_simulators:slow/{name}-v0",
        n_envs=N_ENVS,
        seed=0,
        env=EnvConfig(processes=n_processes),
    )
    actions = np.zeros((N_ENVS, 2), np.float32)
    venv.reset()
    n_steps, started = 0, time.monotonic()
    while time.monotonic() - started < seconds:
        venv.step(actions)
        n_steps += N_ENVS
    taken = time.monotonic() - started
    venv.close()
    return n_steps / taken


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=10.0)
    options = parser.parse_args()
    print("| a step | in the agent's process | 2 processes | 8 processes |")
    print("|---|--:|--:|--:|")
    for name in ("Sleeping", "Computing"):
        found = {n: steps_per_second(name, n, options.seconds) for n in (0, 2, N_ENVS)}
        for n, per_second in found.items():
            row = {"environment": name, "processes": n, "n_envs": N_ENVS, "cores": os.cpu_count()}
            append_row(TABLE, row | {"steps_per_second": round(per_second, 1)})
        told = " | ".join(f"{value:,.0f}" for value in found.values())
        print(f"| {name} | {told} |")


if __name__ == "__main__":
    main()
