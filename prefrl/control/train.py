"""A whole training, from a config to a run directory: in one process or in several."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from prefrl.control.agent.callback import Metrics, PreferenceCallback
from prefrl.control.agent_role import AgentRole
from prefrl.control.config import (
    TrainConfig,
    check_horizon,
    check_spaces_of_run,
    config_as_json,
    config_from_json,
    devices_of,
    with_settings,
)
from prefrl.control.environments.making import describe_spaces
from prefrl.control.environments.source import make_env
from prefrl.control.films.drawing import check_drawable
from prefrl.control.finish import Result, finish_run
from prefrl.control.items import Items
from prefrl.control.judging import clips_task
from prefrl.control.learned.taking import take_along
from prefrl.control.learned.to_label import check_has_agent
from prefrl.control.roles import role_command
from prefrl.control.shortening import most_steps
from prefrl.control.tracking import check_tracker
from prefrl.core.comparisons import Answer
from prefrl.core.oracle import Oracle, as_oracle, load_oracle
from prefrl.core.store import LabelStore
from prefrl.core.store.waiting import patient
from prefrl.errors import ConfigError, RunDirectoryError
from prefrl.runtime.devices import use_cpu
from prefrl.runtime.figures import check_figures
from prefrl.runtime.judge.config import write_task
from prefrl.runtime.labeller import Labeller
from prefrl.runtime.remote.places import check_media, keep_media_at
from prefrl.runtime.roles.role import Heartbeat, StopSignal, only_one
from prefrl.runtime.roles.side_by_side import OnAgent, running_beside, work_side_by_side
from prefrl.runtime.roles.supervisor import RoleCommand
from prefrl.runtime.rundir import RunDirectory
from prefrl.runtime.rundir.checkpoint import load_checkpoint
from prefrl.runtime.rundir.saving import HAS_STOPPED
from prefrl.runtime.rundir.versions import about_this_release

__all__ = ["Result", "extend", "extended_config", "resume", "train"]

AnyOracle = Oracle | Callable[..., Answer | str | bool]


@dataclass(frozen=True)
class _Caller:
    """Arguments of the caller of ``train`` or ``resume``."""

    oracle: AnyOracle | None
    on_rollout: Callable[[Metrics], None]
    on_agent: OnAgent
    beside: Callable[[RunDirectory], Sequence[RoleCommand]]


def train(
    config: TrainConfig,
    *,
    oracle: AnyOracle | None = None,
    on_rollout: Callable[[Metrics], None] | None = None,
    on_agent: OnAgent | None = None,
    beside: Callable[[RunDirectory], Sequence[RoleCommand]] | None = None,
) -> Result:
    """Trains an agent from comparisons of segments, and writes the run directory.

    SIGTERM and Ctrl-C save and stop, except in a thread; ``resume`` continues. If people answer
    according to the config, films are made for them; the page that shows the films is served by
    ``prefrl label``, or started as ``beside``.

    Args:
        config: Config of the training.
        oracle: An oracle that replaces the config's. It is called in this process.
        on_rollout: Called with new rows of metrics: with each row if ``sync``, else the newest.
        on_agent: Called with each new status of the agent and, while it waits for answers, the
            counts of queries.
        beside: Returns commands of optional roles to run until the evaluation is done; not used
            with ``sync``.

    Returns:
        The run directory and its summary.

    Raises:
        PrefrlError: Before anything starts, if the config cannot work.
        RoleError: If a role of the asynchronous run cannot go on.
    """
    if (most := most_steps()) is not None:
        config = dataclasses.replace(config, steps=min(config.steps, most))
    _check(config, oracle)
    config, _ = with_settings(config)
    content = config_as_json(config)
    task = clips_task(config.judge, content) if config.oracle == "ai" and oracle is None else None
    check_media(config.media)
    run = RunDirectory.create(config.run_path, database=config.store)
    keep_media_at(run, config.media)
    if task is not None:
        write_task(run, task)
    run.write_json(run.versions, about_this_release())
    try:
        _take_along(config, run)
    except BaseException:  # nothing has begun, so the directory is freed for another try
        run.remove()
        raise
    run.write_json(run.config, content)
    run.write_json(run.spaces, describe_spaces(config.env_id, config.env))
    return _work(config, run, _caller(oracle, on_rollout, on_agent, beside))


def resume(
    run: RunDirectory,
    *,
    oracle: AnyOracle | None = None,
    on_rollout: Callable[[Metrics], None] | None = None,
    on_agent: OnAgent | None = None,
    beside: Callable[[RunDirectory], Sequence[RoleCommand]] | None = None,
) -> Result:
    """Continues a run that was stopped or killed.

    Args:
        run: The run directory.
        oracle: An oracle that replaces the config's; use the same one as before.
        on_rollout: As in ``train``.
        on_agent: As in ``train``.
        beside: As in ``train``.

    Returns:
        The run directory and its summary.

    Raises:
        RunDirectoryError: If the run is already finished, or a script made it.
        RoleError: If another process works on it.
    """
    run.check_unfinished()
    _check_made_by_train(run)
    config = config_from_json(run.read_json(run.config))
    _check(config, oracle)
    check_spaces_of_run(config, run)
    run.make_folders()
    return _work(config, run, _caller(oracle, on_rollout, on_agent, beside))


def extend(
    run: RunDirectory,
    *,
    steps: int,
    labels: int = 0,
    oracle: AnyOracle | None = None,
    on_rollout: Callable[[Metrics], None] | None = None,
    on_agent: OnAgent | None = None,
    beside: Callable[[RunDirectory], Sequence[RoleCommand]] | None = None,
) -> Result:
    """Continues a finished run with more steps and, optionally, more labels.

    The agent continues where it ended. Whatever decreases over a training, such as the rate of
    labels and learning rates, is then as in a training with all these steps.

    Args:
        run: The run directory. Its summary and policy are removed, and written again at the end.
        steps: Environment steps to add.
        labels: Comparisons to ask for in addition to the earlier ones.
        oracle: An oracle that replaces the config's.
        on_rollout: As in ``train``.
        on_agent: As in ``train``.
        beside: As in ``train``.

    Returns:
        The run directory and its new summary.

    Raises:
        ConfigError: If there are no steps to add, or too few for the labels.
        RunDirectoryError: If the run is not finished, a script made it, or no checkpoint is left to
            continue from.
        RoleError: If another process works on it.
    """
    extended_config(run, steps=steps, labels=labels, oracle=oracle)
    with only_one(run, "supervisor"):
        config = extended_config(run, steps=steps, labels=labels, oracle=oracle)
        # Wherever it is killed in here, resume finishes the old training or the new one.
        run.summary.unlink()
        run.policy.unlink(missing_ok=True)
        run.write_json(run.config, config_as_json(config))
    return resume(run, oracle=oracle, on_rollout=on_rollout, on_agent=on_agent, beside=beside)


def extended_config(
    run: RunDirectory, *, steps: int, labels: int = 0, oracle: AnyOracle | None = None
) -> TrainConfig:
    """Returns the config of a longer training, after checking it.

    Args:
        run: A finished run.
        steps: Environment steps to add.
        labels: Comparisons to add.
        oracle: As in ``extend``.

    Raises:
        PrefrlError: As ``extend``.
    """
    if steps < 1 or labels < 0:
        raise ConfigError(f"expected at least 1 step to add, got {steps}, with {labels} labels.")
    _check_made_by_train(run)
    if not run.summary.is_file():
        raise RunDirectoryError(
            f"expected a finished run, but {run.root} is not finished; continue it with "
            f"prefrl resume {run.root}, and then extend it."
        )
    if load_checkpoint(run.checkpoints) is None:
        raise RunDirectoryError(
            f"expected a checkpoint in {run.checkpoints} to continue from, found none; begin "
            f"another run with its answers, prefrl train --labels-from {run.root}."
        )
    config = config_from_json(run.read_json(run.config))
    preferences = dataclasses.replace(config.preferences, labels=config.preferences.labels + labels)
    config = dataclasses.replace(config, steps=config.steps + steps, preferences=preferences)
    _check(config, oracle)
    check_spaces_of_run(config, run)
    return config


def _check_made_by_train(run: RunDirectory) -> None:
    check_has_agent(run.read_json(run.config))
    if run.script.is_file():
        raise RunDirectoryError(
            f"expected a run of prefrl train, but {run.root} was made by a script; run the script "
            "again, with prefrl.resume_script before learn()."
        )


def _check(config: TrainConfig, oracle: AnyOracle | None) -> None:
    if oracle is None and config.own_oracle is not None:
        oracle = load_oracle(config.own_oracle)
    if oracle is not None:
        as_oracle(oracle, true_rewards=lambda item: np.empty(0))
    check_figures(config.figure)
    check_tracker(config.track)
    check_horizon(config)
    devices_of(config)
    if config.asks_people or config.oracle == "ai":
        check_drawable(config.env_id, config.env)


def _caller(
    oracle: AnyOracle | None,
    on_rollout: Callable[[Metrics], None] | None,
    on_agent: OnAgent | None,
    beside: Callable[[RunDirectory], Sequence[RoleCommand]] | None,
) -> _Caller:
    return _Caller(
        oracle=oracle,
        on_rollout=on_rollout or (lambda row: None),
        on_agent=on_agent or (lambda status, counts: None),
        beside=beside or (lambda run: ()),
    )


def _take_along(config: TrainConfig, run: RunDirectory) -> None:
    """Copies answers or a reward of other runs into the run directory, if there are any."""
    if not config.preferences.takes_along:
        return
    env = make_env(config.env_id, config.env)
    with LabelStore(run.label_store) as store:
        take_along(config.preferences, env, store, Items(run), run)
    env.close()


def _work(config: TrainConfig, run: RunDirectory, caller: _Caller) -> Result:
    """Trains, and evaluates unless it was told to stop before the end of the training."""
    use_cpu(config.threads)
    way = _in_one_process if config.sync else _side_by_side
    with (
        only_one(run, "supervisor"),
        StopSignal() as stop,
        running_beside(run, _beside(config, run, caller)),
    ):
        trained = run.policy.is_file()  # true if it was killed during the final evaluation
        if not trained and not way(config, run, caller, stop):
            return Result(run=run, summary={}, notes=[])
        # Even if told to stop now, it finishes: the training is done, and this takes seconds.
        with patient(lambda state: stop.requested):
            return finish_run(config, run)


def _beside(config: TrainConfig, run: RunDirectory, caller: _Caller) -> Sequence[RoleCommand]:
    """Returns commands of roles that run until the evaluation is done; none in one process."""
    if config.sync:
        return ()
    LabelStore(run.label_store).close()  # makes or checks the store before others open it
    return caller.beside(run)


def _in_one_process(
    config: TrainConfig, run: RunDirectory, caller: _Caller, stop: StopSignal
) -> bool:
    """Runs agent, learner and labeller in turns; returns whether the training was completed."""
    oracle = caller.oracle
    if oracle is None and config.own_oracle is not None:
        oracle = load_oracle(config.own_oracle)
    preferences = PreferenceCallback(
        config.preferences,
        oracle=oracle,
        run=run,
        seed=config.seed,
        on_rollout=caller.on_rollout,
    )
    with only_one(run, "agent"):
        heartbeat = Heartbeat(run, "agent", tell=lambda status: caller.on_agent(status, None))
        role = AgentRole(config, run, preferences, stop=stop, heartbeat=heartbeat)
        while role.step():
            pass
        if role.done:
            role.finish()
        else:
            heartbeat.beat(HAS_STOPPED)
        return role.done


def _side_by_side(
    config: TrainConfig, run: RunDirectory, caller: _Caller, stop: StopSignal
) -> bool:
    """Runs a process per role; returns whether the training was completed."""
    oracle = caller.oracle
    with LabelStore(run.label_store) as store:  # makes or checks it before the roles open it
        items = Items(run, states=False)
        labeller = None
        if oracle is not None:
            judge = as_oracle(oracle, true_rewards=items.true_rewards)
            labeller = Labeller(store, items, judge)
        roles = _roles(config, run, labels_here=oracle is not None)
        return work_side_by_side(
            run,
            store,
            roles,
            labeller=labeller,
            on_rollout=caller.on_rollout,
            on_agent=caller.on_agent,
            stop=stop,
        )


def _roles(config: TrainConfig, run: RunDirectory, *, labels_here: bool) -> list[RoleCommand]:
    """Returns commands of the run's roles, each for its own process."""
    roles = [role_command("agent", run), role_command("learner", run)]
    if config.oracle != "human" and not labels_here:
        roles.append(role_command("judge" if config.oracle == "ai" else "labeller", run))
    if config.asks_people:
        # Not essential: existing films last people for a while, and the agent does not need any.
        roles.append(role_command("renderer", run, essential=False))
    return roles
