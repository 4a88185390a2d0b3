"""Trainings as Slurm jobs, by submitit; the folder must be on storage that all nodes see."""

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
    """Jobs of Slurm, which are requeued when they are preempted or out of time, and go on.

    Args:
        folder: That of the benchmark.
        n_slots: Jobs at once; by default as many as there are.
        cores: That each one takes.
        gpus: That each one takes.
        options: Options of sbatch, such as ``{"partition": "cpu", "time": 240}``, with the time in
            minutes.
        cluster: ``slurm``, or ``local`` for processes of this machine.

    Raises:
        MissingExtraError: If submitit is not installed.
        ConfigError: If there is no Slurm, or it takes no such options.
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
        """How many may be queued at once."""
        return self._wanted or _MOST_AT_ONCE

    def start(self, folder: Path) -> Task:
        """Queues a job."""
        return _Job(self._executor.submit(_Work(), str(folder.absolute())), folder)

    def close(self) -> None:
        """Has nothing to end."""


class _Job:
    """A job of Slurm."""

    def __init__(self, job: Any, folder: Path) -> None:
        self._job, self._folder = job, folder

    def poll(self) -> int | None:
        """Its exit code; None while it is queued or goes on."""
        if not self._job.done():
            return None
        try:
            return int(self._job.result())
        except Exception as error:  # whatever kept Slurm from doing it
            with (self._folder / LOG).open("a") as log:
                log.write(f"{type(error).__name__}: {error}\n")
            return 1

    def stop(self) -> None:
        """Cancels it; Slurm sends SIGTERM, and it saves."""
        with contextlib.suppress(Exception):  # it may just have ended
            self._job.cancel(check=False)

    def wait(self) -> None:
        """Leaves it to Slurm, which waits and then kills."""


class _Work:
    """What a job does; submitit calls ``checkpoint`` when it is preempted or out of time."""

    def __call__(self, folder: str) -> int:
        self._process = start_process(Path(folder))
        return self._process.wait()

    def checkpoint(self, folder: str) -> Any:
        """Saves, and queues the same again."""
        import submitit

        self._process.terminate()
        end_process(self._process)
        return submitit.helpers.DelayedSubmission(_Work(), folder)
