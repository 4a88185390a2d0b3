"""Turns a script's training into a run like those of the command line."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stable_baselines3.common.base_class import BaseAlgorithm

from prefrl.control.agent.described import describe_script, own_nets
from prefrl.control.agent.people import People, check_filmable
from prefrl.control.agent.state import model_state, restore_model, save_policy
from prefrl.errors import ConfigError, RunDirectoryError
from prefrl.runtime.learner import RewardLearner
from prefrl.runtime.people.with_people import WithPeople
from prefrl.runtime.roles.role import Heartbeat, only_one
from prefrl.runtime.rundir import RunDirectory
from prefrl.runtime.rundir.checkpoint import load_checkpoint, save_checkpoint
from prefrl.runtime.rundir.recent import newest_recent
from prefrl.runtime.rundir.saving import HAS_STOPPED, saving
from prefrl.runtime.rundir.tables import read_rows
from prefrl.runtime.rundir.troubles import tell_troubles
from prefrl.runtime.rundir.versions import about_this_release

if TYPE_CHECKING:
    from prefrl.control.agent.callback import PreferenceCallback

__all__ = ["Left", "ScriptRun", "give_back", "resume_script", "script_run"]

_MADE_BY = {"made_by": "prefrl.PreferenceCallback"}
_PEOPLE = ("human", "mixed")
_SECONDS_BETWEEN_CHECKPOINTS = 30.0


@dataclass(frozen=True)
class Left:
    """State that earlier callbacks left in a run."""

    n_rows: int
    """Number of rows in ``metrics.csv``."""
    n_rollouts: int
    """Number of rollouts or stretches."""
    steps: int
    """Environment steps taken."""
    seconds: float
    """Seconds of training."""
    n_updates: int
    """Number of updates, or more: at least the number of the newest sample."""
    checkpoint: Mapping[str, Any] | None
    """State of the newest callback at its newest checkpoint; None without one."""


_HELD: dict[tuple[Path, int], contextlib.ExitStack] = {}
"""The locks that trainings hold on their runs, by directory and thread."""


def _place(run: RunDirectory) -> tuple[Path, int]:
    return run.root.resolve(), threading.get_ident()


def give_back(run: RunDirectory) -> None:
    """Releases the lock that an interrupted training in this thread left on a run.

    A thread runs one ``learn()`` at a time, so the lock is not needed any more. A notebook may keep
    the frames of an exception, and with them the callback and its lock, for as long as it likes.
    """
    if (held := _HELD.pop(_place(run), None)) is not None:
        held.close()


class ScriptRun:
    """The run directory of a script.

    Args:
        root: The directory: a new one, an empty one, or one that an earlier ``PreferenceCallback``
            has written to.
        seed: Seed of the callback.
        oracle: Who answers: synthetic, which also stands for an oracle of the script's own; human
            or mixed.

    Raises:
        RunDirectoryError: If the directory has other content.
    """

    def __init__(self, root: str | Path, seed: int, *, oracle: str = "synthetic") -> None:
        self._seed, self._oracle = seed, oracle
        self.run = RunDirectory(root)
        self.is_new = not self.run.script.is_file()
        """Whether no callback has used the directory before."""
        if self.is_new:
            RunDirectory.create(root)
            # Written at once, so that a script that fails can use the same directory again.
            self.run.write_json(self.run.script, _MADE_BY)
        self.people = None if oracle == "synthetic" else People(self.run, tell=_tell)
        """The page on which people answer; None if they do not."""
        self._heartbeat: Heartbeat | None = None
        self._held = contextlib.ExitStack()
        self._saved_at = 0.0

    def start(self, callback: PreferenceCallback, steps: int) -> None:
        """Called when training, or another part of it, begins.

        Args:
            callback: The callback of the training.
            steps: Environment steps of the whole training, as far as known.

        Raises:
            ConfigError: If people answer, but the environments cannot be filmed.
            RoleError: If another process trains with this run, or the page cannot be served.
        """
        if self.people is not None:
            check_filmable(callback.venv)
        give_back(self.run)
        self.run.make_folders()
        self._held.enter_context(only_one(self.run, "agent"))
        _HELD[_place(self.run)] = self._held
        venv = callback.venv
        spaces = {"observations": str(venv.observation_space), "actions": str(venv.action_space)}
        self.run.write_json(self.run.versions, about_this_release())
        self.run.write_json(self.run.spaces, spaces)
        self.describe(callback, steps)
        nets = own_nets(callback.model)
        self.run.write_json(self.run.script, {**_MADE_BY, "own_nets": nets})
        self.run.summary.unlink(missing_ok=True)  # it is not finished any more
        self._heartbeat = Heartbeat(self.run, "agent")
        self._saved_at = time.monotonic()
        if self.people is not None:
            self.beat("starting")
            try:
                self.people.open()
            except BaseException:
                self._held.close()
                raise

    def with_people(self, callback: PreferenceCallback, learner: RewardLearner) -> WithPeople:
        """Makes the partners of a callback whose queries people answer.

        Args:
            callback: The callback, which asks the queries.
            learner: Learns from the answers.
        """
        return WithPeople(
            learner,
            callback.questioner,
            callback.samples,
            store=callback.store,
            max_unanswered=callback.config.unanswered_by_people,
            waiting=self._wait,
        )

    def _wait(self, state: str | None) -> None:
        if self.people is not None:
            self.people.look()
        if state is not None:
            self.beat(state)

    def describe(self, callback: PreferenceCallback, steps: int) -> None:
        """Writes ``config.json``."""
        config = describe_script(
            callback.model,
            callback.venv,
            callback.config,
            run=self.run.root,
            steps=steps,
            seed=self._seed,
            oracle=self._oracle,
        )
        self.run.write_json(self.run.config, config)

    def beat(self, state: str, **about: Any) -> None:
        """Reports what the agent is doing, for ``prefrl status``."""
        if self._heartbeat is not None:
            self._heartbeat.beat(state, **about)

    def save(self, callback: PreferenceCallback, *, forced: bool = False) -> None:
        """Writes a checkpoint if one is due or forced. A full disk does not end the training."""
        if not forced and time.monotonic() < self._saved_at + _SECONDS_BETWEEN_CHECKPOINTS:
            return
        assert self._heartbeat is not None  # training has started
        state = {"agent": model_state(callback.model), "preferences": callback.state_dict()}
        with saving(self._heartbeat, f"step {callback.run_steps:,}"):
            save_checkpoint(self.run.checkpoints, state)
        tell_troubles(self._heartbeat, self.run, total_steps=None)
        self._saved_at = time.monotonic()

    def stop(self, callback: PreferenceCallback) -> None:
        """Called at the end of training or a part of it: writes the policy and releases the run."""
        if callback.config.segment_length != "auto":
            self.save(callback, forced=True)
        save_policy(callback.model, callback.model.get_vec_normalize_env(), self.run)
        if self.people is not None:
            self.people.close()
        self.beat(HAS_STOPPED, env_steps=callback.run_steps)
        self._held.close()

    def left(self) -> Left:
        """Reads what earlier callbacks left in the run."""
        rows = read_rows(self.run.metrics)
        row: Mapping[str, str] = rows[-1] if rows else {}
        checkpoint = load_checkpoint(self.run.checkpoints)
        state = None if checkpoint is None else checkpoint.state["preferences"]
        rollouts, steps = int(row.get("rollout", 0)), int(row.get("env_steps", 0))
        if state is not None:
            rollouts, steps = max(rollouts, state["n_rollouts"]), max(steps, state["run_steps"])
        return Left(
            n_rows=len(rows),
            n_rollouts=rollouts,
            steps=steps,
            seconds=float(row.get("wall_seconds", 0.0)),
            n_updates=max(rollouts, newest_recent(self.run)),
            checkpoint=state,
        )


def script_run(
    run: RunDirectory | str | Path | None, seed: int, oracle: object
) -> ScriptRun | None:
    """Makes the run of a script from the callback's arguments; None if it has no run of its own.

    Args:
        run: Path of the run. The caller manages a RunDirectory itself, unless people answer.
        seed: Seed of the callback.
        oracle: Who answers: "human", "mixed", or anything that is not a string.

    Raises:
        ConfigError: If the oracle has another name, or people answer without a run on disk.
        RunDirectoryError: If the directory has other content.
    """
    if not isinstance(oracle, str):
        return ScriptRun(run, seed) if isinstance(run, str | Path) else None
    if oracle not in _PEOPLE:
        raise ConfigError(
            f"expected oracle to be human, mixed, a function or an object, got {oracle!r}; leave "
            "it out for the synthetic oracle."
        )
    if run is None:
        raise ConfigError(
            f"people who label need a run on disk, but oracle={oracle!r} came without run=; write "
            f'PreferenceCallback(oracle={oracle!r}, run="runs/mine").'
        )
    return ScriptRun(run.root if isinstance(run, RunDirectory) else run, seed, oracle=oracle)


def _tell(sentence: str) -> None:
    sys.stdout.write(f"{sentence}\n")
    sys.stdout.flush()


def resume_script(model: BaseAlgorithm, run: str | Path) -> bool:
    """Restores a model, and the ``VecNormalize`` around its environments, from a run.

    ::

        model = PPO("MlpPolicy", venv, **settings)
        prefrl.resume_script(model, "runs/mine")
        callback = prefrl.PreferenceCallback(labels=100, run="runs/mine")
        model.learn(300_000, callback=callback, reset_num_timesteps=False)

    At the first start there is nothing to restore, so you can simply run the script again. The
    callback continues the run by itself. The environments begin new episodes, and the replay buffer
    of an off-policy algorithm begins empty, unless you load one that you saved.

    Args:
        model: A model, made as in the script that began the run.
        run: The run's directory.

    Returns:
        Whether there was anything to restore.

    Raises:
        RunDirectoryError: If the run was not made by a script, all its checkpoints are damaged, or
            the model has other nets.
    """
    directory = RunDirectory(run)
    if not directory.script.is_file():
        if directory.config.is_file():
            raise RunDirectoryError(
                f"expected a run of a script, but {run} was made by prefrl train; continue it "
                f"with prefrl resume {run}."
            )
        return False
    checkpoint = load_checkpoint(directory.checkpoints)
    if checkpoint is None:
        return False
    try:
        restore_model(model, checkpoint.state["agent"])
    except (KeyError, ValueError, RuntimeError, AttributeError) as error:
        raise RunDirectoryError(
            f"expected a model like the one that {run} was trained with, but "
            f"{' '.join(str(error).split())}; make it with the same settings and environments."
        ) from error
    return True
