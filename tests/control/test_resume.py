"""With --sync, a run that was killed and resumed is bit for bit the one that was not."""

import csv
import hashlib
import os
import signal
import subprocess
import sys
import time

import pytest
import torch
from stable_baselines3.common.save_util import load_from_zip_file

from prefrl import RunDirectory, resume
from prefrl.cli import main
from prefrl.core.store import LabelStore

DOT = "prefrl_envs:prefrl/MovingDot-v0"
CONTINUOUS = "prefrl_envs:prefrl/MovingDotContinuous-v0"
_OFF_POLICY = ["--steps", "4000", "--agent.batch-size", "32", "--agent.learning-starts", "600"]
_OFF_POLICY += ["--agent.train-freq", "8", "--agent.gradient-steps", "4"]
_OFF_POLICY += ["--agent.buffer-size", "2400"]  # it wraps round
_PPO = ["--agent.n-steps", "100", "--steps", "4000", "--agent.batch-size", "100"]
_PPO += ["--agent.n-epochs", "2"]
OPTIONS = {  # a segment has 10
    "ppo": _PPO,
    "a2c": ["--agent.n-steps", "9", "--steps", "2500"],
    "recurrent-ppo": [*_PPO, "--agent.lstm-hidden-size", "8"],
    "sac": _OFF_POLICY,
    "td3": [*_OFF_POLICY, "--agent.action-noise", "ornstein-uhlenbeck"],
    "dqn": _OFF_POLICY,
}
ON_BOX = {"sac", "td3"}


def command(run, algo, *more, env_id=None):
    options = ["--algo", algo, "--labels", "40", "--segment-length", "10", "--warmup-segments"]
    options += ["20", "--agent.n-envs", "4", *OPTIONS[algo]]
    options += ["--agent.hidden", "16", "--eval-episodes", "2"]
    options += ["--teacher.eps-mistake", "0.2", "--teacher.beta", "1"]
    env_id = env_id or (CONTINUOUS if algo in ON_BOX else DOT)
    return ["train", env_id, *options, "--sync", "--no-films", "--run", str(run.root), *more]


def table(path, *timing):
    with path.open(newline="") as file:
        return [
            {name: value for name, value in row.items() if name not in timing}
            for row in csv.DictReader(file)
        ]


def tensors_of(value):
    """All tensors in there, in an order of their own."""
    if isinstance(value, torch.Tensor):
        return [value.detach()]
    if isinstance(value, dict):
        value = [value[key] for key in sorted(value, key=str)]
    return [t for part in value for t in tensors_of(part)] if isinstance(value, list) else []


def digest(run):
    """Hash of nets and optimisers, and all that the run has logged, but for the time it took."""
    _, parameters, variables = load_from_zip_file(run.policy, device="cpu")
    sha = hashlib.sha256()
    for tensor in tensors_of([parameters, variables]):
        sha.update(tensor.numpy().tobytes())
    with LabelStore(run.labels) as store:
        answers = [(event.id, event.query_id, event.answer) for event in store.events()]
    metrics = table(run.metrics, "wall_seconds")
    # What was killed has left answers that come later: the newest that a fit could see is another.
    fits = table(run.fits, "seconds", "began_after", "last_event")
    return sha.hexdigest(), metrics, fits, answers


CANDIDATES = ["--history-share", "0.5", "--early-share", "0.5", "--pool-size", "40"]
CANDIDATES += ["--selection", "k_center_disagreement", "--standardize-features", "--horizon", "37"]
CANDIDATES += ["--calibrate-on", "both"]
PARTS = ["--off-policy.explore-steps", "1500", "--off-policy.updates-after-fit", "10"]
PARTS += ["--off-policy.reset-critic", "--off-policy.newest-share", "0.5"]
PARTS += ["--agent.use-sde", "True"]
ENDINGS = ["--env.processes", "2", "--net.inputs", "transition", "--over-share", "0.3"]


@pytest.mark.parametrize(
    ("algo", "more", "env_id"),
    [
        *((algo, [], None) for algo in OPTIONS),
        ("ppo", CANDIDATES, None),
        ("sac", PARTS, None),
        ("ppo", ENDINGS, "CartPole-v1"),
    ],
    ids=[*OPTIONS, "candidates and horizon", "parts of PEBBLE and QPA", "endings in processes"],
)
@pytest.mark.timeout(180)
def test_killed_and_resumed_equals_not_killed(tmp_path, algo, more, env_id):
    whole, killed = RunDirectory(tmp_path / "whole"), RunDirectory(tmp_path / "killed")
    main(command(whole, algo, *more, env_id=env_id))

    again = command(killed, algo, *more, "--checkpoint-seconds", "0.5", env_id=env_id)
    process = subprocess.Popen(
        [sys.executable, "-m", "prefrl", *again], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    until = time.monotonic() + 60
    while not (
        killed.metrics.is_file() and killed.fits.is_file() and list(killed.checkpoints.glob("0*"))
    ):
        assert time.monotonic() < until
        assert process.poll() is None, process.stderr.read().decode()
        time.sleep(0.01)
    time.sleep(0.3)  # somewhere after a checkpoint, in the middle of a rollout
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    process.stderr.close()
    n_before = len(table(killed.metrics))
    assert not killed.summary.exists()

    assert resume(killed).finished
    expected, got = digest(whole), digest(killed)
    assert 0 < n_before < len(got[1])
    assert got[1] == expected[1]  # metrics first: they say where it went apart
    assert got[2] == expected[2]
    assert got[3] == expected[3]
    assert got[0] == expected[0]
