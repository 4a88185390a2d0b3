"""The policies of a run: the trained one, those kept by evaluations, and those of checkpoints."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from prefrl.control.agent.agent import Agent
from prefrl.errors import ConfigError, RunDirectoryError
from prefrl.runtime.rundir import RunDirectory
from prefrl.runtime.rundir.checkpoint import Checkpoint, whole_checkpoints
from prefrl.runtime.rundir.tables import read_rows
from prefrl.runtime.rundir.writing import sync_folder

__all__ = ["KeptPolicy", "check_nets_of_run", "choose_policy", "keep_policy"]


@dataclass(frozen=True)
class KeptPolicy:
    """A policy that can be loaded."""

    name: str
    """A description of it."""
    load: Callable[[Agent], None]
    """Loads its nets and observation statistics into an agent with the run's settings."""


def keep_policy(run: RunDirectory, agent: Agent, step: int) -> None:
    """Keeps the policy of a step in ``policies/STEP``, as Stable-Baselines3 saves it.

    Raises:
        OSError: If the disk is full or fails. Then nothing of it is left.
    """
    folder = _folder(run, step)
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    try:
        run.policies.mkdir(exist_ok=True)
        temporary.mkdir()
        agent.save(RunDirectory(temporary))
        shutil.rmtree(folder, ignore_errors=True)  # left by a process that was killed later on
        temporary.replace(folder)
        sync_folder(run.policies)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def choose_policy(run: RunDirectory, which: str | None = None) -> KeptPolicy:
    """Finds a policy of a run, which may be finished, stopped or in progress.

    Args:
        run: The run directory.
        which: ``best``, according to the evaluations in training; the number of steps at which it
            was kept; or ``latest``, which is the default: the trained policy or, if the training
            has not finished, that of the newest checkpoint.

    Raises:
        ConfigError: If there is no such policy; the message lists those that exist.
        RunDirectoryError: If there are none yet, or all checkpoints are damaged.
    """
    if which == "best":
        return _best(run)
    if which in (None, "latest"):
        return _latest(run)
    assert which is not None
    try:
        step = int(which.replace(",", "").replace("_", ""))
    except ValueError:
        raise ConfigError(
            f"expected checkpoint to be best, latest or a number of steps, got {which!r}."
        ) from None
    return _of_step(run, step)


def check_nets_of_run(run: RunDirectory) -> None:
    """Refuses a policy whose nets only its script can make.

    Other nets may have the same parameters, and then wrong figures would be the only sign.

    Raises:
        RunDirectoryError: If the script had nets of its own.
    """
    own = run.read_json(run.script).get("own_nets") if run.script.is_file() else None
    if own:
        raise RunDirectoryError(
            f"expected a policy whose nets config.json describes, but the script of {run.root} has "
            f"its own: {', '.join(own)}; evaluate the model in the script, as with "
            "Stable-Baselines3's evaluate_policy."
        )


def _best(run: RunDirectory) -> KeptPolicy:
    returns = {
        step: float(row["return_mean"])
        for row in read_rows(run.evaluations)
        if (step := int(row["env_steps"])) in _kept_steps(run)
    }
    if not returns:
        raise ConfigError(
            f"expected evaluations with their policies in {run.root}, found none; only a training "
            "with --evaluate-every STEPS knows its best policy. --checkpoint latest is there."
        )
    step = max(returns, key=lambda step: returns[step])
    return _in_folder(run, step, f"the best of {len(returns)} evaluations, at step {step:,}")


def _latest(run: RunDirectory) -> KeptPolicy:
    if run.policy.is_file():
        return KeptPolicy("the trained policy", lambda agent: agent.restore(run))
    checkpoint = next(whole_checkpoints(run.checkpoints), None)
    if checkpoint is None:
        raise RunDirectoryError(
            f"expected a policy or a checkpoint in {run.root}, found none; a run has its first "
            "checkpoint after --checkpoint-seconds, or when it is stopped."
        )
    return _in_checkpoint(checkpoint, "the latest checkpoint")


def _of_step(run: RunDirectory, step: int) -> KeptPolicy:
    kept = _kept_steps(run)
    if step in kept:
        return _in_folder(run, step, f"the policy of step {step:,}")
    checkpoints = {_steps_of(one): one for one in whole_checkpoints(run.checkpoints)}
    if step in checkpoints:
        return _in_checkpoint(checkpoints[step], "the checkpoint")
    there = ", ".join(map(str, sorted({*kept, *checkpoints}))) or "none"
    raise ConfigError(
        f"expected checkpoint to be best, latest or a step whose policy {run.root} has, got "
        f"{step}; there are: {there}. With --evaluate-every STEPS a training keeps more of them."
    )


def _in_folder(run: RunDirectory, step: int, name: str) -> KeptPolicy:
    folder = RunDirectory(_folder(run, step))
    return KeptPolicy(name, lambda agent: agent.restore(folder))


def _in_checkpoint(checkpoint: Checkpoint, name: str) -> KeptPolicy:
    state = checkpoint.state["agent"]
    told = f"{name}, at step {_steps_of(checkpoint):,}"
    return KeptPolicy(told, lambda agent: agent.restore_policy(state))


def _steps_of(checkpoint: Checkpoint) -> int:
    return int(checkpoint.state["agent"]["counters"]["num_timesteps"])


def _folder(run: RunDirectory, step: int) -> Path:
    return run.policies / f"{step:09d}"


def _kept_steps(run: RunDirectory) -> set[int]:
    if not run.policies.is_dir():
        return set()
    return {int(path.name) for path in run.policies.iterdir() if path.name.isdecimal()}
