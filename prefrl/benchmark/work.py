"""One training of a suite: started or resumed, evaluated, and summarised in a row.

``python -m prefrl.benchmark.work FOLDER`` runs the training of FOLDER/job.json and writes
FOLDER/row.json. It is a process of its own, so that its death does not affect the others; on
SIGTERM it saves and ends with exit code 4, and the next one continues from there.
"""

from __future__ import annotations

import argparse
import copy
import datetime
import logging
import math
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prefrl.benchmark.executors import SECONDS_TO_STOP
from prefrl.benchmark.staging import on_a_local_disk
from prefrl.benchmark.suite import Run
from prefrl.control.agent.agent import Agent
from prefrl.control.agent.algorithms import ALGORITHMS
from prefrl.control.config import TrainConfig, devices_of, with_settings
from prefrl.control.finish import load_run
from prefrl.control.policies.evaluate import EVALUATION_SEED, evaluate_as_configured
from prefrl.control.policies.probes import probes
from prefrl.control.train import resume, train
from prefrl.errors import ConfigError, PrefrlError
from prefrl.runtime.devices import use_cpu
from prefrl.runtime.roles.role import Heartbeat, StopSignal, die_with_parent, only_one
from prefrl.runtime.roles.supervisor import BAD_INPUT, STOPPED
from prefrl.runtime.rundir import RunDirectory
from prefrl.runtime.rundir.checkpoint import load_checkpoint, save_checkpoint
from prefrl.runtime.rundir.versions import installed_versions
from prefrl.runtime.rundir.writing import write_atomically

__all__ = ["COLUMNS", "job_of", "main", "work"]

COLUMNS = (
    "arm", "task", "seed", "algo", "steps", "labels", "return_mean", "return_std",
    "sampled_return_mean", "training_return", "random_return", "accuracy", "pearson", "spearman",
    "training_correlation", "wall_seconds", "date", "version",
)  # fmt: skip
"""Columns of the table of results."""

_log = logging.getLogger(__name__)


def job_of(run: Run) -> dict[str, Any]:
    """Returns the content of job.json, for ``work``."""
    return {
        "arm": run.arm,
        "task": run.task,
        "seed": run.seed,
        "options": dict(run.options),
        "true_reward": run.true_reward,
    }


def work(folder: Path, stop: StopSignal) -> dict[str, Any] | None:
    """Starts or continues the training of a folder, and writes its row.

    Args:
        folder: Holds job.json; the run is written to its ``run``, the row to its row.json.
        stop: Ends the training early.

    Returns:
        The row; None if the training was stopped.
    """
    told = RunDirectory.read_json(folder / "job.json")
    run = Run(**told)
    config = run.config(folder / "run")
    use_cpu(config.threads)
    version = _noted_version(folder)
    if stop.requested:
        return None
    found = _on_true_reward(config, stop) if run.true_reward else _on_comparisons(config)
    if found is None:
        return None
    row = {
        **{name: told[name] for name in ("arm", "task", "seed")},
        "algo": config.algo,
        "steps": config.steps,
        **found,
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "version": version,
    }
    row = {name: _rounded(row.get(name, "")) for name in COLUMNS}
    RunDirectory.write_json(folder / "row.json", row)
    return row


def _on_true_reward(config: TrainConfig, stop: StopSignal) -> dict[str, Any] | None:
    """Trains on the environment's own reward, with the same settings and the same evaluation."""
    config, _ = with_settings(config)
    run = RunDirectory(config.run_path)
    run.make_folders()
    with only_one(run, "agent"):
        heartbeat = Heartbeat(run, "agent")
        heartbeat.beat("starting", env_steps=0, total_steps=config.steps)
        agent = Agent(
            config.env_id,
            config.algo,
            config.agent,
            seed=config.seed,
            hide_reward=False,
            device=devices_of(config)[0],
            limits=config.limits,
            env=config.env,
        )
        seconds = _train(agent, config, run, heartbeat, stop)
        if seconds is None:
            return None
        result = evaluate_as_configured(agent, config)
        newest = [episode["r"] for episode in list(agent.model.ep_info_buffer or ())[-20:]]
        found = {
            "labels": 0,
            "training_return": float(np.mean(newest)) if newest else math.nan,
            "wall_seconds": seconds,
            "return_mean": float(result.returns.mean()),
            "return_std": float(result.returns.std()),
            **_others(agent, config),
        }
        agent.close()
    return found


