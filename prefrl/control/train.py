"""The whole algorithm, from a config to a run directory: in one process or in three."""

from __future__ import annotations

import sys
from collections.abc import Callable

import torch

from prefrl.control.agent_role import AgentRole
from prefrl.control.callback import Metrics, PreferenceCallback
from prefrl.control.config import TrainConfig, check_horizon, config_as_json, config_from_json
from prefrl.control.devices import choose_devices
from prefrl.control.finish import Result, finish_run
from prefrl.control.items import Items
from prefrl.control.segments import Segment
from prefrl.core.comparisons import Answer
from prefrl.core.oracle import Oracle, as_oracle
from prefrl.core.store import LabelStore
from prefrl.errors import RunDirectoryError
from prefrl.runtime.labeller import Labeller
from prefrl.runtime.role import Heartbeat, StopSignal, only_one
from prefrl.runtime.rundir import RunDirectory, installed_versions, last_row
from prefrl.runtime.supervisor import RoleCommand, Supervisor

__all__ = ["Result", "resume", "train"]

AnyOracle = Oracle | Callable[[Segment, Segment], Answer | str | bool]


def train(
    config: TrainConfig,
    *,
    oracle: AnyOracle | None = None,
    on_rollout: Callable[[Metrics], None] | None = None,
) -> Result:
    """Trains an agent from comparisons of segments, and writes the run directory.

    SIGTERM and Ctrl-C save and stop; ``resume`` goes on.

    Args:
        config: What to do.
        oracle: Who answers, instead of the config's. It is called in this process.
        on_rollout: Called with new rows of metrics: each one with ``sync``, else the newest.

    Returns:
        The run directory and its summary.

    Raises:
        PrefrlError: Before anything starts, if the config cannot work.
        RoleError: If a role of the asynchronous run cannot go on.
    """
    check_horizon(config)
    choose_devices(config.device)
    run = RunDirectory.create(config.run_path)
    run.write_json(run.versions, installed_versions())
    run.write_json(run.config, config_as_json(config))
    return _work(config, run, oracle, on_rollout)


def resume(
    run: RunDirectory,
    *,
    oracle: AnyOracle | None = None,
    on_rollout: Callable[[Metrics], None] | None = None,
) -> Result:
    """Goes on with a run that was stopped or killed.

    Args:
        run: Which run.
        oracle: Who answers, instead of the config's: the same as before.
        on_rollout: As in ``train``.

    Returns:
        The run directory and its summary.

    Raises:
        RunDirectoryError: If the run has come to its end already.
        RoleError: If another process works on it.
    """
    if run.summary.is_file():
        raise RunDirectoryError(
            f"expected a run that is not finished, but {run.root} has its summary.json; look at it "
            f"with prefrl report {run.root}, or start a new run."
        )
    config = config_from_json(run.read_json(run.config))
    check_horizon(config)
    run.make_folders()
    return _work(config, run, oracle, on_rollout)


def _work(
    config: TrainConfig,
    run: RunDirectory,
    oracle: AnyOracle | None,
    on_rollout: Callable[[Metrics], None] | None,
) -> Result:
    """Trains to the end or until told to stop, then evaluates."""
    torch.set_num_threads(config.threads)
    way = _in_one_process if config.sync else _side_by_side
    with only_one(run, "supervisor"), StopSignal() as stop:
        trained = run.policy.is_file()  # killed in the middle of the final evaluation
        if not trained and not way(config, run, oracle, on_rollout or (lambda row: None), stop):
            return Result(run=run, summary={}, notes=[])
        # Told to stop now, it still finishes: all is trained, and this takes seconds.
        return finish_run(config, run)


def _in_one_process(
    config: TrainConfig,
    run: RunDirectory,
    oracle: AnyOracle | None,
    on_rollout: Callable[[Metrics], None],
    stop: StopSignal,
) -> bool:
    """Agent, learner and labeller take turns; says whether the training came to its end."""
    preferences = PreferenceCallback(
        config.preferences, oracle=oracle, run=run, seed=config.seed, on_rollout=on_rollout
    )
    with only_one(run, "agent"):
        heartbeat = Heartbeat(run, "agent")
        role = AgentRole(config, run, preferences, stop=stop, heartbeat=heartbeat)
        while role.step():
            pass
        if role.done:
            role.finish()
        return role.done


def _side_by_side(
    config: TrainConfig,
    run: RunDirectory,
    oracle: AnyOracle | None,
    on_rollout: Callable[[Metrics], None],
    stop: StopSignal,
) -> bool:
    """A process for each role; says whether the training came to its end."""
    roles = ["agent", "learner"] + (["labeller"] if oracle is None else [])
    with LabelStore(run.labels) as store:  # made, or checked, before the roles open it
        items = Items(run, states=False)
        labeller = None if oracle is None else Labeller(store, items, as_oracle(oracle))
        shown: Metrics | None = None

        def poll() -> bool:
            nonlocal shown
            newest = last_row(run.metrics)
            if newest is not None and newest != shown:
                shown = newest
                on_rollout(newest)
            if labeller is not None:
                labeller.step()
            return stop.requested

        with Supervisor(run, [_command(role, run) for role in roles]) as supervisor:
            return supervisor.watch(poll=poll)


def _command(role: str, run: RunDirectory) -> RoleCommand:
    argv = [sys.executable, "-m", "prefrl.control.process", role, str(run.root)]
    return RoleCommand(role, argv)
