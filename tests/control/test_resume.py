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
from prefrl.core.store import LabelStore

DOT = "prefrl_envs:prefrl/MovingDot-v0"
N_STEPS = {"ppo": 100, "a2c": 9}  # a segment has 10
TOTAL = {"ppo": 4000, "a2c": 2500}


def start(run, algo, *more):
    options = ["--algo", algo, "--labels", "40", "--segment-length", "10", "--warmup-segments"]
    options += ["20", "--agent.n-envs", "4", "--agent.n-steps", str(N_STEPS[algo]), "--steps"]
    options += [str(TOTAL[algo]), "--agent.hidden", "16", "--eval-episodes", "2"]
    options += ["--teacher.eps-mistake", "0.2", "--teacher.beta", "1"]
    if algo == "ppo":
        options += ["--agent.batch-size", "100", "--agent.n-epochs", "2"]
    command = [sys.executable, "-m", "prefrl", "train", DOT, *options, "--sync", "--no-films"]
    return subprocess.Popen(
        [*command, "--run", str(run.root), *more], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )


def table(path, *timing):
    with path.open(newline="") as file:
        return [
            {name: value for name, value in row.items() if name not in timing}
            for row in csv.DictReader(file)
        ]


def digest(run):
    """Hash of policy and optimiser, and all that the run has logged, but for the time it took."""
    _, parameters, _ = load_from_zip_file(run.policy, device="cpu")
    adam = parameters["policy.optimizer"]["state"]
    tensors = [parameters["policy"], *(adam[key] for key in sorted(adam))]
    sha = hashlib.sha256()
    for tensor in (t for group in tensors for t in group.values() if isinstance(t, torch.Tensor)):
        sha.update(tensor.numpy().tobytes())
    with LabelStore(run.labels) as store:
        answers = [(event.id, event.query_id, event.answer) for event in store.events()]
    metrics = table(run.metrics, "wall_seconds")
    return sha.hexdigest(), metrics, table(run.fits, "seconds", "began_after"), answers


CANDIDATES = ["--history-share", "0.5", "--early-share", "0.5", "--pool-size", "40"]
CANDIDATES += ["--selection", "k_center_disagreement", "--standardize-features", "--horizon", "37"]
CANDIDATES += ["--calibrate-on", "both"]


@pytest.mark.parametrize(
    ("algo", "more"),
    [("ppo", []), ("a2c", []), ("ppo", CANDIDATES)],
    ids=["ppo", "a2c", "candidates and horizon"],
)
@pytest.mark.timeout(180)
def test_killed_and_resumed_equals_not_killed(tmp_path, algo, more):
    whole, killed = RunDirectory(tmp_path / "whole"), RunDirectory(tmp_path / "killed")
    process = start(whole, algo, *more)
    assert process.wait() == 0, process.stderr.read().decode()
    process.stderr.close()

    process = start(killed, algo, *more, "--checkpoint-seconds", "0.5")
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