def _train(
    agent: Agent, config: TrainConfig, run: RunDirectory, heartbeat: Heartbeat, stop: StopSignal
) -> float | None:
    """Trains from the newest checkpoint to the end; returns the seconds, or None if stopped.

    Off-policy agents begin again, because their replay buffers are not saved here.
    """
    checkpoint = load_checkpoint(run.checkpoints)
    before = 0.0
    keeps = ALGORITHMS[config.algo].on_policy
    if checkpoint is not None:
        agent.load_state_dict(checkpoint.state["agent"])
        before = checkpoint.state["seconds"]
    agent.start(config.steps, [])
    started = saved = time.monotonic()
    while agent.iterate():
        heartbeat.beat("acting", env_steps=agent.model.num_timesteps)
        now = time.monotonic()
        if keeps and (stop.requested or now - saved > config.checkpoint_seconds):
            state = {"agent": agent.state_dict(), "seconds": before + now - started}
            save_checkpoint(run.checkpoints, state)
            saved = now
        if stop.requested:
            return None
    agent.finish()
    heartbeat.beat("evaluating", env_steps=agent.model.num_timesteps)
    return before + time.monotonic() - started


def _on_comparisons(config: TrainConfig) -> dict[str, Any] | None:
    """Starts or continues a training from comparisons; the run directory is kept."""
    run = RunDirectory(config.run_path)
    if not run.summary.is_file():
        if run.spaces.is_file():  # the last file written when a run begins
            summary = resume(run).summary
        else:
            shutil.rmtree(run.root, ignore_errors=True)
            summary = train(config).summary
        if not summary:
            return None
    summary = run.read_json(run.summary)
    config, agent, _ = load_run(run)
    with np.load(run.evaluation, allow_pickle=False) as arrays:
        rewards = arrays["true_rewards"], arrays["predicted_rewards"]
    found = {
        "return_mean": summary["eval_return_mean"],
        "return_std": summary["eval_return_std"],
        "labels": summary["labels"],
        "training_return": summary["train_return_mean"],
        "training_correlation": summary["reward_correlation"],
        "wall_seconds": summary["wall_seconds"],
        **probes(*rewards, length=config.preferences.steps_per_segment, seed=config.seed),
        **_others(agent, config),
    }
    agent.close()
    return found


def _others(agent: Agent, config: TrainConfig) -> dict[str, float]:
    """Evaluates the true returns of sampled actions and of random play."""
    drawn = evaluate_as_configured(agent, config, deterministic=False)
    random = evaluate_as_configured(_RandomPlay(agent), config)
    return {
        "sampled_return_mean": float(drawn.returns.mean()),
        "random_return": float(random.returns.mean()),
    }


class _RandomPlay:
    """A policy that draws all actions uniformly."""

    def __init__(self, agent: Agent) -> None:
        self.frame_stack = agent.frame_stack
        self._space = copy.deepcopy(agent.environments.action_space)
        self._space.seed(EVALUATION_SEED)

    def act(
        self, observations: Any, *, deterministic: bool, begins: NDArray[np.bool_] | None
    ) -> NDArray[Any]:
        parts = observations.values() if isinstance(observations, dict) else [observations]
        return np.stack([self._space.sample() for _ in next(iter(parts))])


def _noted_version(folder: Path) -> str:
    """Records this version; returns all versions of the code that the training has used."""
    path = folder / "version.txt"
    known = path.read_text().split(", ") if path.is_file() else []
    if (version := _version()) not in known:
        known.append(version)
        write_atomically(path, ", ".join(known).encode())
    return ", ".join(known)


def _version() -> str:
    """The release; in a checkout also the commit, with a + if there are changes since."""
    release = installed_versions()["prefrl"]
    git = ["git", "-C", str(Path(__file__).parent.parent)]

    def said(*arguments: str) -> tuple[bool, str]:
        done = subprocess.run([*git, *arguments], capture_output=True, text=True, check=False)
        return done.returncode == 0, done.stdout.strip()

    try:
        if not said("ls-files", "--error-unmatch", "__init__.py")[0]:
            return release
        same, _ = said("diff", "--quiet", "HEAD", "--", ".")
        return f"{release} {said('rev-parse', '--short', 'HEAD')[1]}{'' if same else '+'}"
    except OSError:  # no git here
        return release


def _rounded(value: Any) -> Any:
    """Formats a cell: six digits of a number, empty if there is none."""
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else ""
    return "" if value is None else value


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one training, and returns the exit code."""
    parser = argparse.ArgumentParser(description="One training of a suite.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--parent", type=int, help="process id of whoever started it")
    told = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    with StopSignal() as stop:
        if told.parent:
            die_with_parent(told.parent)
        (told.folder / "locks").mkdir(exist_ok=True)
        place = RunDirectory(told.folder)
        try:
            # An earlier process of this training may still be saving.
            with only_one(place, "work", patience=SECONDS_TO_STOP, stop=stop):
                with on_a_local_disk(told.folder) as here:
                    return STOPPED if work(here, stop) is None else 0
        except ConfigError as error:
            _log.error("%s", error)
            return BAD_INPUT
        except PrefrlError as error:
            _log.error("%s", error)
            return 1


if __name__ == "__main__":
    sys.exit(main())
