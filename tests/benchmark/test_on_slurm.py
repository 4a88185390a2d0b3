"""Jobs of submitit, in processes of this machine: there is no Slurm to test on."""

import time

import pytest
from benchmark.suites import small_suite

from prefrl.benchmark.on_slurm import SlurmExecutor
from prefrl.benchmark.runner import run_all
from prefrl.benchmark.store import BenchmarkFolder
from prefrl.errors import ConfigError
from prefrl.runtime.roles.role import StopSignal


def begun(path, **changes):
    folder, suite = BenchmarkFolder(path), small_suite(**changes)
    folder.begin(suite)
    return folder, suite.runs()[:1]


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_job_is_done(tmp_path):
    folder, runs = begun(tmp_path)
    executor = SlurmExecutor(tmp_path, cluster="local")
    progress = run_all(folder, executor, runs, stop=StopSignal(), show=lambda progress: None)
    assert (progress.done, progress.failed) == (1, {})


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # submitit's own
def test_a_job_that_is_stopped_saves(tmp_path):
    folder, runs = begun(tmp_path, options={**small_suite().options, "steps": 1_000_000})
    executor, stop = SlurmExecutor(tmp_path, cluster="local"), StopSignal()

    def show(progress):
        if progress.going[0].steps > 1_000:
            stop.requested_at = time.monotonic()

    run_all(folder, executor, runs, stop=stop, show=show)
    checkpoints = folder.folder(runs[0]) / "run" / "checkpoints"
    until = time.monotonic() + 60
    while not any(checkpoints.iterdir()) and time.monotonic() < until:
        time.sleep(0.2)
    assert any(checkpoints.iterdir())


def test_without_slurm_it_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="expected Slurm to take these jobs"):
        SlurmExecutor(tmp_path)
