"""Adapts to a script's surroundings: normalised observations, and evaluations during training."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import numpy as np
from gymnasium import spaces
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import (
    BaseCallback,
    CallbackList,
    EvalCallback,
    EventCallback,
)
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper
from stable_baselines3.common.vec_env.base_vec_env import VecEnvObs, VecEnvStepReturn

from prefrl.control.environments.hide_reward import HideReward
from prefrl.errors import ConfigError

__all__ = ["advise_normalization", "match_evaluations"]

_log = logging.getLogger(__name__)
_MODERATE = 10.0  # observations with larger bounds were not scaled on purpose
_advised: set[type[BaseAlgorithm]] = set()


class _ShownReward(VecEnvWrapper):
    """Changes nothing, and takes the place of the training environments' ``HideReward``.

    Stable-Baselines3 copies the statistics of a ``VecNormalize`` to the one at the same depth.
    """

    def reset(self) -> VecEnvObs:
        """Resets all environments."""
        return self.venv.reset()

    def step_wait(self) -> VecEnvStepReturn:
        """Waits for the step."""
        return self.venv.step_wait()


def advise_normalization(model: BaseAlgorithm) -> None:
    """Advises, once per algorithm, to standardise observations if they are not.

    Off-policy algorithms do not need it, nor do observations with bounds of at most 10.
    """
    space = model.observation_space
    if (
        not isinstance(model, OnPolicyAlgorithm)
        or type(model) in _advised
        or model.get_vec_normalize_env() is not None
        or not isinstance(space, spaces.Box)
        or len(space.shape) != 1
        or float(np.abs([space.low, space.high]).max()) <= _MODERATE
    ):
        return
    _advised.add(type(model))
    name = type(model).__name__
    _log.warning(
        "%s sees observations as the environment gives them, and seldom learns well from those; "
        "write venv = VecNormalize(prefrl.HideReward(venv), norm_reward=False), and take the "
        "settings of prefrl.agent_settings(ENV_ID, %r).",
        name,
        name.lower(),
    )


def match_evaluations(callback: Any, model: BaseAlgorithm) -> None:
    """Lets an ``EvalCallback`` with ordinary environments use the training's statistics.

    Args:
        callback: The callbacks of this training, as in ``learn()``.
        model: The agent.

    Raises:
        ConfigError: If the evaluation's environments are not wrapped like those of the training.
    """
    training = model.get_env()
    if training is None or model.get_vec_normalize_env() is None:
        return
    for evaluation in _evaluations(callback):
        evaluation.eval_env = _matched(training, evaluation.eval_env)


def _evaluations(callback: Any) -> Iterator[EvalCallback]:
    inner: list[BaseCallback | None] = []
    if isinstance(callback, CallbackList):
        inner = list(callback.callbacks)
    elif isinstance(callback, EventCallback):
        inner = [callback.callback]
    if isinstance(callback, EvalCallback):
        yield callback
    for one in inner:
        yield from _evaluations(one)


def _matched(training: VecEnv, evaluation: VecEnv) -> VecEnv:
    """Returns the evaluation's environments, with as many wrappers as those of the training."""
    outermost, above = evaluation, None
    here: VecEnv = training
    there: VecEnv = evaluation
    while isinstance(here, VecEnvWrapper):
        if isinstance(here, HideReward) and not isinstance(there, HideReward | _ShownReward):
            there = _ShownReward(there)
            if above is None:
                outermost = there
            else:
                above.venv = there
        elif not isinstance(here, HideReward) and type(here) is not type(there):
            raise ConfigError(
                "expected the evaluation environment of EvalCallback to be wrapped as the training "
                f"environment is, {_wrappers(training)}, got {_wrappers(evaluation)}; write "
                "VecNormalize(make_vec_env(ENV_ID), training=False, norm_reward=False), with the "
                "other wrappers of the training environment but HideReward."
            )
        assert isinstance(there, VecEnvWrapper)  # both are of the same kind
        here, above, there = here.venv, there, there.venv
    return outermost


def _wrappers(venv: VecEnv) -> str:
    """Returns the names of the wrappers' classes, from the outside to the inside."""
    names = [type(venv).__name__]
    while isinstance(venv, VecEnvWrapper):
        venv = venv.venv
        names.append(type(venv).__name__)
    return " of ".join(names)
