"""SAC from comparisons against SAC on the true reward; see the command file beside this."""

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from csv_rows import append_row
from stable_baselines3.common.logger import configure

from prefrl.control.agent.agent import Agent, AgentConfig
from prefrl.control.agent.callback import PreferenceCallback
from prefrl.control.preferences import PreferenceConfig

TABLE = Path(__file__).parents[1] / "tables" / "relabelling_cost.csv"
_WARM_UP = 3000


class Timed:
    """A SAC that goes on for some steps when it is told to."""

    def __init__(self, task, hide_reward, steps):
        # One update a step, from the first fit on: no label is due later, so no fit is timed.
        settings = AgentConfig(learning_starts=500, buffer_size=200_000)
        env_id = f"prefrl_envs:prefrl/{task}-v0"
        self.agent = Agent(env_id, "sac", settings, seed=0, hide_reward=hide_reward)
        self.agent.model.set_logger(configure(None, []))
        config = PreferenceConfig(labels=100, initial_fraction=1.0)
        self.agent.start(steps, [PreferenceCallback(config, seed=0)] if hide_reward else [])

    def go_on(self, n_steps):
        """Seconds that some steps take, of this process, and gradient steps among them."""
        model = self.agent.model
        until, updates, started = (
            model.num_timesteps + n_steps,
            model._n_updates,
            time.process_time(),
        )
        while model.num_timesteps < until and self.agent.iterate():
            pass
        return time.process_time() - started, model._n_updates - updates


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--task", default="Hopper")
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--steps", type=int, default=2000, help="of each turn")
    options = parser.parse_args()
    torch.set_num_threads(1)
    total = _WARM_UP + (options.pairs + 1) * options.steps
    ways = {
        name: Timed(options.task, name == "comparisons", total) for name in ("plain", "comparisons")
    }
    for way in ways.values():
        way.go_on(_WARM_UP)
    ratios = []
    for pair in range(options.pairs):
        order = list(ways)[:: 1 if pair % 2 else -1]
        took = {name: ways[name].go_on(options.steps) for name in order}
        each = {name: seconds / updates for name, (seconds, updates) in took.items()}
        ratios.append(each["comparisons"] / each["plain"])
        row = {"task": options.task, "pair": pair, "steps": options.steps}
        row |= {f"{name}_ms": round(1000 * each[name], 4) for name in ways}
        append_row(TABLE, row)
        print(
            f"pair {pair}: {1000 * each['plain']:.2f} ms a step on the true reward, "
            f"{1000 * each['comparisons']:.2f} ms from comparisons",
            flush=True,
        )
    print(f"ratio: median {np.median(ratios):.3f}, from {min(ratios):.3f} to {max(ratios):.3f}")


if __name__ == "__main__":
    main()
