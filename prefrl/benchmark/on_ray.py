"""Trainings as Ray tasks: on an existing cluster, or on a new one on this machine.

A task runs the training in a child process of Ray's worker. A node that sees the benchmark's
folder, for example on shared storage, works there; if it dies, another one continues from the
checkpoint. A node that does not see it works in a temporary folder, whose results are sent back.
"""

from __future__ import annotations

import contextlib
import io
import os
import secrets
import shutil
import socket
import tempfile
import zipfile
from pathlib import Path
from typing import Any

from prefrl.benchmark.executors import LOG, SECONDS_TO_STOP, Task, end_process, start_process
from prefrl.errors import ConfigError, MissingExtraError

__all__ = ["RayExecutor"]

_OLDEST = (2, 54)  # older versions let anyone on the network run code
_BYTES_OF_STORE = 256 * 2**20  # tables and logs pass through it, nothing else
_NOT_BROUGHT_BACK = ("checkpoints", "replay")
_RETRIES = 3  # after a node has died
_SECONDS_TO_ANSWER = 10.0
_MARK = ".ray-mark"


class RayExecutor:
    """Runs trainings as Ray tasks.

    Args:
        address: ``local`` starts a cluster on this machine, with a token of its own, and ends it;
            ``auto`` uses the cluster that this machine belongs to; ``ray://HOST:PORT`` is a remote
            one.
        folder: Folder of the benchmark.
        n_slots: Trainings at once; by default as many as the cluster's current cores allow.
        cores: Cores of each training.
        gpus: GPUs of each training; may be a fraction.

    Raises:
        MissingExtraError: If Ray is not installed.
        ConfigError: If it is too old, or the cluster cannot be reached.
    """

    def __init__(
        self,
        address: str,
        folder: Path,
        *,
        n_slots: int | None = None,
        cores: int = 1,
        gpus: float = 0.0,
    ) -> None:
        os.environ["RAY_AUTH_MODE"] = "token"  # Ray reads it when it is imported
        if address == "local":  # it listens on all interfaces: only the token protects it
            os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
        self._ray = ray = _ray()
        _check_there(address)
        options: dict[str, Any] = {"address": address, "log_to_driver": False}
        if address == "local":
            options |= {
                "include_dashboard": False,
                "num_cpus": n_slots or len(os.sched_getaffinity(0)),
                "object_store_memory": _BYTES_OF_STORE,
            }
        try:
            ray.init(**options)
        except Exception as error:  # Ray raises many kinds
            raise ConfigError(
                f"expected a Ray cluster at {address}, but {type(error).__name__}: {error}; look "
                "at the address, and give its token in RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH."
            ) from error
        there = ray.cluster_resources()
        for what, wanted in (("CPU", cores), ("GPU", gpus)):
            if wanted > there.get(what, 0):
                ray.shutdown()
                raise ConfigError(
                    f"expected a cluster with {wanted} {what} for each training, got "
                    f"{there.get(what, 0):g}; ask for less with --cores and --gpus."
                )
        self._wanted, self._cores = n_slots, cores
        self._folder, self._mark = folder.absolute(), secrets.token_hex(8)
        (self._folder / _MARK).write_text(self._mark)
        self._task = ray.remote(
            num_cpus=cores, num_gpus=gpus, max_retries=_RETRIES, retry_exceptions=False
        )(_work)

    @property
    def n_slots(self) -> int:
        """How many trainings may run at once; grows when nodes join the cluster."""
        cores = self._ray.cluster_resources().get("CPU", 0)
        return self._wanted or max(1, int(cores) // self._cores)

    def start(self, folder: Path) -> Task:
        """Starts a task."""
        job = (folder / "job.json").read_bytes()
        place = str(folder.absolute())
        found = self._task.remote(place, str(self._folder / _MARK), self._mark, job)
        return _RayTask(self._ray, found, folder)

    def close(self) -> None:
        """Leaves the cluster; a ``local`` one ends."""
        (self._folder / _MARK).unlink(missing_ok=True)
        self._ray.shutdown()


class _RayTask:
    """A training as a Ray task."""

    def __init__(self, ray: Any, found: Any, folder: Path) -> None:
        self._ray, self._found, self._folder = ray, found, folder
        self._code: int | None = None

    def poll(self) -> int | None:
        """Returns its exit code; None while it runs or is queued."""
        if self._code is None:
            ready, _ = self._ray.wait([self._found], timeout=0)
            if ready:
                self._code = self._result()
        return self._code

    def stop(self) -> None:
        """Interrupts it, so that its process saves and ends."""
        with contextlib.suppress(Exception):  # the cluster may be gone
            self._ray.cancel(self._found)

    def wait(self) -> None:
        """Waits, and kills it after two minutes."""
        with contextlib.suppress(Exception):  # the cluster may be gone
            ready, _ = self._ray.wait([self._found], timeout=2 * SECONDS_TO_STOP)
            if not ready:
                self._ray.cancel(self._found, force=True)

    def _result(self) -> int:
        try:
            code, brought = self._ray.get(self._found)
        except Exception as error:  # nodes died repeatedly, or had no room
            with (self._folder / LOG).open("a") as log:
                log.write(f"{type(error).__name__}: {error}\n")
            return 1
        if brought is not None:
            with zipfile.ZipFile(io.BytesIO(brought)) as archive:
                archive.extractall(self._folder)
        return int(code)


def _work(folder: str, mark_path: str, mark: str, job: bytes) -> tuple[int, bytes | None]:
    """Runs a training on a node; returns the exit code, and the files unless storage is shared."""
    with contextlib.suppress(OSError):
        if Path(mark_path).read_text() == mark:
            return _run(Path(folder)), None
    place = Path(tempfile.mkdtemp(prefix="prefrl-"))
    try:
        (place / "job.json").write_bytes(job)
        return _run(place), _packed(place)
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _run(folder: Path) -> int:
    process = start_process(folder)
    try:
        return process.wait()
    except BaseException:  # Ray cancels a task by KeyboardInterrupt
        process.terminate()
        end_process(process)
        raise


def _packed(folder: Path) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(folder.rglob("*")):
            name = path.relative_to(folder)
            if path.is_file() and not set(name.parts) & set(_NOT_BROUGHT_BACK):
                archive.write(path, name)
    return content.getvalue()


def _check_there(address: str) -> None:
    """Refuses an address where nothing listens, which Ray would try for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not (host and port.isdigit()):
        return
    try:
        socket.create_connection((host, int(port)), _SECONDS_TO_ANSWER).close()
    except OSError as error:
        raise ConfigError(
            f"expected a Ray cluster at {address}, but {error}; look at the address, and whether "
            "the cluster is up."
        ) from error


def _ray() -> Any:
    try:
        import ray
    except ImportError as error:
        raise MissingExtraError(
            "expected Ray for --cluster, found none; pip install 'prefrl[cluster]'."
        ) from error
    version = tuple(int(part) for part in ray.__version__.split(".")[:2])
    if version < _OLDEST:
        raise ConfigError(
            f"expected Ray of at least {'.'.join(map(str, _OLDEST))}, which asks who comes in, got "
            f"{ray.__version__}; pip install --upgrade 'prefrl[cluster]'."
        )
    return ray
