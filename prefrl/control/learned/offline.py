"""Fits a reward to existing pairs, without an agent."""

from __future__ import annotations

import dataclasses
import math
import os
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prefrl.control.environments.making import check_environment
from prefrl.control.environments.source import EnvConfig, make_env
from prefrl.control.learned.episodes import MINARI, Drawing, load_minari, pairs_of_minari
from prefrl.control.learned.pairs import PairData, Reader, pairs_of, read_pairs
from prefrl.control.learned.reward import Reward
from prefrl.control.learned.taking import pairs_of_run
from prefrl.control.preferences import HasSpaces, PreferenceConfig, step_reward
from prefrl.control.recent import sample
from prefrl.control.reward.config import RewardNetConfig
from prefrl.control.segments import Segment
from prefrl.core.oracle import OracleConfig
from prefrl.core.trainer import FitConfig, FitReport
from prefrl.errors import ConfigError
from prefrl.runtime.fitting import fit_once
from prefrl.runtime.rundir import RunDirectory

__all__ = ["Pairs", "fit_reward"]

Pairs = RunDirectory | str | os.PathLike[str] | Iterable[tuple[Any, ...]]
"""A run; a file, .jsonl or .npz; ``minari:NAME``; or tuples (left, right, preference), optionally
with a margin, whose sides are segments or dicts of arrays."""

_CALIBRATION_BINS = 10


def fit_reward(
    pairs: Pairs,
    env: str | HasSpaces | None = None,
    *,
    members: int = 3,
    net: RewardNetConfig | None = None,
    fit: FitConfig | None = None,
    drawing: Drawing | None = None,
    teacher: OracleConfig | None = None,
    seed: int = 0,
) -> Reward:
    """Fits a reward to existing pairs of segments.

    Preferences are P(left is better), any number in [0, 1]. A margin is the least log-odds in
    favour of the better side: 2 asks for P >= 0.88. Segments may differ in length.

    Args:
        pairs: The pairs with their preferences.
        env: The environment of the segments: its id, or anything with its two spaces. Not needed
            for a run or a Minari dataset.
        members: Number of members of the reward ensemble.
        net: Settings of the nets; unless ``net.inputs`` is set, they read whatever the segments
            contain.
        fit: Settings of the fit, which always starts from fresh parameters.
        drawing: How pairs are drawn from a dataset of Minari.
        teacher: Errors of the oracle that answers these pairs by true returns.
        seed: Seed of everything random.

    Returns:
        The reward. Its ``about`` has ``labels``, ``holdout_accuracy``, ``holdout_loss`` (nats per
        comparison), ``calibration_error`` (mean distance of predicted from observed preferences
        over ten bins) and ``seconds``. Its ``report`` has the predictions for held-out pairs.

    Raises:
        ConfigError: If the pairs cannot be read, or are not from the environment.
        MissingExtraError: If Minari is needed and not installed.
        NotEnoughDataError: If no pair has a preference.
        RunDirectoryError: If a run is damaged.
    """
    started = time.monotonic()
    spaces_of, about = _spaces_of(pairs, env)
    settings = PreferenceConfig(members=members, net=net or RewardNetConfig())
    data, told = _read(pairs, spaces_of, settings, drawing, teacher, seed)
    segments = list(data.segments.values())
    settings = dataclasses.replace(settings, net=_net_for(settings.net, segments))
    reward = _before_any_fit(spaces_of, settings, about | told)
    _check_all_known(reward, segments)
    report = fit_once(
        reward.net,
        data.comparisons,
        data.segments,
        sample([segment for segment in segments if not segment.is_over]),
        config=dataclasses.replace(fit or FitConfig(), restart=True, anchor=False),
        seed=(seed, 0),
        l2=None,
        calibrate_on="labelled",
    )
    reward.report = report
    reward.about |= _told_by(report) | {"seconds": round(time.monotonic() - started, 2)}
    return reward


def _before_any_fit(env: HasSpaces, settings: PreferenceConfig, about: dict[str, Any]) -> Reward:
    net = step_reward(env, settings)
    return Reward(net, env.observation_space, env.action_space, about)


