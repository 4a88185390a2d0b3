"""fit_reward: seconds for 1,000 pairs of 50 steps on one core, and its accuracy beside a run's."""

import argparse
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch
from csv_rows import append_row

import prefrl

_TABLE = Path(__file__).parents[1] / "tables" / "fit_reward.csv"
_PAIRS, _STEPS = 1_000, 50
_SIZES = 17, 6  # of HalfCheetah-v5's observations and actions


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", help="a finished run")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    options = parser.parse_args()
    torch.set_num_threads(1)
    own = prefrl.load_reward(options.run).about
    exported = Path(options.run) / "export" / "preference.jsonl"
    subprocess.run([sys.executable, "-m", "prefrl", "export", options.run], check=True)
    for seed in options.seeds:
        made = prefrl.fit_reward(_drawn(seed), "HalfCheetah-v5", seed=seed).about
        again = prefrl.fit_reward(exported, own["env_id"], seed=seed).about
        row = {
            "seed": seed,
            "pairs": made["labels"],
            "seconds": made["seconds"],
            "run_labels": own["labels"],
            "run_accuracy": round(own["holdout_accuracy"], 4),
            "exported_labels": again["labels"],
            "exported_accuracy": round(again["holdout_accuracy"], 4),
        }
        append_row(_TABLE, row)
        print(row, flush=True)


def _drawn(seed):
    """Pairs whose better side has the larger sum of one number of the observations."""
    rng = np.random.default_rng(seed)
    clips = [
        {
            "observations": rng.normal(size=(_STEPS, _SIZES[0])),
            "actions": rng.uniform(-1, 1, (_STEPS, _SIZES[1])),
        }
        for _ in range(2 * _PAIRS)
    ]
    forward = [clip["observations"][:, 8].sum() for clip in clips]
    return [
        (clips[i], clips[i + 1], float(forward[i] > forward[i + 1]))
        for i in range(0, 2 * _PAIRS, 2)
    ]


if __name__ == "__main__":
    main()
