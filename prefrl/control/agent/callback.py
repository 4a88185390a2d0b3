"""The agent's half of the loop, as a Stable-Baselines3 callback: cut, ask, score, relabel, log."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm

from prefrl.control.agent.off_policy import ReplayRewards
from prefrl.control.agent.on_policy import RolloutRewards
from prefrl.control.agent.stretch import Stretch
from prefrl.control.environments.hide_reward import HideReward, find_hide_reward
from prefrl.control.items import Items, synthetic_oracle
from prefrl.control.preferences import PreferenceConfig, step_reward
from prefrl.control.queries import SegmentSource, segment_pool
from prefrl.control.recent import SegmentSamples
from prefrl.control.segment_length import MOST, chosen_length
from prefrl.control.segments import Segment, SegmentSampler
from prefrl.core.comparisons import Answer
from prefrl.core.oracle import Oracle, as_oracle
from prefrl.core.store import LabelStore
from prefrl.errors import ConfigError, NotEnoughDataError
from prefrl.runtime.labeller import Labeller
from prefrl.runtime.learner import RewardLearner
from prefrl.runtime.partners import Partners, Together, UsedReward
from prefrl.runtime.questioner import Questioner
from prefrl.runtime.rundir import RunDirectory
from prefrl.runtime.tables import CsvTable, Metrics

__all__ = ["Metrics", "PreferenceCallback"]

_MOST_ROWS = 10_000


class PreferenceCallback(BaseCallback):
    """Teaches an agent from comparisons: ask, fit, score, relabel.

    An on-policy agent, as PPO, is given rewards at each rollout's end. An off-policy one, as SAC,
    asks for those of each batch that it draws from its replay buffer, and some thousand steps take
    the place of a rollout.

    ::

        venv = prefrl.HideReward(venv)
        PPO("MlpPolicy", venv).learn(500_000, callback=prefrl.PreferenceCallback(labels=700))

    Args:
        config: Settings; ``labels`` overrides theirs.
        labels: Comparisons to ask for over the whole training.
        oracle: Who answers: an object with ``compare(left, right)``, or a plain function of two
            segments that returns an Answer, its name, or True where the left one is better. With a
            parameter true_rewards it is given those of both, shape (T,) each. None compares true
            returns.
        run: Directory for labels, segments, weights and tables; None keeps all in memory.
        seed: Of everything random in here.
        on_rollout: Called with each new row of metrics.
        partners: Makes the labeller and the reward learner as the agent sees them; None has both
            work in here.

    Raises:
        ConfigError: From ``learn()``, if the reward is not hidden, the algorithm or its replay
            buffer is none that rewards can reach, or the steps cannot give the labels.
        NotEnoughDataError: From ``learn()``, if episodes turn out shorter than a segment.
    """

    def __init__(
        self,
        config: PreferenceConfig | None = None,
        *,
        labels: int | None = None,
        oracle: Oracle | Callable[[Segment, Segment], Answer | str | bool] | None = None,
        run: RunDirectory | str | Path | None = None,
        seed: int = 0,
        on_rollout: Callable[[Metrics], None] | None = None,
        partners: Callable[[PreferenceCallback], Partners] | None = None,
    ) -> None:
        super().__init__()
        config = config or PreferenceConfig()
        if labels is not None:
            config = dataclasses.replace(config, labels=labels)
        self.config = config
        self.rows: list[Metrics] = []
        """The newest 10,000 rows of metrics of this process, one per rollout; or per 1,000 steps,
        where rollouts are shorter than a segment."""
        self.run = RunDirectory.create(run) if isinstance(run, str | Path) else run
        """Where all is written, if anywhere."""
        self._oracle = oracle
        self._seed = seed
        self._rng = np.random.default_rng(seed)
        self._on_rollout = on_rollout or (lambda row: None)
        self._make_partners = partners or _together
        self._resumed: Mapping[str, Any] | None = None
        self._n_rollouts, self._n_rows = 0, 0
        self._first_step, self._earlier_seconds = 0, 0.0

    def _init_callback(self) -> None:
        config, run = self.config, self.run
        self.venv: HideReward = find_hide_reward(self.model.get_env())
        self.net = step_reward(self.venv, config).to(self.model.device)
        self._rewards = self._way_to_the_agent()
        off_policy = isinstance(self._rewards, ReplayRewards)
        self.venv.record(self._rewards.n_steps, n_before=self.net.n_before, grows=off_policy)
        self.pool = segment_pool(config.query, self._rng)
        self.items = Items(run, max_bytes=config.query.pool_bytes)
        if config.segment_length != "auto":
            self._cut_into(config.segment_length)
        self.store = LabelStore("sqlite://" if run is None else run.labels)
        self.samples = SegmentSamples(self.pool, run)
        source = SegmentSource(self.pool, self.items, config.query, self._typical_return)
        self.questioner = Questioner(source, self.store, config=config.query, rng=self._rng)
        self.partners = self._make_partners(self)
        if self._resumed is not None:
            self._go_back(self._resumed)
        self._metrics = None if run is None else CsvTable(run.metrics, keep=self._n_rows)

    def _way_to_the_agent(self) -> RolloutRewards | ReplayRewards:
        """How rewards reach the agent."""
        n_envs = self.venv.num_envs
        if isinstance(self.model, OnPolicyAlgorithm):
            return RolloutRewards(self.model, self.net, self.config, n_envs=n_envs)
        if isinstance(self.model, OffPolicyAlgorithm):
            return ReplayRewards(
                self.model,
                self.venv,
                self.net,
                self.config.off_policy,
                segment_length=MOST if (length := self.config.segment_length) == "auto" else length,
            )
        raise ConfigError(
            "expected an algorithm of Stable-Baselines3 that learns by rollouts or from a replay "
            f"buffer, as PPO or SAC, got {type(self.model).__name__}."
        )

    def _on_training_start(self) -> None:
        if self._resumed is None:
            self._first_step = self.num_timesteps
        n_steps = int(self.locals["total_timesteps"]) - self._first_step
        if self.config.segment_length != "auto":
            self.config.check_budget(n_steps)
        steps_between = self._rewards.n_steps * self.venv.num_envs
        self._schedule = self.config.label_schedule(n_steps, steps_between=steps_between)
        self._started = time.monotonic()

    def _on_step(self) -> bool:
        return True

    def _on_rollout_end(self) -> None:
        if not self._rewards.is_due(self.venv.n_recorded):
            return
        # cut
        rollout = self.venv.take()
        if self.config.segment_length == "auto":
            self._choose_length(len(rollout.dones))
        for segment, true_rewards in self._sampler.cut(rollout, env_steps=self.num_timesteps):
            self.pool.add(segment, true_rewards)
        self._check_segments()

        # ask, and hear what the partners have made of the answers
        asked = self._ask()
        self._rewards.before_update(rollout)
        used = self.partners.update(self.num_timesteps, asked=asked)

        # score and relabel
        reward, raw = self.net.predict(rollout)
        self._rewards.deliver(rollout, reward, used, self.locals)
        self._n_rollouts += 1
        self._stretch.add(rollout.true_rewards, reward, raw, fit_steps=used.fit_steps)
        if self._stretch.is_whole:
            self._log(self._row(used), used)

    def _cut_into(self, segment_length: int) -> None:
        """From here on it is known how long segments are."""
        self.config = dataclasses.replace(self.config, segment_length=segment_length)
        self._sampler = SegmentSampler(segment_length, self.venv.num_envs)
        self._stretch = Stretch(segment_length, self.venv.num_envs)

    def _choose_length(self, n_recorded: int) -> None:
        """Has segments as long as the first episodes allow."""
        lengths = list(self.venv.finished_lengths) or [max(MOST, n_recorded)]
        fps = (self.venv.get_attr("metadata")[0] or {}).get("render_fps", 30)
        self._cut_into(chosen_length(float(fps), lengths))
        self.config.check_budget(int(self.locals["total_timesteps"]) - self._first_step)

    def _on_training_end(self) -> None:
        if self.config.segment_length != "auto" and self._stretch.n_steps:
            self._log(self._row(self.partners.used), self.partners.used)
        self._rewards.finish()
        self.store.close()

    def _ask(self) -> bool:
        """Asks what is due."""
        if len(self.pool) < self.config.query.warmup_segments:
            return False
        due = self._schedule.due(self.num_timesteps - self._first_step)
        only_ties = self.partners.used.only_ties
        if only_ties and not self.pool.shows_endings:
            # Nothing tells the clips apart so far: half of the labels wait for what does.
            due = min(due, self.config.labels // 2)
        judge = None if only_ties else self.net
        return self.questioner.ask_due(due, judge, run_steps=self.num_timesteps)

    def _row(self, used: UsedReward) -> Metrics:
        returns, counts = self.venv.finished_returns, self.store.counts()
        measured = self._stretch.take()
        fit_steps = measured.pop("fit_steps")
        return {
            "rollout": self._n_rollouts,
            "env_steps": self.num_timesteps,
            # Not of all in the store: after a kill that knows of what is still to be asked.
            "labels": len(self.questioner.asked) - counts.open,
            "open": counts.open,
            "dropped": self.questioner.n_dropped,
            "episodes": self.venv.n_finished,
            "faults": self.venv.n_faults,
            "true_return_mean": float(np.mean(returns)) if returns else math.nan,
            **measured,
            "reward_version": used.version,
            # An agent that went back to a checkpoint may be behind the newest fit.
            "reward_age": max(0, self.num_timesteps - used.run_steps),
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
        return self._earlier_seconds + time.monotonic() - self._started

    def _typical_return(self) -> float:
        """B-Pref's margin: mean true return of ten episodes, for one segment's share of steps.

        In the oracle's own reward: the scores of games, which people read, are other numbers.
        """
        returns, lengths = list(self.venv.finished_rewards)[-10:], self.venv.finished_lengths
        if not returns:
            return 0.0
        return float(np.mean(returns)) * self.config.steps_per_segment / max(lengths)

    def _check_segments(self) -> None:
        longest = max(self.venv.finished_lengths, default=0)
        if self.venv.n_finished >= 20 and len(self.pool) == 0:
            raise NotEnoughDataError(
                f"segment_length is {self.config.steps_per_segment}, but the longest of "
                f"{self.venv.n_finished} episodes had {longest} steps; lower segment_length or "
                "raise max_episode_steps."
            )

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps of the agent's half, between two rollouts."""
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
            "seconds": self._seconds(),
            "rewards": self._rewards.state_dict(),
            "partners": self.partners.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes back to a state when training starts: call it before ``learn()``."""
        self._resumed = state

    def _go_back(self, state: Mapping[str, Any]) -> None:
        self._rng.bit_generator.state = state["rng"]
        self._cut_into(state["segment_length"])
        self._sampler.load_state_dict(state["sampler"])
        self._rewards.load_state_dict(state["rewards"])
        for env in self.venv.interrupted:
            self._sampler.drop(env)
            self._rewards.forget(env)
        self.pool.load_state_dict(state["pool"])
        self.questioner.load_state_dict(state["questioner"])
        self._n_rollouts, self._first_step = state["n_rollouts"], state["first_step"]
        self._n_rows = state["n_rows"]
        self._stretch.load_state_dict(state["stretch"])
        self._earlier_seconds = state["seconds"]
        self.partners.load_state_dict(state["partners"])


def _together(callback: PreferenceCallback) -> Together:
    """Labeller and learner in the callback's own process."""
    store, items, config = callback.store, callback.items, callback.config
    oracle = (
        synthetic_oracle(items, config.teacher, seed=callback._seed)
        if callback._oracle is None
        else as_oracle(callback._oracle, true_rewards=items.true_rewards)
    )
    learner = RewardLearner(
        callback.net,
        store,
        items,
        config=config.learner,
        seed=callback._seed,
        run=callback.run,
    )
    labeller = Labeller(store, items, oracle)
    return Together(labeller, learner, callback.questioner, callback.samples)