def _check_all_known(reward: Reward, segments: Sequence[Segment]) -> None:
    """Refuses segments that lack an input of the net."""
    for segment in segments:
        reward.segment(segment)


def _told_by(report: FitReport) -> dict[str, Any]:
    return {
        "labels": report.n_comparisons,
        "holdout_accuracy": report.holdout_accuracy,
        "holdout_loss": report.holdout_loss,
        "calibration_error": _calibration_error(report),
    }


@dataclass(frozen=True)
class _Spaces:
    observation_space: Any
    action_space: Any


def _spaces_of(pairs: Pairs, env: str | HasSpaces | None) -> tuple[HasSpaces, dict[str, Any]]:
    """Returns the spaces of the segments, and what is known of their origin."""
    if isinstance(env, str):
        check_environment(env, EnvConfig())
        made = make_env(env, EnvConfig())
        made.close()
        return _Spaces(made.observation_space, made.action_space), {"env_id": env}
    if env is not None:
        return env, {}
    if (run := _run_of(pairs)) is not None:
        told = run.read_json(run.config)
        if "env_id" not in told:
            raise ConfigError(
                f"expected a run of an agent in an environment, but {run.root} is of a language "
                "model; use its reward by prefrl.text.trl."
            )
        settings = EnvConfig.from_json(told.get("env", {}))
        made = make_env(told["env_id"], settings)
        made.close()
        return _Spaces(made.observation_space, made.action_space), {"env_id": told["env_id"]}
    if isinstance(pairs, str) and pairs.startswith(MINARI):
        dataset = load_minari(pairs.removeprefix(MINARI))
        spec = dataset.spec.env_spec
        about = {} if spec is None else {"env_id": spec.id}
        return _Spaces(dataset.observation_space, dataset.action_space), about
    raise ConfigError("expected the environment that the segments are from; give env.")


def _run_of(pairs: Pairs) -> RunDirectory | None:
    if isinstance(pairs, RunDirectory):
        return pairs
    if isinstance(pairs, str | os.PathLike) and Path(pairs).is_dir():
        return RunDirectory.open(pairs)
    return None


def _read(
    pairs: Pairs,
    env: HasSpaces,
    settings: PreferenceConfig,
    drawing: Drawing | None,
    teacher: OracleConfig | None,
    seed: int,
) -> tuple[PairData, dict[str, Any]]:
    n_before = step_reward(env, settings).n_before
    reader = Reader(env.observation_space, env.action_space, n_before=n_before)
    if (run := _run_of(pairs)) is not None:
        return pairs_of_run(run, reader), {"run": run.root.name}
    if isinstance(pairs, str) and pairs.startswith(MINARI):
        name = pairs.removeprefix(MINARI)
        data = pairs_of_minari(
            name,
            reader,
            drawing=drawing or Drawing(),
            teacher=teacher or OracleConfig(),
            seed=seed,
        )
        return data, {"dataset": name}
    assert not isinstance(pairs, RunDirectory)  # handled above
    if isinstance(pairs, str | os.PathLike):
        return read_pairs(Path(pairs), reader), {"dataset": Path(pairs).name}
    return pairs_of(pairs, reader), {}


def _net_for(net: RewardNetConfig, segments: Sequence[Segment]) -> RewardNetConfig:
    """Decides what nets read: transitions if all segments have them and one shows an ending."""
    if net.inputs != "auto":
        return net
    whole = all(segment.next_observations is not None for segment in segments)
    ends = any(segment.n_held for segment in segments)
    return dataclasses.replace(net, inputs="transition" if whole and ends else "action")


def _calibration_error(report: FitReport) -> float:
    known = np.isfinite(report.holdout_probability)
    probability: NDArray[np.float64] = report.holdout_probability[known]
    preference = report.preference[known]
    if not len(probability):
        return math.nan
    bins = np.minimum((probability * _CALIBRATION_BINS).astype(int), _CALIBRATION_BINS - 1)
    distances = [
        abs(float(np.sum(probability[bins == one] - preference[bins == one])))
        for one in np.unique(bins)
    ]
    return sum(distances) / len(probability)
