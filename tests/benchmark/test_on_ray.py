"""Real clusters of Ray on this machine, whose tasks train for real."""

import contextlib
import io
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest
from benchmark.suites import small_suite

from prefrl.benchmark.on_ray import RayExecutor, _work
from prefrl.benchmark.runner import run_all
from prefrl.benchmark.store import BenchmarkFolder
from prefrl.benchmark.work import job_of, work
from prefrl.errors import ConfigError
from prefrl.runtime.roles.role import StopSignal

RAY = [sys.executable, "-m", "ray.scripts.scripts"]


def pids_of(word):
    """Processes of Ray that have a word in their command line."""
    found = []
    for place in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            line = place.read_bytes().decode()
            if word in line and "ray" in line and int(place.parent.name) != os.getpid():
                found.append(int(place.parent.name))
    return found


def alike(row):
    return {key: row[key] for key in row if key not in ("wall_seconds", "date", "version")}


def as_text(row):
    return {key: str(value) for key, value in row.items()}


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_cluster_of_its_own_does_all_and_leaves_nothing(tmp_path):
    content = small_suite().as_json()
    del content["name"]
    (tmp_path / "small.yaml").write_text(json.dumps(content))
    command = ["benchmark", str(tmp_path / "small.yaml"), "--folder", str(tmp_path / "out")]
    process = subprocess.Popen(
        [sys.executable, "-m", "prefrl", *command, "--cluster", "local"],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    port = None
    while process.poll() is None and port is None:
        port = _gcs_port(process.pid)
        time.sleep(0.2)
    stranger = subprocess.run(
        [*RAY, "status", "--address", f"127.0.0.1:{port}"],
        env={**os.environ, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)},
        capture_output=True, text=True, check=False, timeout=100,
    )  # fmt: skip
    said, _ = process.communicate()
    assert process.returncode == 0, said
    assert "2 of 2 done" in said
    assert stranger.returncode != 0
    assert "InvalidAuthToken" in stranger.stdout + stranger.stderr
    assert port is not None
    assert not pids_of(f"_{process.pid}/")
    folder = BenchmarkFolder(tmp_path / "out")
    other = small_suite().runs()[1]
    place = BenchmarkFolder(tmp_path / "here").prepare(other)
    expected = as_text(work(place, StopSignal()))
    (found,) = [row for row in folder.rows() if row["arm"] == other.arm]
    assert alike(found) == alike(expected)
    assert not (folder.root / ".ray-mark").exists()


def _gcs_port(pid):
    """Where the cluster that a process has started listens, once it does."""
    for path in Path("/tmp/ray").glob(f"session_*_{pid}/gcs_server_port*"):
        return path.read_text().strip() or None
    return None


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_node_that_dies_is_no_loss(tmp_path, monkeypatch):
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN", secrets.token_hex(32))
    port, temporary = 20_000 + os.getpid() % 10_000, f"/tmp/r{os.getpid()}"
    common = ["--num-cpus=1", "--object-store-memory=80000000", "--block"]
    head = [*RAY, "start", "--head", f"--port={port}", f"--temp-dir={temporary}"]
    head += ["--include-dashboard=false", "--ray-client-server-port", str(port + 1), *common]
    node = [*RAY, "start", f"--address=127.0.0.1:{port}", *common]
    with contextlib.ExitStack() as stack:
        nodes = []
        for command in (head, node):
            quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
            nodes.append(subprocess.Popen(command, start_new_session=True, **quiet))
            stack.callback(_kill_group, nodes[-1])
            if len(nodes) == 1:
                _wait_until(lambda: _listens(port))
        suite = small_suite(
            seeds=[0, 1], arms={"6 labels": {"labels": 6}}, tasks={"Pendulum-v1": {"steps": 40_000}}
        )
        folder = BenchmarkFolder(tmp_path)
        folder.begin(suite)
        executor = RayExecutor(f"127.0.0.1:{port}", tmp_path)
        stack.callback(executor.close)
        _wait_until(lambda: executor.n_slots == 2)
        killed = []

        def show(progress):
            if not killed and all(one.steps > 5_000 for one in progress.going):
                assert len(progress.going) == 2
                killed.append([one.steps for one in progress.going])
                _kill_group(nodes[1])

        progress = run_all(folder, executor, suite.runs(), stop=StopSignal(), show=show)
    assert killed
    assert (progress.done, progress.failed) == (2, {})
    logs = [(folder.folder(run) / "log.txt").read_text() for run in suite.runs()]
    assert sum("continuing from checkpoint" in log for log in logs) == 1
    place = BenchmarkFolder(tmp_path / "here").prepare(suite.runs()[1])
    expected = as_text(work(place, StopSignal()))
    (found,) = [row for row in folder.rows() if row["seed"] == "1"]
    assert alike(found) == alike(expected)


def _wait_until(true, seconds=120):
    until = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < until
        time.sleep(0.5)


def _listens(port):
    with contextlib.suppress(OSError):
        socket.create_connection(("127.0.0.1", port), 1).close()
        return True
    return False


def _kill_group(process):
    """Kills a node whole, as a power cut does."""
    for pid in _below(process.pid):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.wait()


def _below(pid):
    found = [pid]
    for place in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            for child in place.read_text().split():
                found += _below(int(child))
    return found


def test_a_node_that_does_not_see_the_folder_sends_what_came_of_it(tmp_path):
    (run, _) = small_suite(options={**small_suite().options, "steps": 128}).runs()
    job = json.dumps(job_of(run)).encode()
    code, brought = _work("/nowhere/1", "/nowhere/.ray-mark", "mark", job)
    assert code == 0
    with zipfile.ZipFile(io.BytesIO(brought)) as archive:
        names = archive.namelist()
        assert json.loads(archive.read("row.json"))["steps"] == 128
    assert "run/status/agent.json" in names
    assert not any("checkpoints/" in name for name in names)


@pytest.mark.parametrize("address", ["127.0.0.1:9", "ray://127.0.0.1:9"])
def test_a_cluster_that_is_not_there_is_refused(tmp_path, address):
    with pytest.raises(ConfigError, match=f"expected a Ray cluster at {address}, but .*refused"):
        RayExecutor(address, tmp_path)
