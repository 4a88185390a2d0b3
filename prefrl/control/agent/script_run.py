"""Makes a script's training a run like those of the command line."""

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
    """Rows of ``metrics.csv``."""
    n_rollouts: int
    """Rollouts, or stretches."""
    steps: int
    """Environment steps."""
    seconds: float
    """How long they trained."""
    n_updates: int
    """A number that is not below that of any sample of the agent's steps."""
    checkpoint: Mapping[str, Any] | None
    """State of the newest callback at its newest checkpoint; None without one."""


_HELD: dict[tuple[Path, int], contextlib.ExitStack] = {}
"""What a training holds of its run, by directory and thread."""


def _place(run: RunDirectory) -> tuple[Path, int]:
    return run.root.resolve(), threading.get_ident()


def give_back(run: RunDirectory) -> None:
    """Gives back what a training in this thread held of a run that was broken off.

    A thread has one ``learn()`` at a time. After an exception, a notebook keeps its frames, and
    with them the callback, for as long as it likes.
    """
    if (held := _HELD.pop(_place(run), None)) is not None:
        held.close()


class ScriptRun:
    """The run directory of a script.

    Args:
        root: The directory: one that is not there yet, an empty one, or one that an earlier
            ``PreferenceCallback`` has written to.
        seed: Seed of the callback.
        oracle: Who answers: synthetic, which also stands for an oracle of the script's own; human
            or mixed.

    Raises:
        RunDirectoryError: If something else is there.
    """

    def __init__(self, root: str | Path, seed: int, *, oracle: str = "synthetic") -> None:
        self._seed, self._oracle = seed, oracle
        self.run = RunDirectory(root)
        self.is_new = not self.run.script.is_file()
        """Whether nobody has trained with it."""
        if self.is_new:
            RunDirectory.create(root)
            # At once: a script that is refused and mended may take the same directory.
            self.run.write_json(self.run.script, _MADE_BY)
        self.people = None if oracle == "synthetic" else People(self.run, tell=_tell)
        """The page where people answer, if they do."""
        self._heartbeat: Heartbeat | None = None
        self._held = contextlib.ExitStack()
        self._saved_at = 0.0

    def start(self, callback: PreferenceCallback, steps: int) -> None:
        """Called when training, or another part of it, begins.

        Args:
            callback: What trains.
            steps: Environment steps of the whole training, as far as is known.

        Raises:
            ConfigError: If people are to be shown what cannot be filmed.
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
        """The partners of a callback whose queries people answer.

        Args:
            callback: What asks them.
            learner: What learns from the answers.
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
        """Writes a checkpoint if one is due, or in any case. A full disk is no reason to stop."""
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
        """What earlier callbacks left."""
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
    """The run of a script, as given to its callback; None if it has none.

    Args:
        run: Where it is written. A RunDirectory is somebody else's, unless people answer.
        seed: Seed of the callback.
        oracle: Who answers: human, mixed, or anything else that is no text.

    Raises:
        ConfigError: If the name of the oracle is another one, or people answer and nothing is
            written to disk.
        RunDirectoryError: If something else is in the directory.
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
        model: Made as in the script that began the run.
        run: Its directory.

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
