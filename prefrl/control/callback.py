"""The loop for whoever has a Stable-Baselines3 script: one callback, passed to ``learn()``."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import tyro
from numpy.typing import NDArray
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm

from prefrl.control.evaluate import correlation
from prefrl.control.hide_reward import HideReward, Rollout, find_hide_reward
from prefrl.control.queries import QueryConfig, Questioner, disagreement_of_rollout
from prefrl.control.relabel import forget_rollout, write_rewards
from prefrl.control.reward_nets import MlpStepReward, RewardNetConfig
from prefrl.control.segments import Segment, SegmentPool, SegmentSampler
from prefrl.control.spaces import action_width, observation_width
from prefrl.core.comparisons import Answer
from prefrl.core.oracle import Oracle, OracleConfig, SyntheticOracle, as_oracle
from prefrl.core.schedule import LabelSchedule
from prefrl.core.store import LabelStore
from prefrl.core.trainer import FitConfig, FitReport, fit
from prefrl.errors import ConfigError, NotEnoughDataError
from prefrl.runtime.rundir import CsvTable, RunDirectory
from prefrl.runtime.weights import publish_weights

__all__ = ["Metrics", "PreferenceCallback", "PreferenceConfig"]

Metrics = dict[str, float | int | str]
"""One row of ``metrics.csv``."""


@dataclass(frozen=True)
class PreferenceConfig:
    """How a reward is learned from comparisons of segments."""

    labels: int = 700
    """Comparisons to ask for over the whole training."""
    segment_length: int = 50
    """Steps per segment."""
    members: int = 3
    """Members of the reward ensemble."""
    schedule: Literal["constant", "hyperbolic", "inverse_quadratic"] = "hyperbolic"
    """How the rate of labels falls over the training."""
    initial_fraction: float = 0.25
    """Share of the labels asked for before the agent's first update."""
    refit_growth: float = 0.05
    """Refit when the comparisons have grown by this share since the last fit."""
    query: Annotated[QueryConfig, tyro.conf.arg(name="")] = field(default_factory=QueryConfig)
    """Which pairs are asked."""
    net: RewardNetConfig = field(default_factory=RewardNetConfig)
    """What the reward nets look like."""
    fit: FitConfig = field(default_factory=FitConfig)
    """How they are fitted."""
    teacher: OracleConfig = field(default_factory=OracleConfig)
    """How the synthetic oracle errs."""

    def __post_init__(self) -> None:
        for name in ("labels", "members"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, got {getattr(self, name)}.")
        if self.segment_length < 2:
            raise ConfigError(
                f"segment_length must be at least 2 steps, got {self.segment_length}."
            )
        if self.refit_growth < 0:
            raise ConfigError(f"refit_growth must not be negative, got {self.refit_growth}.")

    def check_budget(self, total_steps: int) -> None:
        """Refuses a training that cannot give as many segments as the labels need.

        Raises:
            ConfigError: With the number of labels that would do.
        """
        n_segments = total_steps // self.segment_length
        n_pairs = n_segments * (n_segments - 1) // 2
        if n_segments < self.query.warmup_segments or self.labels > n_pairs:
            raise ConfigError(
                f"expected segments enough for {self.labels} labels, but {total_steps} steps give "
                f"{n_segments} segments of {self.segment_length}, {n_pairs} pairs, and the first "
                f"labels wait for {self.query.warmup_segments} segments; raise steps, or lower "
                "labels, segment_length or warmup_segments."
            )


class PreferenceCallback(BaseCallback):
    """Teaches an on-policy agent from comparisons: ask, fit, score, relabel, at each rollout's end.

    ::

        venv = prefrl.HideReward(venv)
        PPO("MlpPolicy", venv).learn(500_000, callback=prefrl.PreferenceCallback(labels=700))

    Args:
        config: Settings; ``labels`` overrides theirs.
        labels: Comparisons to ask for over the whole training.
        oracle: Who answers: an object with ``compare(left, right)``, or a plain function of two
            segments that returns an Answer, its name, or True where the left one is better. None
            compares true returns.
        run: Directory for labels, segments, weights and tables; None keeps all in memory.
        seed: Of everything random in here.
        on_rollout: Called with each new row of metrics.

    Raises:
        ConfigError: From ``learn()``, if the reward is not hidden, the algorithm is not on-policy,
            or the steps cannot give the labels.
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
    ) -> None:
        super().__init__()
        config = config or PreferenceConfig()
        if labels is not None:
            config = dataclasses.replace(config, labels=labels)
        self.config = config
        self.report: FitReport | None = None
        """How the newest fit went; None before the first."""
        self.rows: list[Metrics] = []
        """One row of metrics per rollout."""
        self._given_oracle = oracle
        self._run = RunDirectory.create(run) if isinstance(run, str | Path) else run
        self._rng = np.random.default_rng(seed)
        self._fit_seed = int(self._rng.integers(2**32))
        self._on_rollout = on_rollout or (lambda row: None)

    def _init_callback(self) -> None:
        if not isinstance(self.model, OnPolicyAlgorithm):
            raise ConfigError(
                f"expected an on-policy algorithm such as PPO or A2C, got {type(self.model)}; "
                "off-policy algorithms are not supported yet."
            )
        config, run = self.config, self._run
        self.venv: HideReward = find_hide_reward(self.model.get_env())
        self.venv.record(self.model.n_steps)
        self.net = MlpStepReward(
            observation_width(self.venv.observation_space),
            action_width(self.venv.action_space),
            n_members=config.members,
            config=config.net,
        )
        self.pool = SegmentPool(config.query.pool_size)
        self._sampler = SegmentSampler(config.segment_length, self.venv.num_envs)
        self.store = LabelStore("sqlite://" if run is None else run.labels)
        self._metrics = None if run is None else CsvTable(run.metrics)
        self._fits = None if run is None else CsvTable(run.fits)
        self.questioner = Questioner(
            self.pool,
            self._oracle(),
            self.store,
            config=config.query,
            rng=self._rng,
            items_path=None if run is None else run.items,
        )
        self._n_fits, self._n_asked, self._n_fitted = 0, 0, 0

    def _oracle(self) -> Oracle:
        if self._given_oracle is not None:
            return as_oracle(self._given_oracle)
        return SyntheticOracle(
            self.pool.true_rewards,
            config=self.config.teacher,
            rng=self._rng,
            mean_segment_return=self._mean_segment_return,
        )

    def _on_training_start(self) -> None:
        total_steps = int(self.locals["total_timesteps"])
        self.config.check_budget(total_steps)
        self._schedule = LabelSchedule(
            total_labels=self.config.labels,
            total_steps=total_steps,
            kind=self.config.schedule,
            initial_fraction=self.config.initial_fraction,
        )
        self._first_step = self.num_timesteps
        self._started = time.monotonic()

    def _on_step(self) -> bool:
        return True

    def _on_rollout_end(self) -> None:
        # cut
        rollout = self.venv.take()
        for segment, true_rewards in self._sampler.cut(rollout, env_steps=self.num_timesteps):
            self.pool.add(segment, true_rewards)
        self._check_segments()

        # ask
        due = self._schedule.due(self.num_timesteps - self._first_step) - self._n_asked
        if due > 0 and len(self.pool) >= self.config.query.warmup_segments:
            self._n_asked += self.questioner.ask(due, self.net, env_steps=self.num_timesteps)

        # fit
        growth = max(1, math.floor(self.config.refit_growth * self._n_fitted))
        n_decided = sum(c.preference is not None for c in self.questioner.comparisons)
        fit_steps = self._fit() if n_decided >= self._n_fitted + growth else 0

        # score and relabel
        reward, raw = self.net.predict(rollout.observations, rollout.actions)
        assert isinstance(self.model, OnPolicyAlgorithm)
        if self.report is None:
            forget_rollout(self.model.rollout_buffer)
        else:
            write_rewards(
                self.model.rollout_buffer,
                reward,
                last_values=self.locals["values"],
                dones=self.locals["dones"],
            )
        self._log(self._row(rollout, reward, raw, fit_steps))

    def _on_training_end(self) -> None:
        self.store.close()

    def _fit(self) -> int:
        started = time.monotonic()
        recent = self.pool.recent(self.config.query.pool_size)
        self.net.standardize_inputs(recent)
        report = self.report = fit(
            self.net,
            self.questioner.comparisons,
            self.pool.kept,
            config=self.config.fit,
            rng=np.random.default_rng(self._fit_seed),
            l2=None if self.report is None else self.report.l2,
        )
        self.net.calibrate(recent)
        self._n_fits += 1
        self._n_fitted = report.n_comparisons
        row: Metrics = {
            "fit": self._n_fits,
            "env_steps": self.num_timesteps,
            "labels": self._n_asked,
            "steps": report.steps,
            "train_loss": report.train_loss,
            "holdout_loss": report.holdout_loss,
            "holdout_accuracy": report.holdout_accuracy,
            "l2": report.l2,
            "seconds": time.monotonic() - started,
        }
        if self._run is not None and self._fits is not None:
            self._fits.append(row)
            publish_weights(self._run.reward, self._n_fits, self.net.state_dict(), about=row)
        return report.steps

    def _row(
        self,
        rollout: Rollout,
        reward: NDArray[np.float32],
        raw: NDArray[np.float32],
        fit_steps: int,
    ) -> Metrics:
        returns = self.venv.finished_returns
        return {
            "rollout": len(self.rows) + 1,
            "env_steps": self.num_timesteps,
            "labels": self._n_asked,
            "episodes": self.venv.n_finished,
            "true_return_mean": float(np.mean(returns)) if returns else math.nan,
            "predicted_reward_mean": float(reward.mean()),
            "predicted_reward_std": float(reward.std()),
            "reward_correlation": correlation(reward, rollout.true_rewards),
            "disagreement": disagreement_of_rollout(raw, self.config.segment_length),
            "fit_steps": fit_steps,
            "wall_seconds": time.monotonic() - self._started,
        }

    def _log(self, row: Metrics) -> None:
        self.rows.append(row)
        if self._metrics is not None:
            self._metrics.append(row)
        for name in ("labels", "reward_correlation", "disagreement", "predicted_reward_std"):
            self.logger.record(f"prefrl/{name}", row[name])
        if self.report is not None:
            self.logger.record("prefrl/holdout_accuracy", self.report.holdout_accuracy)
            self.logger.record("prefrl/holdout_loss", self.report.holdout_loss)
        self._on_rollout(row)

    def _mean_segment_return(self) -> float:
        """B-Pref's margin: mean true return of ten episodes, for one segment's share of steps."""
        returns, lengths = list(self.venv.finished_returns)[-10:], self.venv.finished_lengths
        if not returns:
            return 0.0
        return float(np.mean(returns)) * self.config.segment_length / max(lengths)

    def _check_segments(self) -> None:
        longest = max(self.venv.finished_lengths, default=0)
        if self.venv.n_finished >= 20 and len(self.pool) == 0:
            raise NotEnoughDataError(
                f"segment_length is {self.config.segment_length}, but the longest of "
                f"{self.venv.n_finished} episodes had {longest} steps; lower segment_length or "
                "raise max_episode_steps."
            )
