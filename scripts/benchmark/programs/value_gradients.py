"""The gradients of policy and value loss, by the reward's scale; see the command file here."""

import argparse
from pathlib import Path

import numpy as np
import torch
from csv_rows import append_row
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import configure

from prefrl.control.agent.agent import Agent, AgentConfig
from prefrl.control.agent.callback import PreferenceCallback
from prefrl.control.preferences import PreferenceConfig

TABLE = Path(__file__).parents[1] / "tables" / "value_gradients.csv"
ARMS = ("true reward", "per step", "per return")
_SAMPLE = 1024


class Gradients(BaseCallback):
    """At each rollout's end the norm of both gradients, of a minibatch of its own."""

    def __init__(self):
        super().__init__()
        self.rows = []

    def _on_step(self):
        return True

    def _on_rollout_end(self):
        before = np.random.get_state()  # drawing a batch must not change the training
        data = next(self.model.rollout_buffer.get(_SAMPLE))
        np.random.set_state(before)
        values, log_prob, _ = self.model.policy.evaluate_actions(data.observations, data.actions)
        advantages = data.advantages
        advantages = (advantages - advantages.mean()) / (advantages.std() + 1e-8)
        of_policy = -(advantages * torch.exp(log_prob - data.old_log_prob)).mean()
        of_values = self.model.vf_coef * ((data.returns - values.flatten()) ** 2).mean()
        returns = float(self.model.rollout_buffer.returns.std())
        self.rows.append(
            (self.num_timesteps, self._norm(of_policy), self._norm(of_values), returns)
        )

    def _norm(self, loss):
        parameters = [p for p in self.model.policy.parameters() if p.requires_grad]
        found = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
        return float(torch.sqrt(sum((g**2).sum() for g in found if g is not None)))


def measure(arm, task, seed, steps):
    """Rows of one training, all but those of rollouts before the first fit."""
    torch.set_num_threads(1)
    agent = Agent(
        f"prefrl_envs:prefrl/{task}-v0",
        "ppo",
        AgentConfig(),
        seed=seed,
        hide_reward=arm != "true reward",
    )
    agent.model.set_logger(configure(None, []))
    gradients = Gradients()
    callbacks = [gradients]
    if arm != "true reward":
        scale = {"per step": "step", "per return": "return"}[arm]
        callbacks.insert(
            0, PreferenceCallback(PreferenceConfig(labels=100, scale=scale), seed=seed)
        )
    agent.start(steps, callbacks)
    while agent.iterate():
        pass
    agent.close()
    return [row for row in gradients.rows if row[1] > 0]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", nargs="+", default=["Hopper", "HalfCheetah"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=80_000)
    options = parser.parse_args()
    print("| task | reward | policy's gradient | value's | ratio | deviation of returns |")
    print("|---|---|--:|--:|--:|--:|")
    for task in options.tasks:
        for arm in ARMS:
            found = []
            for seed in options.seeds:
                for steps, of_policy, of_values, returns in measure(arm, task, seed, options.steps):
                    found.append((of_policy, of_values, of_values / of_policy, returns))
                    names = ("policy", "value", "ratio", "returns_std")
                    row = {"task": task, "arm": arm, "seed": seed, "env_steps": steps}
                    append_row(TABLE, row | dict(zip(names, map(float, found[-1]), strict=True)))
            middle = np.median(found, axis=0)
            print(f"| {task} | {arm} | " + " | ".join(f"{value:.2g}" for value in middle) + " |")


if __name__ == "__main__":
    main()
