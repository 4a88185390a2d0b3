"""Curves: what TensorBoard reads, and a tracker that follows it."""

import importlib.util
import os
import subprocess
import sys

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from prefrl import RunDirectory
from prefrl.cli import main
from prefrl.control.tracking import start_tracking

DOT = "prefrl_envs:prefrl/MovingDot-v0"
SHORT = ["--labels", "12", "--steps", "1600", "--segment-length", "10", "--warmup-segments", "10",
         "--agent.n-envs", "4", "--agent.n-steps", "100", "--agent.batch-size", "100",
         "--agent.n-epochs", "1", "--eval-episodes", "2", "--no-films", "--sync",
         "--evaluate-every", "800"]  # fmt: skip


def test_tensorboard_reads_the_figures_of_a_run(tmp_path):
    main(["train", DOT, *SHORT, "--run", str(tmp_path / "run")])
    events = EventAccumulator(str(tmp_path / "run" / "tensorboard"))
    events.Reload()
    named = {"prefrl/labels", "prefrl/reward_correlation", "prefrl/holdout_accuracy",
             "prefrl/disagreement", "prefrl/reward_age", "eval/mean_reward"}  # fmt: skip
    assert named <= set(events.Tags()["scalars"])
    assert events.Scalars("prefrl/labels")[-1].value == 12
    assert events.Scalars("eval/mean_reward")[0].step >= 800


def test_a_tracker_that_is_not_installed_is_refused_before_work_starts(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.setitem(sys.modules, "wandb", None)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SystemExit) as ended:
        main(["train", DOT, *SHORT, "--track", "wandb", "--run", str(tmp_path / "run")])
    assert ended.value.code == 2
    assert "pip install 'prefrl[wandb]'" in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "run").exists()


def test_nothing_is_tracked_by_default(tmp_path):
    run = RunDirectory.create(tmp_path / "run")
    start_tracking("none", run, {})()
    assert not (run.root / "wandb.json").exists()


@pytest.mark.timeout(180)
@pytest.mark.skipif(importlib.util.find_spec("wandb") is None, reason="wandb is not installed")
def test_weights_and_biases_follows_a_run(tmp_path):
    """In a process of its own: it changes TensorBoard's writers for good."""
    command = [sys.executable, "-m", "prefrl", "train", DOT, *SHORT, "--track", "wandb"]
    offline = {**os.environ, "WANDB_MODE": "offline", "WANDB_SILENT": "true"}
    subprocess.run([*command, "--run", str(tmp_path / "run")], env=offline, check=True)
    (log,) = (tmp_path / "run" / "wandb").glob("offline-run-*/*.wandb")
    assert b"prefrl/labels" in log.read_bytes()
