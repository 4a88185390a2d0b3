"""Small agents and what identifies them; run as a program, it goes on from checkpoints.

``python -m control.agent_runs FOLDER`` takes up every FOLDER/CASE and prints its digest at the end.
"""

import hashlib
import json
import sys
from pathlib import Path

import numpy as np
import torch
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.running_mean_std import RunningMeanStd

from prefrl.control.agent.agent import Agent, AgentConfig
from prefrl.runtime.rundir.checkpoint import load_checkpoint

DOT = "prefrl_envs:prefrl/MovingDot-v0"
SMALL = {"n_envs": 3, "batch_size": 24, "n_epochs": 2, "hidden": (16,)}
NOT_OF_A2C = ("batch_size", "n_epochs")
CASES = {
    f"{env_id.split('/')[-1]} {algo}": (env_id, algo, {"n_steps": n_steps}, True)
    for env_id in ("HalfCheetah-v5", "Pendulum-v1", DOT)
    for algo, n_steps in (("ppo", 32), ("a2c", 7))
}
CASES |= {
    f"{env_id.split('/')[-1]} {algo}": (env_id, algo, {"n_steps": n_steps, "hidden": ()}, True)
    for env_id, algo, n_steps in (
        ("prefrl_envs:prefrl/MovingDotPixels-v0", "ppo", 32),
        ("prefrl_envs:prefrl/Breakout-v0", "a2c", 7),
    )
}
CASES |= {
    "true reward": (DOT, "ppo", {"n_steps": 32}, False),
    "raw": ("Pendulum-v1", "a2c", {"n_steps": 7, "normalize_observations": False}, True),
}
N_ITERATIONS = 16  # of 7 steps (A2C) or 32 (PPO): episodes of 50 and 200 steps end, and are cut


def agent(case):
    env_id, algo, options, hide = CASES[case]
    told = {**SMALL, **options}
    if algo == "a2c":
        told = {name: value for name, value in told.items() if name not in NOT_OF_A2C}
    made = Agent(env_id, algo, AgentConfig(**told), seed=3, hide_reward=hide)
    # SB3 knows schedules; they depend on how far the whole training is.
    made.model.lr_schedule = lambda progress: 1e-3 * progress
    return made


def total_steps(case):
    return CASES[case][2]["n_steps"] * SMALL["n_envs"] * N_ITERATIONS


class Seen(BaseCallback):
    """Sums up all observations, rewards and random actions of the rollouts it sees."""

    def __init__(self):
        super().__init__()
        self.digests = []

    def _on_step(self):
        return True

    def _on_rollout_end(self):
        buffer = self.model.rollout_buffer
        content = (buffer.observations, buffer.actions, buffer.advantages, buffer.episode_starts)
        self.digests.append(hashlib.sha256(b"".join(a.tobytes() for a in content)).hexdigest())


def digest(made):
    """Of each part of an agent on its own, so that a failure says where it went astray."""
    model, normalizer = made.model, made.normalizer
    state = made.state_dict()
    for info in state["ep_info"]:
        info.pop("t")  # the time of day
    parts = {name: state[name] for name in state if name != "environments"}
    parts["optimizer"] = model.policy.optimizer.state_dict()
    parts["statistics"] = [
        [rms.mean, rms.var, rms.count]
        for rms in (getattr(normalizer, "obs_rms", None), normalizer.ret_rms)
        if isinstance(rms, RunningMeanStd)
    ]
    parts["original"] = [model._last_original_obs, normalizer.old_obs, normalizer.returns]
    parts["environments"] = [[e["actions"], e.get("last")] for e in state["environments"]]
    return {name: hashlib.sha256(_bytes(part)).hexdigest()[:16] for name, part in parts.items()}


def _bytes(value):
    if isinstance(value, torch.Tensor):
        value = value.detach().numpy()
    if isinstance(value, np.ndarray):
        return f"{value.dtype}{value.shape}".encode() + value.tobytes()
    if isinstance(value, dict):
        return b"{" + b"".join(_bytes(k) + _bytes(v) for k, v in value.items()) + b"}"
    if isinstance(value, list | tuple):
        return b"[" + b"".join(map(_bytes, value)) + b"]"
    return repr(value.item() if isinstance(value, np.generic) else value).encode()


def go_on(folder, case):
    """What the rest of the training sees, and the digest at its end."""
    made, seen = agent(case), Seen()
    notes = made.load_state_dict(load_checkpoint(Path(folder)).state)
    made.start(total_steps(case), [seen])
    while made.iterate():
        pass
    made.finish()
    return {"notes": notes, "seen": seen.digests, "digest": digest(made)}


if __name__ == "__main__":
    torch.set_num_threads(1)
    folders = sorted(Path(sys.argv[1]).iterdir())
    sys.stdout.write(json.dumps({f.name: go_on(f, f.name) for f in folders}))
