"""The end of a training: evaluation, films and summary, made from the files of the run."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from prefrl.control.agent.agent import Agent
from prefrl.control.config import (
    TrainConfig,
    check_spaces_of_run,
    config_from_json,
    device_here,
    devices_of,
)
from prefrl.control.environments.making import check_environment
from prefrl.control.films.drawing import Recorded, film, film_pairs
from prefrl.control.policies.evaluate import Evaluation, evaluate_as_configured
from prefrl.control.policies.kept import KeptPolicy, check_nets_of_run, choose_policy
from prefrl.control.policies.probes import probes
from prefrl.control.preferences import StepReward, step_reward
from prefrl.core.plugs import with_names
from prefrl.errors import PrefrlError
from prefrl.runtime.rundir import RunDirectory
from prefrl.runtime.rundir.tables import read_rows
from prefrl.runtime.rundir.tally import tally_of
from prefrl.runtime.rundir.troubles import Trouble, troubles_of
from prefrl.runtime.rundir.versions import installed_versions
from prefrl.runtime.rundir.weights import latest_weights, newest_version, put_into
from prefrl.runtime.rundir.writing import write_arrays

__all__ = ["Result", "finish_run", "load_run"]


@dataclass(frozen=True)
class Result:
    """The result of a training."""

    run: RunDirectory
    """The run directory."""
    summary: dict[str, Any]
    """The content of ``summary.json``; empty if the training was stopped before its end."""
    notes: list[str]
    """Sentences on what did not work, and what to do about it."""
    troubles: Sequence[Trouble] = ()
    """Signs that nothing, or little, was learned."""

    @property
    def learned(self) -> bool:
        """Whether the run learned something: False if there are signs that it did not."""
        return not any(trouble.is_fatal for trouble in self.troubles)

    @property
    def finished(self) -> bool:
        """Whether the training was completed."""
        return bool(self.summary)

    @property
    def eval_return_mean(self) -> float:
        """Mean true return of the final evaluation."""
        return float(self.summary["eval_return_mean"])


def load_run(
    run: RunDirectory, *, policy: KeptPolicy | None = None
) -> tuple[TrainConfig, Agent, StepReward | None]:
    """Loads a run: its config, its agent, and its newest reward model, if it has one.

    They are on the agent's device, or on the CPU if this machine does not have it.

    Args:
        run: The run directory.
        policy: The policy that the agent gets; None takes the trained one or, if the training has
            not finished, that of the latest checkpoint.

    Raises:
        RunDirectoryError: If there is no policy yet, or a part is damaged or does not fit.
    """
    config = config_from_json(run.read_json(run.config))
    check_environment(config.env_id, config.env)
    check_spaces_of_run(config, run)
    check_nets_of_run(run)
    agent = _agent(config, device_here(config))
    (policy or choose_policy(run)).load(agent)
    if newest_version(run.reward) is None:
        return config, agent, None
    return config, agent, _reward_net(run, config, agent)


def finish_run(config: TrainConfig, run: RunDirectory) -> Result:
    """Evaluates the untrained and the trained agent, makes the films, and writes the summary.

    Raises:
        RunDirectoryError: If the policy is missing, or a script trained it with its own nets.
    """
    check_nets_of_run(run)
    device, _ = devices_of(config)
    untrained = _agent(config, device)
    before = evaluate_as_configured(untrained, config)
    untrained.close()
    trained = _agent(config, device)
    trained.restore(run)
    net = None
    if newest_version(run.reward) is not None:
        net = _reward_net(run, config, trained)
    after = evaluate_as_configured(trained, config, net=net)
    trained.close()
    _write_evaluation(run, after)
    notes = _film(run, config, before, after) if config.films else []
    if after.n_cut:
        notes.append(
            f"{after.n_cut} of {config.eval_episodes} episodes of the evaluation were cut after "
            f"{config.eval_max_steps:,} steps; with more --eval-max-steps they would have gone on."
        )
    summary = with_names(_summary(run, config, before, after))  # it may contain functions
    run.write_json(run.summary, summary)
    troubles = troubles_of(run, total_steps=config.steps, finished=True)
    return Result(run=run, summary=summary, notes=notes, troubles=troubles)


def _agent(config: TrainConfig, device: str) -> Agent:
    return Agent(
        config.env_id, config.algo, config.agent, seed=config.seed, device=device, env=config.env
    )


def _reward_net(run: RunDirectory, config: TrainConfig, agent: Agent) -> StepReward:
    net = step_reward(agent.environments, config.preferences).to(agent.model.device)
    put_into(net, latest_weights(run.reward))
    return net


def _write_evaluation(run: RunDirectory, after: Evaluation) -> None:
    holdout = {"probability": np.empty(0), "preference": np.empty(0)}
    if run.holdout.is_file():
        with np.load(run.holdout, allow_pickle=False) as arrays:
            holdout = dict(arrays)
    write_arrays(
        run.evaluation,
        {
            "true_rewards": after.true_rewards,
            "predicted_rewards": after.predicted_rewards,
            "holdout_probability": holdout["probability"],
            "holdout_preference": holdout["preference"],
        },
    )


def _film(
    run: RunDirectory, config: TrainConfig, before: Evaluation, after: Evaluation
) -> list[str]:
    """Makes all films; returns notes on what could not be filmed."""
    shown = {"before": before, "after": after}
    try:
        recorded = {name: Recorded(one.states, one.journals) for name, one in shown.items()}
        film(config.env_id, recorded, run.films, env=config.env)
        film_pairs(run)
    except (PrefrlError, OSError) as error:
        return [f"no films: {error}"]
    return []


def _summary(
    run: RunDirectory, config: TrainConfig, before: Evaluation, after: Evaluation
) -> dict[str, Any]:
    rows = read_rows(run.metrics)
    newest = rows[-max(1, len(rows) // 10) :]
    correlations = [float(row["reward_correlation"]) for row in newest]
    finite = [c for c in correlations if math.isfinite(c)]
    fits = read_rows(run.fits)
    accuracy = float(fits[-1]["holdout_accuracy"]) if fits else math.nan
    tally = tally_of(run)
    found = probes(
        after.true_rewards,
        after.predicted_rewards,
        length=config.preferences.steps_per_segment,
        seed=config.seed,
    )
    return {
        "env_id": config.env_id,
        "algo": config.algo,
        "agent_settings": config.agent.source,
        "seed": config.seed,
        "sync": config.sync,
        "labels": tally.labels,
        "dropped": int(rows[-1]["dropped"]),
        "env_steps": int(rows[-1]["env_steps"]),
        "wall_seconds": round(float(rows[-1]["wall_seconds"]), 1),
        "eval_return_mean": float(after.returns.mean()),
        "eval_return_std": float(after.returns.std()),
        "eval_episodes": len(after.returns),
        "eval_episodes_cut": after.n_cut,
        "eval_return_before_mean": float(before.returns.mean()),
        "eval_return_before_std": float(before.returns.std()),
        "train_return_mean": float(rows[-1]["true_return_mean"]),
        "reward_correlation": float(np.mean(finite)) if finite else None,
        "reward_accuracy_holdout": accuracy if math.isfinite(accuracy) else None,
        **{
            f"reward_{name}_on_policy": value if math.isfinite(value) else None
            for name, value in found.items()
        },
        "reward_version": tally.reward_version,
        "selection": config.preferences.query.selection,
        "members": config.preferences.members,
        "segment_length": config.preferences.segment_length,
        "versions": installed_versions(),
    }
