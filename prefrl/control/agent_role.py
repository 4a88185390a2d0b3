"""The agent as a role: one step is a rollout and its update, with checkpoints in between.

A run in one process and the agent's process of an asynchronous run both use this object; only the
partners differ.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from typing import Any

from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import configure

from prefrl.control.agent.agent import Agent
from prefrl.control.agent.callback import PreferenceCallback
from prefrl.control.agent.replay_files import ReplayFiles
from prefrl.control.agent.rollback import Rollback
from prefrl.control.config import TrainConfig, config_as_json, devices_of
from prefrl.control.policies.evaluations import Evaluations
from prefrl.control.tracking import start_tracking
from prefrl.runtime.guard import watching_on
from prefrl.runtime.roles.role import Heartbeat, StopSignal
from prefrl.runtime.rundir import RunDirectory
from prefrl.runtime.rundir.checkpoint import load_checkpoint, save_checkpoint, taking_up
from prefrl.runtime.rundir.saving import saving
from prefrl.runtime.rundir.troubles import tell_troubles

__all__ = ["AgentRole"]

_log = logging.getLogger(__name__)
_SECONDS_TO_REACH_A_BOUNDARY = 10.0
_SECONDS_BETWEEN_LOOKS = 5.0
_STEPS_BETWEEN_CHECKS = 1000  # a copy after each of A2C's updates would take a seventh of the time


class AgentRole:
    """Acts and learns, starting from a checkpoint in the run directory if there is one.

    Args:
        config: Config of the training.
        run: The run directory.
        preferences: The agent's half of the preference loop, not yet started.
        stop: Tells it to stop, after this rollout or, if that takes too long, during it.
        heartbeat: Publishes the role's state.
    """

    def __init__(
        self,
        config: TrainConfig,
        run: RunDirectory,
        preferences: PreferenceCallback,
        *,
        stop: StopSignal,
        heartbeat: Heartbeat,
    ) -> None:
        self.preferences = preferences
        self._config = config
        self._run = run
        self._stop = stop
        self._heartbeat = heartbeat
        self._heartbeat.beat("starting")
        self.agent = Agent(
            config.env_id,
            config.algo,
            config.agent,
            seed=config.seed,
            device=devices_of(config)[0],
            limits=config.limits,
            env=config.env,
        )
        self._end_tracking = start_tracking(config.track, run, config_as_json(config))
        self.agent.model.set_logger(configure(str(run.tensorboard), ["tensorboard"]))
        buffer = self.agent.replay_buffer
        self._replay = None if buffer is None else ReplayFiles(run.replay, buffer)
        self._evaluations = Evaluations(config, run, go_on=self._evaluating)
        self._first_steps = config.agent.transitions_per_rollout(config.algo)
        checkpoint = load_checkpoint(run.checkpoints)
        if checkpoint is not None:
            with taking_up(checkpoint):
                self._load(checkpoint.state)
            heartbeat.beat(saved=self._place)
            _log.info("continuing from checkpoint %d", checkpoint.number)
        # The optimisers beat during updates, in which no environment steps.
        for optimizer in self.agent.optimizers():
            optimizer.register_step_post_hook(lambda *told: heartbeat.beat())
        pulse = _Pulse(self._pulse)
        self.agent.start(config.steps, [preferences, pulse])
        self._rollback = Rollback(self.agent.model, run, self.agent.not_finite)
        self._looked_at = time.monotonic()
        self._saved_at, self._checked_at = time.monotonic(), self.agent.model.num_timesteps
        self._saved_step: int | None = None

    def _load(self, state: Mapping[str, Any]) -> None:
        self.agent.load_state_dict(state["agent"])
        if self._replay is not None:
            self._replay.load(state["replay"])
        told = state["preferences"]
        # Older checkpoints do not have the number of steps.
        if self._config.steps > state.get("total_steps", self._config.steps):
            told = {**told, "guard": watching_on(told.get("guard", {}))}
        self.preferences.load_state_dict(told)
        self._evaluations.load_state_dict(state.get("evaluations", {}))

    def step(self) -> bool:
        """Runs one iteration of acting and learning, and saves a checkpoint if one is due.

        Returns:
            Whether to continue: False if all steps have been taken, the guard ends the training,
            or it was told to stop.
        """
        self._evaluations.step(self.agent)
        try:
            if not self.agent.iterate():
                return False
        except ValueError:
            # torch refuses to draw from a distribution whose parameters became NaN in an update.
            if self._check():
                raise
            # No checkpoint here: in the middle of a stretch it would lose the part recorded so far.
            return not self._stop.requested
        if self.agent.model.num_timesteps >= self._checked_at + _STEPS_BETWEEN_CHECKS:
            self._check()
        if time.monotonic() >= self._looked_at + _SECONDS_BETWEEN_LOOKS:
            self._say_what_is_wrong()
        if self._stop.requested or self._seconds_unsaved() >= self._config.checkpoint_seconds:
            self.save()
        return not (self._stop.requested or self.preferences.guard.stops)

    @property
    def done(self) -> bool:
        """Whether all steps have been taken, or the guard has ended the training."""
        stopped = self.preferences.guard.stops
        return stopped or self.agent.model.num_timesteps >= self._config.steps

    def save(self) -> None:
        """Writes a checkpoint. A full disk does not end the run: the older checkpoints stay."""
        self._heartbeat.beat("saving")  # checking the policy may take some time
        self._check()
        state = {
            "agent": self.agent.state_dict(),
            "total_steps": self._config.steps,
            "preferences": self.preferences.state_dict(),
            "evaluations": self._evaluations.state_dict(),
        }
        with saving(self._heartbeat, self._place):
            if self._replay is not None:
                state["replay"] = self._replay.save()
            save_checkpoint(self._run.checkpoints, state)
            if self._replay is not None:
                self._replay.tidy()
        self._saved_at, self._saved_step = time.monotonic(), self.agent.model.num_timesteps

    def finish(self) -> None:
        """Writes the trained policy and a last checkpoint, and closes the environments."""
        if self._saved_step != self.agent.model.num_timesteps:
            self.save()
        self._heartbeat.beat("finishing")
        self.agent.finish()
        self.preferences.close()
        self.agent.model.logger.close()
        self._end_tracking()
        self.agent.save(self._run)
        self.agent.close()

    def _say_what_is_wrong(self) -> None:
        self._looked_at = time.monotonic()
        tell_troubles(self._heartbeat, self._run, total_steps=self._config.steps)

    @property
    def _place(self) -> str:
        return f"step {self.agent.model.num_timesteps:,}"

    def _check(self) -> bool:
        """Returns whether the policy is finite; if not, restores the last checked state."""
        self._checked_at = self.agent.model.num_timesteps
        return self._rollback.check()

    def _seconds_unsaved(self) -> float:
        return time.monotonic() - self._saved_at

    def _evaluating(self) -> bool:
        self._heartbeat.beat("evaluating")
        return not self._stop.requested

    def _pulse(self) -> bool:
        self._heartbeat.beat(
            "acting",
            env_steps=self.agent.model.num_timesteps,
            total_steps=self._config.steps,
            reward_version=self.preferences.partners.used.version,
            first_steps=self._first_steps,
        )
        # Ending here gives up this rollout, as the newest checkpoint is at most a rollout older.
        return self._stop.seconds < _SECONDS_TO_REACH_A_BOUNDARY


class _Pulse(BaseCallback):
    """Calls a function at each environment step; if it returns False, the rollout ends."""

    def __init__(self, function: Callable[[], bool]) -> None:
        super().__init__()
        self._function = function

    def _on_step(self) -> bool:
        return self._function()
