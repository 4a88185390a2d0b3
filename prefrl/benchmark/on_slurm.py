"""Trainings as Slurm jobs, through submitit; the folder must be on shared storage."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

from prefrl.benchmark.executors import LOG, Task, end_process, start_process
from prefrl.errors import ConfigError, MissingExtraError

__all__ = ["SlurmExecutor"]

_MOST_AT_ONCE = 1000
_MINUTES = 240


class SlurmExecutor:
    """Runs trainings as Slurm jobs, which are requeued and continued after preemption or timeout.

    Args:
        folder: Folder of the benchmark.
        n_slots: Jobs in the queue at once; 1,000 by default.
        cores: Cores of each job.
        gpus: GPUs of each job; a whole number.
        options: Options of sbatch, such as ``{"partition": "cpu", "time": 240}``, with the time in
            minutes.
        cluster: ``slurm``, or ``local`` for processes on this machine.

    Raises:
        MissingExtraError: If submitit is not installed.
        ConfigError: If there is no Slurm, or it does not accept the options.
    """

    def __init__(
        self,
        folder: Path,
        *,
        n_slots: int | None = None,
        cores: int = 1,
        gpus: float = 0,
        options: dict[str, Any] | None = None,
        cluster: str = "slurm",
    ) -> None:
        try:
            import submitit
        except ImportError as error:
            raise MissingExtraError(
                "expected submitit for --cluster slurm, found none; pip install 'prefrl[slurm]'."
            ) from error
        told = {**(options or {})}
        if gpus != int(gpus):
            raise ConfigError(f"expected whole GPUs with Slurm, got {gpus}.")
        try:
            minutes = int(told.pop("time", _MINUTES))
            self._executor = submitit.AutoExecutor(folder / "slurm", cluster=cluster)
            self._executor.update_parameters(
                name="prefrl",
                cpus_per_task=cores,
                gpus_per_node=int(gpus),
                timeout_min=minutes,
                **{f"slurm_{name}": value for name, value in told.items()},
            )
        except (RuntimeError, NameError, TypeError, ValueError) as error:
            raise ConfigError(f"expected Slurm to take these jobs, but {error}") from error
        self._wanted = n_slots

    @property
    def n_slots(self) -> int:
        """How many trainings may be queued at once."""
        return self._wanted or _MOST_AT_ONCE

    def start(self, folder: Path) -> Task:
        """Queues a job."""
        return _Job(self._executor.submit(_Work(), str(folder.absolute())), folder)

    def close(self) -> None:
        """Does nothing: there is nothing to release."""


class _Job:
    """A training as a Slurm job."""

    def __init__(self, job: Any, folder: Path) -> None:
        self._job, self._folder = job, folder

    def poll(self) -> int | None:
        """Returns its exit code; None while it is queued or runs."""
        if not self._job.done():
            return None
        try:
            return int(self._job.result())
        except Exception as error:  # submitit raises many kinds
            with (self._folder / LOG).open("a") as log:
                log.write(f"{type(error).__name__}: {error}\n")
            return 1

    def stop(self) -> None:
        """Cancels it: Slurm sends SIGTERM, on which it saves."""
        with contextlib.suppress(Exception):  # it may just have ended
            self._job.cancel(check=False)

    def wait(self) -> None:
        """Returns at once: Slurm itself waits and then kills the job."""


class _Work:
    """The work of a job; submitit calls ``checkpoint`` on preemption or timeout."""

    def __call__(self, folder: str) -> int:
        self._process = start_process(Path(folder))
        return self._process.wait()

    def checkpoint(self, folder: str) -> Any:
        """Saves, and returns the same work to be queued again."""
        import submitit

        self._process.terminate()
        end_process(self._process)
        return submitit.helpers.DelayedSubmission(_Work(), folder)
