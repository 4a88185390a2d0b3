"""Curves: what TensorBoard reads, and a tracker that follows it."""

import importlib.util
import json
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


@pytest.mark.parametrize("tracker", ["wandb", "mlflow"])
def test_a_tracker_that_is_not_installed_is_refused_before_work_starts(
    tmp_path, monkeypatch, capsys, tracker
):
    monkeypatch.setitem(sys.modules, tracker, None)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SystemExit) as ended:
        main(["train", DOT, *SHORT, "--track", tracker, "--run", str(tmp_path / "run")])
    assert ended.value.code == 2
    assert f"pip install 'prefrl[{tracker}]'" in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "run").exists()


def test_nothing_is_tracked_by_default(tmp_path):
    run = RunDirectory.create(tmp_path / "run")
    start_tracking("none", run, {})()
    assert not list(run.root.glob("wandb*")) + list(run.root.glob("mlflow*"))


@pytest.mark.timeout(180)
@pytest.mark.skipif(importlib.util.find_spec("wandb") is None, reason="wandb is not installed")
def test_weights_and_biases_follows_a_run(tmp_path):
    """In a process of its own: it changes TensorBoard's writers for good."""
    command = [sys.executable, "-m", "prefrl", "train", DOT, *SHORT, "--track", "wandb"]
    offline = {**os.environ, "WANDB_MODE": "offline", "WANDB_SILENT": "true"}
    subprocess.run([*command, "--run", str(tmp_path / "run")], env=offline, check=True)
    (log,) = (tmp_path / "run" / "wandb").glob("offline-run-*/*.wandb")
    assert b"prefrl/labels" in log.read_bytes()


READ = """
import json, sys
import mlflow
(told,) = mlflow.search_runs(experiment_names=["prefrl"], output_format="list")
history = mlflow.MlflowClient().get_metric_history(told.info.run_id, "prefrl/labels")
labels = [[metric.step, metric.value] for metric in history]
print(json.dumps([labels, told.data.params, told.info.status, sorted(told.data.metrics)]))
"""


@pytest.mark.timeout(240)
@pytest.mark.skipif(importlib.util.find_spec("mlflow") is None, reason="mlflow is not installed")
def test_mlflow_follows_a_run_over_a_stop(tmp_path):
    """In processes of their own: it changes TensorBoard's writers."""
    run = str(tmp_path / "run")
    database = f"sqlite:///{tmp_path / 'mlflow.db'}"
    here = {**os.environ, "MLFLOW_TRACKING_URI": database, "MLFLOW_DISABLE_TELEMETRY": "true"}

    def work(*arguments, code=0):
        command = [sys.executable, *arguments]
        done = subprocess.run(command, cwd=tmp_path, env=here, stdout=subprocess.PIPE, text=True)
        assert done.returncode == code
        return done.stdout

    stop = (
        "import os, sys; from prefrl import PreferenceCallback; from prefrl.cli import main\n"
        "log = PreferenceCallback._log\n"
        "def stop(self, row, used):\n"
        "    log(self, row, used)\n"
        "    if row['env_steps'] >= 1200: os._exit(9)\n"
        "PreferenceCallback._log = stop\n"
        "main(sys.argv[1:])"
    )
    options = [*SHORT, "--track", "mlflow", "--checkpoint-seconds", "0", "--run", run]
    work("-c", stop, "train", DOT, *options, code=9)
    work("-m", "prefrl", "resume", run)
    labels, params, status, metrics = json.loads(work("-c", READ).splitlines()[-1])
    assert labels[0][0] < 1200
    assert labels[-1] == [1600, 12.0]
    assert params["env_id"] == DOT
    assert params["preferences.labels"] == "12"
    assert status == "FINISHED"
    assert {"eval/mean_reward", "prefrl/reward_correlation"} <= set(metrics)
