"""The whole algorithm in one process, from a config to a run directory."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
import tyro
from stable_baselines3.common.logger import configure

from prefrl.control.agents import Agent, AgentConfig, Algo, check_environment
from prefrl.control.callback import Metrics, PreferenceCallback, PreferenceConfig
from prefrl.control.evaluate import Evaluation, evaluate
from prefrl.control.films import film_episode, film_pairs
from prefrl.control.queries import QueryConfig
from prefrl.control.reward_nets import MlpStepReward, RewardNetConfig
from prefrl.control.segments import Segment
from prefrl.control.spaces import action_width, observation_width
from prefrl.core.comparisons import Answer
from prefrl.core.oracle import Oracle, OracleConfig
from prefrl.core.trainer import FitConfig
from prefrl.errors import ConfigError, FilmError, RunDirectoryError
from prefrl.runtime.rundir import RunDirectory, installed_versions
from prefrl.runtime.weights import latest_weights

__all__ = ["Result", "TrainConfig", "load_run", "train"]

_EVALUATION_SEED = 1_000_003  # keeps evaluation episodes apart from those of training


@dataclass(frozen=True)
class TrainConfig:
    """A training: which environment, how long, and how the reward is learned."""

    env_id: tyro.conf.Positional[str]
    """Gymnasium id, as in HalfCheetah-v5 or prefrl_envs:prefrl/Hopper-v0."""
    steps: int = 500_000
    """Environment steps."""
    algo: Algo = "ppo"
    """How the agent learns from the reward."""
    oracle: Literal["synthetic"] = "synthetic"
    """Who answers: synthetic compares true returns, with the errors set under teacher."""
    seed: int = 0
    """Of everything random."""
    run: Path | None = None
    """Where the run is written; by default runs/ENVIRONMENT-SEED."""
    eval_episodes: int = 10
    """Episodes of the final evaluation."""
    films: bool = True
    """Make films of the agent before and after, and of the most informative pairs."""
    threads: int = 1
    """Threads that torch may use."""
    preferences: Annotated[PreferenceConfig, tyro.conf.arg(name="")] = field(
        default_factory=PreferenceConfig
    )
    """How the reward is learned."""
    agent: AgentConfig = field(default_factory=AgentConfig)
    """The agent's settings."""

    def __post_init__(self) -> None:
        for name in ("steps", "eval_episodes", "threads"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, got {getattr(self, name)}.")
        if self.algo not in ("ppo", "a2c"):
            raise ConfigError(f"expected algo to be ppo or a2c, got {self.algo!r}.")
        self.preferences.check_budget(self.steps)

    @property
    def run_path(self) -> Path:
        """Where the run is written."""
        name = self.env_id.rsplit("/", 1)[-1].rsplit(":", 1)[-1]
        return self.run or Path("runs") / f"{name}-{self.seed}"


@dataclass(frozen=True)
class Result:
    """What a training came to."""

    run: RunDirectory
    """Where everything lies."""
    summary: dict[str, Any]
    """The content of ``summary.json``."""
    notes: list[str]
    """What did not work, and what to do about it."""

    @property
    def eval_return_mean(self) -> float:
        """Mean true return of the final evaluation."""
        return float(self.summary["eval_return_mean"])


def train(
    config: TrainConfig,
    *,
    oracle: Oracle | Callable[[Segment, Segment], Answer | str | bool] | None = None,
    on_rollout: Callable[[Metrics], None] | None = None,
) -> Result:
    """Trains an agent from comparisons of segments, and writes the run directory.

    Args:
        config: What to do.
        oracle: Who answers, instead of the config's.
        on_rollout: Called with each new row of metrics.

    Returns:
        The run directory and its summary.

    Raises:
        PrefrlError: Before anything starts, if the config cannot work.
    """
    check_horizon(config)
    run = RunDirectory.create(config.run_path)
    run.write_json(run.config, config_as_json(config))
    run.write_json(run.versions, installed_versions())
    torch.set_num_threads(config.threads)
    started = time.monotonic()

    # act and learn
    agent = Agent(config.env_id, config.algo, config.agent, seed=config.seed)
    agent.model.set_logger(configure(str(run.tensorboard), ["tensorboard"]))
    before = _evaluate(agent, config, None)
    callback = PreferenceCallback(
        config.preferences, oracle=oracle, run=run, seed=config.seed, on_rollout=on_rollout
    )
    agent.model.learn(config.steps, callback=callback)
    agent.model.logger.close()
    trained_seconds = time.monotonic() - started

    # evaluate
    agent.save(run)
    after = _evaluate(agent, config, callback)
    agent.close()
    _write_evaluation(run, after, callback)

    # show
    notes = _film(run, config.env_id, before, after, callback) if config.films else []
    summary = _summary(config, callback, before, after, trained_seconds)
    run.write_json(run.summary, summary)
    return Result(run=run, summary=summary, notes=notes)


def check_horizon(config: TrainConfig) -> None:
    """Refuses what can be known not to work before anything is made.

    Raises:
        ConfigError: If the environment cannot be made, or its episodes are shorter than a segment.
    """
    spec = check_environment(config.env_id)
    horizon = spec.max_episode_steps
    length = config.preferences.segment_length
    if horizon is not None and length > horizon:
        raise ConfigError(
            f"segment_length is {length}, but an episode of {config.env_id} ends after {horizon} "
            f"steps; choose a segment_length of at most {horizon}."
        )


def config_as_json(config: TrainConfig) -> dict[str, Any]:
    """The config as JSON can hold it."""
    content = dataclasses.asdict(config)
    content["run"] = str(config.run_path)
    return content


def config_from_json(content: dict[str, Any]) -> TrainConfig:
    """The config that ``config_as_json`` wrote.

    Raises:
        RunDirectoryError: If it is not one of this release.
    """
    try:
        agent = AgentConfig(**_tuples(content.pop("agent")))
        told = content.pop("preferences")
        preferences = PreferenceConfig(
            query=QueryConfig(**told.pop("query")),
            net=RewardNetConfig(**_tuples(told.pop("net"))),
            fit=FitConfig(**told.pop("fit")),
            teacher=OracleConfig(**told.pop("teacher")),
            **told,
        )
        run = Path(content.pop("run"))
        return TrainConfig(run=run, agent=agent, preferences=preferences, **content)
    except (KeyError, TypeError, AttributeError) as error:
        raise RunDirectoryError(
            f"expected a config.json of this release of prefrl, but {error}; read the run with "
            "the release in its versions.json."
        ) from error


def _tuples(content: dict[str, Any]) -> dict[str, Any]:
    return {name: tuple(v) if isinstance(v, list) else v for name, v in content.items()}


def load_run(run: RunDirectory) -> tuple[TrainConfig, Agent, MlpStepReward]:
    """Loads a finished run: its config, its agent, and its newest reward model.

    Raises:
        RunDirectoryError: If a part is missing or does not fit.
    """
    config = config_from_json(run.read_json(run.config))
    check_environment(config.env_id)
    agent = Agent(config.env_id, config.algo, config.agent, seed=config.seed)
    agent.restore(run)
    net = MlpStepReward(
        observation_width(agent.environments.observation_space),
        action_width(agent.environments.action_space),
        n_members=config.preferences.members,
        config=config.preferences.net,
    )
    try:
        net.load_state_dict(latest_weights(run.reward).tensors)
    except RuntimeError as error:
        raise RunDirectoryError(f"the reward weights do not fit the config: {error}") from error
    return config, agent, net


def _evaluate(agent: Agent, config: TrainConfig, callback: PreferenceCallback | None) -> Evaluation:
    return evaluate(
        agent,
        config.env_id,
        episodes=config.eval_episodes,
        seed=config.seed + _EVALUATION_SEED,
        net=None if callback is None else callback.net,
    )


def _write_evaluation(run: RunDirectory, after: Evaluation, callback: PreferenceCallback) -> None:
    report = callback.report
    np.savez(
        run.evaluation,
        true_rewards=after.true_rewards,
        predicted_rewards=after.predicted_rewards,
        holdout_probability=np.empty(0) if report is None else report.holdout_probability,
        holdout_preference=np.empty(0) if report is None else report.preference,
    )


def _film(
    run: RunDirectory,
    env_id: str,
    before: Evaluation,
    after: Evaluation,
    callback: PreferenceCallback,
) -> list[str]:
    """Makes all films; where that cannot be done, says why."""
    questioner = callback.questioner
    asked = [(c, questioner.disagreement[c.query.id]) for c in questioner.comparisons]
    try:
        film_episode(run, env_id, before.states, "before")
        film_episode(run, env_id, after.states, "after")
        film_pairs(run, env_id, asked)
    except FilmError as error:
        return [f"no films: {error}"]
    return []


def _summary(
    config: TrainConfig,
    callback: PreferenceCallback,
    before: Evaluation,
    after: Evaluation,
    seconds: float,
) -> dict[str, Any]:
    newest = callback.rows[-max(1, len(callback.rows) // 10) :]
    correlations = [float(row["reward_correlation"]) for row in newest]
    finite = [c for c in correlations if np.isfinite(c)]
    accuracy = np.nan if callback.report is None else callback.report.holdout_accuracy
    return {
        "env_id": config.env_id,
        "algo": config.algo,
        "seed": config.seed,
        "labels": callback.rows[-1]["labels"],
        "env_steps": callback.num_timesteps,
        "wall_seconds": round(seconds, 1),
        "eval_return_mean": float(after.returns.mean()),
        "eval_return_std": float(after.returns.std()),
        "eval_episodes": len(after.returns),
        "eval_return_before_mean": float(before.returns.mean()),
        "train_return_mean": callback.rows[-1]["true_return_mean"],
        "reward_correlation": float(np.mean(finite)) if finite else None,
        "reward_accuracy_holdout": float(accuracy) if np.isfinite(accuracy) else None,
        "selection": config.preferences.query.selection,
        "members": config.preferences.members,
        "segment_length": config.preferences.segment_length,
        "versions": installed_versions(),
    }
