"""The agent's half of the loop as a Stable-Baselines3 callback: cut, ask, score, relabel, log."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback

from prefrl.control.agent.budget import LabelBudget
from prefrl.control.agent.delivery import delivery_to
from prefrl.control.agent.episodes import check_lengths, typical_return
from prefrl.control.agent.off_policy import ReplayRewards
from prefrl.control.agent.on_policy import RolloutRewards
from prefrl.control.agent.partners import partners_in_here
from prefrl.control.agent.script_run import ScriptRun, script_run
from prefrl.control.agent.stretch import Stretch
from prefrl.control.agent.surroundings import advise_normalization, match_evaluations
from prefrl.control.environments.hide_reward import (
    HideReward,
    check_same_spaces,
    find_hide_reward,
)
from prefrl.control.items import Items
from prefrl.control.learned.taking import take_along, with_taken
from prefrl.control.preferences import PreferenceConfig, step_reward
from prefrl.control.queries import SegmentSource, segment_pool
from prefrl.control.recent import SegmentSamples
from prefrl.control.segment_length import MOST, chosen_length
from prefrl.control.segments import Segment, SegmentSampler
from prefrl.control.shortening import most_steps
from prefrl.core.comparisons import Answer
from prefrl.core.oracle import Oracle
from prefrl.core.store import LabelStore
from prefrl.errors import ConfigError
from prefrl.runtime.guard import GUARDED, Guard
from prefrl.runtime.partners import Partners, Together, UsedReward
from prefrl.runtime.questioner import Questioner
from prefrl.runtime.rundir import RunDirectory
from prefrl.runtime.rundir.tables import CsvTable, Metrics

__all__ = ["Metrics", "PreferenceCallback"]

_MOST_ROWS = 10_000


class PreferenceCallback(BaseCallback):
    """Teaches an agent from comparisons: ask, fit, score, relabel.

    An on-policy agent such as PPO gets rewards at the end of each rollout. An off-policy agent such
    as SAC gets the rewards of each batch when it draws the batch from its replay buffer, and about
    a thousand steps take the place of a rollout.

    ::

        venv = prefrl.HideReward(venv)
        PPO("MlpPolicy", venv).learn(500_000, callback=prefrl.PreferenceCallback(labels=700))

    A second ``learn()`` continues where the first one ended, with the same labels, segments and
    reward. The label budget is for all parts together. If ``total_steps`` gives the length of the
    whole training, an agent that is trained in parts asks like one that is trained in one call;
    otherwise it asks for all labels during the first part.

    Args:
        config: Settings; ``labels`` overrides theirs.
        labels: Comparisons to ask for over the whole training, in all its parts.
        total_steps: Environment steps of the whole training, over which the labels are spread.
            None: the steps done so far plus those of the current ``learn()``.
        oracle: Who answers: an object with ``compare(left, right)``, or a plain function of two
            segments that returns an Answer, its name, or True if the left one is better. If it has
            a parameter true_rewards, it gets the true rewards of both, shape (T,) each. None
            compares true returns. "human" lets people answer at the labelling page; "mixed"
            compares true returns while nobody is there.
        run: Directory for labels, segments, weights and tables, like that of ``prefrl train``. If
            an earlier callback wrote to it, that run continues. None keeps everything in memory.
        seed: Seed of the callback's own randomness.
        on_rollout: Called with each new row of metrics.
        partners: Makes the labeller and the reward learner as the agent sees them; None runs both
            in this process.
        **settings: Other fields of ``PreferenceConfig`` by name, such as ``members=5``,
            ``labels_from=`` with a run or a file of answers, or ``reward=`` with a learned reward.

    Raises:
        ConfigError: From ``learn()``, if the reward is not hidden, the algorithm or its replay
            buffer is not supported, the steps are too few for the labels, or the environments of an
            ``EvalCallback`` are wrapped differently.
        NotEnoughDataError: From ``learn()``, if episodes turn out shorter than a segment.
    """

    def __init__(
        self,
        config: PreferenceConfig | None = None,
        *,
        labels: int | None = None,
        total_steps: int | None = None,
        oracle: Oracle | Callable[[Segment, Segment], Answer | str | bool] | str | None = None,
        run: RunDirectory | str | Path | None = None,
        seed: int = 0,
        on_rollout: Callable[[Metrics], None] | None = None,
        partners: Callable[[PreferenceCallback], Partners] | None = None,
        **settings: Any,
    ) -> None:
        super().__init__()
        if total_steps is not None and total_steps < 1:
            raise ConfigError(f"total_steps must be at least 1, got {total_steps}.")
        if labels is not None:
            settings["labels"] = labels
        config = dataclasses.replace(config or PreferenceConfig(), **settings)
        self.config = config
        self.rows: list[Metrics] = []
        """The newest 10,000 rows of metrics of this process: one per rollout, or per 1,000 steps if
        rollouts are shorter than a segment."""
        self.script = script_run(run, seed, oracle)
        """Manages the run of a script; None if there is no run, or prefrl itself trains."""
        self.run = run if isinstance(run, RunDirectory | None) else RunDirectory(run)
        """The run directory, if there is one."""
        self.run_steps = 0
        """Environment steps so far, including those of earlier calls of ``learn()``."""
        self._total_steps, self._most_steps = total_steps, most_steps()
        self.oracle, self.seed = None if isinstance(oracle, str) else oracle, seed
        """The oracle, or None if true returns are compared or people answer; and the seed."""
        self._rng = np.random.default_rng(seed)
        self._on_rollout = on_rollout or (lambda row: None)
        self._make_partners = partners or partners_in_here
        self._resumed: Mapping[str, Any] | None = None
        self._n_rollouts, self._n_rows = 0, 0
        self._first_step: int | None = None
        self._steps_before, self._earlier_seconds = 0, 0.0
        self._taught: tuple[BaseAlgorithm, HideReward] | None = None
        self._n_resets = 0
        self._started: float | None = None

    def _init_callback(self) -> None:
        before = self._taught
        self.venv: HideReward = find_hide_reward(self.model.get_env())
        if before is None:
            self.config = with_taken(self.config, self.venv, self.run)
            self.net = step_reward(self.venv, self.config).to(self.model.device)
        elif before[1] is not self.venv:
            check_same_spaces(before[1], self.venv)
        if before is None or before[0] is not self.model or before[1] is not self.venv:
            self._attach()
        if before is None:
            self._begin()
            if self.script is not None and not self.script.is_new:
                self._take_up(self.script)
        elif before == self._taught:
            self._go_on()
        self._rewards.start(self.partners.used)
        if self._resumed is not None:
            self._go_back(self._resumed)
            self._resumed = None
        self._n_resets = self.venv.n_resets

    def _attach(self) -> None:
        """Connects to a new agent and its environments."""
        self._taught = self.model, self.venv
        self.net.to(self.model.device)
        self._rewards = delivery_to(self.model, self.venv, self.net, self.config)
        off_policy = isinstance(self._rewards, ReplayRewards)
        self.venv.record(self._rewards.n_steps, n_before=self.net.n_before, grows=off_policy)
        if self.config.segment_length != "auto":
            self._cut_into(self.config.segment_length)

    def _begin(self) -> None:
        """Creates everything that is kept between calls of ``learn()``."""
        config, run = self.config, self.run
        self.pool = segment_pool(config.query, self._rng)
        self.items = Items(run, max_bytes=config.query.pool_bytes)
        self.store = LabelStore("sqlite://" if run is None else run.label_store)
        self.samples = SegmentSamples(self.pool, run)
        source = SegmentSource(
            self.pool,
            self.items,
            config.query,
            lambda: typical_return(self.venv, self.config.steps_per_segment),
        )
        self.questioner = Questioner(source, self.store, config=config.query, rng=self._rng)
        self.guard = Guard(config.guard, source, self.net, run, ask=self.questioner.ask_about)
        self.taken = take_along(config, self.venv, self.store, self.items, run)
        self.questioner.recall(self.taken.queries)
        self.partners = self._make_partners(self)
        self._metrics: CsvTable | None = None

    def _take_up(self, script: ScriptRun) -> None:
        """Continues from what an earlier callback left in the run."""
        left = script.left()
        self._n_rows, self._n_rollouts, self.run_steps = left.n_rows, left.n_rollouts, left.steps
        self._first_step, self._earlier_seconds = 0, left.seconds
        if (state := left.checkpoint) is not None:
            self._cut_into(state["segment_length"])
            self._rng.bit_generator.state = state["rng"]
            self.pool.load_state_dict(state["pool"])
            self._first_step = state["first_step"]
        self.questioner.recall(self.store.queries())
        if isinstance(self.partners, Together):
            self.partners.resume(left.n_updates)

    def _go_on(self) -> None:
        """Begins another part of the training of the same agent."""
        # The agent did not learn from a rollout that was broken off, so its steps are dropped.
        if broken_off := isinstance(self._rewards, RolloutRewards) and self.venv.n_recorded > 0:
            self.venv.take()
        if broken_off or (self.venv.n_resets > self._n_resets and not self.venv.n_recorded):
            for env in range(self.venv.num_envs):
                self._forget(env)

    def _forget(self, env: int) -> None:
        """Drops the current episode of an environment, which was cut off."""
        if self.config.segment_length != "auto":
            self._sampler.drop(env)
        self._rewards.forget(env)

    def _on_training_start(self) -> None:
        if self._first_step is None:
            self._first_step = self.run_steps = self.num_timesteps
        self._steps_before = self.run_steps - self.num_timesteps
        n_steps = self._n_steps_in_all()
        if self.config.segment_length != "auto":
            self.config.check_budget(n_steps)
        self._budget = LabelBudget(
            self.config,
            n_steps,
            steps_between=self._rewards.n_steps * self.venv.num_envs,
            n_taken=len(self.taken.queries),
        )
        if self.script is not None:
            self.script.start(self, n_steps)
        if self.run is not None and self._metrics is None:
            self._metrics = CsvTable(self.run.metrics, keep=self._n_rows)
        advise_normalization(self.model)
        match_evaluations(self.locals.get("callback"), self.model)
        self._started = time.monotonic()

    def _n_steps_in_all(self) -> int:
        """Returns the number of steps over which the labels are spread."""
        assert self._first_step is not None  # training has started
        here = self._steps_before + int(self.locals["total_timesteps"]) - self._first_step
        return max(self._total_steps or 0, here)

    def _on_step(self) -> bool:
        n_steps = self._steps_before + self.num_timesteps
        if self.script is not None:
            self.script.beat("acting", env_steps=n_steps)
        return not self.guard.stops and (self._most_steps is None or n_steps < self._most_steps)

    def _on_rollout_end(self) -> None:
        self.run_steps = self._steps_before + self.num_timesteps
        if not self._rewards.is_due(self.venv.n_recorded):
            return
        rollout = self.venv.take()
        if self.config.segment_length == "auto":
            self._choose_length(len(rollout.dones))
        for segment, true_rewards in self._sampler.cut(rollout, env_steps=self.run_steps):
            self.pool.add(segment, true_rewards)
        check_lengths(self.venv, self.config.steps_per_segment, len(self.pool))
        # ask, and get the newest reward from the partners
        asked = self._ask() | self.guard.has_asked()
        self._rewards.before_update(rollout)
        used = self.partners.update(self.run_steps, asked=asked)
        # score and relabel
        reward, raw = self.net.predict(rollout)
        self._rewards.deliver(rollout, reward, used, self.locals)
        newest = self.pool.recent(GUARDED)
        self.guard.look(newest, used, run_steps=self.run_steps)
        self._n_rollouts += 1
        self._stretch.add(rollout.true_rewards, reward, raw, fit_steps=used.fit_steps)
        if self._stretch.is_whole:
            self._log(self._row(used), used)
        if self.script is not None:
            self.script.save(self)

    def _cut_into(self, segment_length: int) -> None:
        """Sets the segment length, and creates what depends on it."""
        self.config = dataclasses.replace(self.config, segment_length=segment_length)
        self._sampler = SegmentSampler(segment_length, self.venv.num_envs)
        self._stretch = Stretch(segment_length, self.venv.num_envs)

    def _choose_length(self, n_recorded: int) -> None:
        """Chooses a segment length from the lengths of the first episodes."""
        lengths = list(self.venv.finished_lengths) or [max(MOST, n_recorded)]
        fps = (self.venv.get_attr("metadata")[0] or {}).get("render_fps", 30)
        self._cut_into(chosen_length(float(fps), lengths))
        self.config.check_budget(self._n_steps_in_all())
        if self.script is not None:
            self.script.describe(self, self._n_steps_in_all())

    def _on_training_end(self) -> None:
        self.run_steps = self._steps_before + self.num_timesteps
        if self.config.segment_length != "auto" and self._stretch.n_steps:
            self._log(self._row(self.partners.used), self.partners.used)
        self._rewards.finish()
        if self.script is not None:
            self.script.stop(self)
        self._earlier_seconds = self._seconds()
        self._started = None

    def close(self) -> None:
        """Closes the label store, after which this callback cannot be used again."""
        self.store.close()

    def _ask(self) -> bool:
        """Asks the queries that are due."""
        if len(self.pool) < self.config.query.warmup_segments:
            return False
        assert self._first_step is not None  # training has started
        steps, used = self.run_steps - self._first_step, self.partners.used
        due = self._budget.due(steps, used, shows_endings=self.pool.shows_endings)
        if (pace := self.partners.pace) is not None and used.version and not used.only_ties:
            answered = len(self.questioner.asked) - self.store.counts().open
            due = self._budget.ahead(due, answered=answered, wanted=pace.wanted())
        judge = None if used.only_ties else self.net
        return self.questioner.ask_due(due, judge, run_steps=self.run_steps)

    def _row(self, used: UsedReward) -> Metrics:
        returns, counts = self.venv.finished_returns, self.store.counts()
        measured = self._stretch.take()
        fit_steps = measured.pop("fit_steps")
        return {
            "rollout": self._n_rollouts,
            "env_steps": self.run_steps,
            # Not the count of the store, which after a kill has queries that are yet to be asked.
            "labels": len(self.questioner.asked) - counts.open,
            "open": counts.open,
            "dropped": self.questioner.n_dropped,
            "episodes": self.venv.n_finished,
            "faults": self.venv.n_faults,
            "true_return_mean": float(np.mean(returns)) if returns else math.nan,
            **measured,
            "reward_version": used.version,
            # An agent that resumed from a checkpoint may be behind the newest fit.
            "reward_age": max(0, self.run_steps - used.run_steps),
            "fit_steps": fit_steps,
            "wall_seconds": self._seconds(),
        }

    def _log(self, row: Metrics, used: UsedReward) -> None:
        self._n_rows += 1
        self.rows.append(row)
        del self.rows[:-_MOST_ROWS]
        if self._metrics is not None:
            self._metrics.append(row)
        for name in ("labels", "reward_correlation", "disagreement", "predicted_reward_std"):
            self.logger.record(f"prefrl/{name}", row[name])
        if used.version:
            self.logger.record("prefrl/holdout_accuracy", used.holdout_accuracy)
            self.logger.record("prefrl/holdout_loss", used.holdout_loss)
            self.logger.record("prefrl/reward_age", row["reward_age"])
        self._on_rollout(row)

    def _seconds(self) -> float:
        return self._earlier_seconds + (time.monotonic() - self._started if self._started else 0.0)

    def state_dict(self) -> dict[str, Any]:
        """The state of the agent's half for a checkpoint, between two rollouts."""
        return {
            "rng": self._rng.bit_generator.state,
            "segment_length": self.config.segment_length,
            "sampler": self._sampler.state_dict(),
            "pool": self.pool.state_dict(),
            "questioner": self.questioner.state_dict(),
            "n_rollouts": self._n_rollouts,
            "n_rows": self._n_rows,
            "stretch": self._stretch.state_dict(),
            "first_step": self._first_step,
            "run_steps": self.run_steps,
            "seconds": self._seconds(),
            "rewards": self._rewards.state_dict(),
            "partners": self.partners.state_dict(),
            "guard": self.guard.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores a state when training starts; call it before ``learn()``."""
        self._resumed = state

    def _go_back(self, state: Mapping[str, Any]) -> None:
        self._rng.bit_generator.state = state["rng"]
        self._cut_into(state["segment_length"])
        self._sampler.load_state_dict(state["sampler"])
        self._rewards.load_state_dict(state["rewards"])
        for env in self.venv.interrupted:
            self._forget(env)
        self.pool.load_state_dict(state["pool"])
        self.questioner.load_state_dict(state["questioner"])
        self._n_rollouts, self._first_step = state["n_rollouts"], state["first_step"]
        self.run_steps = state.get("run_steps", self.model.num_timesteps)  # missing in old ones
        self._n_rows = state["n_rows"]
        self._stretch.load_state_dict(state["stretch"])
        self._earlier_seconds = state["seconds"]
        self.partners.load_state_dict(state["partners"])
        self.guard.load_state_dict(state.get("guard", {}))
