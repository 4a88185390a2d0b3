"""README's first Python snippet as it stands, over seeds: what it learns in its 300,000 steps."""

import argparse
import re
import time
from pathlib import Path

import torch
from csv_rows import append_row
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.utils import set_random_seed
from stable_baselines3.common.vec_env import VecNormalize

_TABLES = Path(__file__).parents[1] / "tables"
_EPISODES = 10
_EVALUATION_SEED = 1_000_003


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    for seed in parser.parse_args().seeds:
        row = _run(seed)
        append_row(_TABLES / "snippet.csv", row)
        print(row, flush=True)


def _run(seed):
    torch.set_num_threads(1)
    set_random_seed(seed)  # the snippet itself leaves everything to chance
    text = (_TABLES.parents[2] / "README.md").read_text()
    script = next(s for s in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "PPO" in s)
    names, started = {}, time.monotonic()
    exec(script, names)  # noqa: S102 the page's own
    seconds = time.monotonic() - started
    venv = make_vec_env("HalfCheetah-v5", n_envs=_EPISODES, seed=_EVALUATION_SEED)
    evaluation = VecNormalize(venv, training=False, norm_reward=False)
    evaluation.obs_rms = names["venv"].obs_rms
    mean, std = evaluate_policy(names["model"], evaluation, n_eval_episodes=_EPISODES)
    row = names["callback"].rows[-1]
    return {
        "seed": seed,
        "env_steps": row["env_steps"],
        "labels": row["labels"],
        "return_mean": round(mean, 1),
        "return_std": round(std, 1),
        "reward_correlation": round(row["reward_correlation"], 3),
        "seconds": round(seconds),
    }


if __name__ == "__main__":
    main()
