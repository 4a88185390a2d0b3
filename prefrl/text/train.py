"""Aligning a language model, from a config to a run directory: in one process or in three.

In a launch of several processes the first one does what a single process does; its agent and the
other processes share the work with the policy.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from prefrl.core.comparisons import Answer
from prefrl.core.oracle import Oracle, as_oracle
from prefrl.core.store import LabelStore
from prefrl.core.store.waiting import patient
from prefrl.errors import (
    ConfigError,
    NonFiniteError,
    NotEnoughDataError,
    RoleError,
    RunDirectoryError,
)
from prefrl.runtime.devices import use_cpu
from prefrl.runtime.judge.config import write_task
from prefrl.runtime.labeller import Labeller
from prefrl.runtime.learner import RewardLearner
from prefrl.runtime.partners import Together
from prefrl.runtime.remote.places import check_media, keep_media_at
from prefrl.runtime.roles.parallel import join_workers, launched_as, own_device
from prefrl.runtime.roles.role import Heartbeat, StopSignal, only_one
from prefrl.runtime.roles.side_by_side import OnAgent, running_beside, work_side_by_side
from prefrl.runtime.roles.supervisor import RoleCommand
from prefrl.runtime.rundir import RunDirectory
from prefrl.runtime.rundir.saving import HAS_STOPPED
from prefrl.runtime.rundir.tables import Metrics, seconds_in
from prefrl.runtime.rundir.versions import about_this_release
from prefrl.text.agent import TextAgent
from prefrl.text.config import AlignConfig, align_config_from_json, config_as_json
from prefrl.text.data.intake import bring_in, is_brought
from prefrl.text.finish import AlignResult, finish_run, save_policy
from prefrl.text.judging import responses_task
from prefrl.text.policy_work import PolicyWork, check_shareable, how_to_go_on
from prefrl.text.responses import Response, Responses
from prefrl.text.start import (
    check_adapters,
    check_start,
    check_texts,
    data_of,
    first_reward,
    gold_of,
    new_reward,
    prompts_of,
    starting_model,
    synthetic_oracle,
)

__all__ = ["align", "resume_alignment", "role_command"]

Beside = Callable[[RunDirectory], Sequence[RoleCommand]]
AnyOracle = Oracle | Callable[[Response, Response], Answer | str | bool]

_FORMAT = 2
"""Format version of a run's tables and responses. It grows when older runs cannot continue."""

# Raised in all processes of a launch at the same place, or because the first one has ended.
_TOLD_BY_THE_FIRST = (ConfigError, NotEnoughDataError, NonFiniteError, RoleError)


@dataclass(frozen=True)
class _Caller:
    """The caller's oracle and callbacks, and when it began."""

    oracle: AnyOracle | None
    on_rollout: Callable[[Metrics], None]
    on_agent: OnAgent
    beside: Beside
    on_evaluation: Callable[[float], None]
    began: float


def align(
    config: AlignConfig,
    *,
    oracle: AnyOracle | None = None,
    on_rollout: Callable[[Metrics], None] = lambda row: None,
    on_agent: OnAgent = lambda status, counts: None,
    beside: Beside = lambda run: (),
    on_evaluation: Callable[[float], None] = lambda share: None,
    on_data: Callable[[str], None] = lambda told: None,
) -> AlignResult:
    """Aligns a language model with comparisons of its responses, and writes the run directory.

    SIGTERM and Ctrl-C save and stop; ``resume_alignment`` continues.

    Args:
        config: Config of the run.
        oracle: Answers instead of the config's oracle: an object with ``compare(left, right)`` or
            a function of two ``Response``. It is called in this process.
        on_rollout: Called with new rows of metrics.
        on_agent: Called with the status of the policy's process.
        beside: Returns the commands that run beside until the evaluation is done; the run can do
            without them. Not called with ``sync``.
        on_evaluation: Called with the share of the final evaluation that is done.
        on_data: Called with what was recognised in the data, before anything starts.

    Returns:
        The run directory and its summary: empty if it was stopped, and in all processes of a
        launch but the first.

    Raises:
        PrefrlError: Before anything starts, if the config cannot work.
        RoleError: If a role of the asynchronous run cannot go on.
    """
    began = time.monotonic()
    rank, n_processes = launched_as()
    if rank > 0:
        return _follow(config, RunDirectory(config.run_path))
    own_device(config.device)
    check_shareable(config, n_processes)
    language = starting_model(config)
    prompts_of(config, language)
    items, told = check_start(config, language)
    check_adapters(config, language)
    check_texts(config, language)
    gold_of(config)
    task = None
    if config.oracle == "ai" and oracle is None:
        task = responses_task(config.judge, config.goal)
    check_media(config.media)
    run = RunDirectory.create(config.run_path, database=config.store)
    keep_media_at(run, config.media)
    if task is not None:
        write_task(run, task)
    run.write_json(run.versions, about_this_release() | {"text_format": _FORMAT})
    run.write_json(run.config, config_as_json(config))
    if config.data is not None:
        on_data(told)
        bring_in(items, run)
    del items, language  # frees their memory
    return _work(config, run, _Caller(oracle, on_rollout, on_agent, beside, on_evaluation, began))


def resume_alignment(
    run: RunDirectory,
    *,
    oracle: AnyOracle | None = None,
    on_rollout: Callable[[Metrics], None] = lambda row: None,
    on_agent: OnAgent = lambda status, counts: None,
    beside: Beside = lambda run: (),
    on_evaluation: Callable[[float], None] = lambda share: None,
) -> AlignResult:
    """Continues a run that was stopped or killed; the arguments are those of ``align``.

    Raises:
        RunDirectoryError: If the run is finished, or another release began it and wrote its tables
            and responses differently.
        RoleError: If another process works on it.
    """
    config = align_config_from_json(run.read_json(run.config))
    began = time.monotonic() - seconds_in(run.metrics)
    rank, n_processes = launched_as()
    if rank > 0:
        return _follow(config, run)
    run.check_unfinished()
    _check_format(run)
    own_device(config.device)
    check_shareable(config, n_processes)
    run.make_folders()
    if config.data is not None and not is_brought(run):  # killed before it was stored
        bring_in(data_of(config, starting_model(config))[0], run)
    return _work(config, run, _Caller(oracle, on_rollout, on_agent, beside, on_evaluation, began))


def _check_format(run: RunDirectory) -> None:
    told = run.read_json(run.versions) if run.versions.is_file() else {}
    found = told.get("text_format", 1)
    if found != _FORMAT:
        raise RunDirectoryError(
            f"expected a run of texts of format {_FORMAT}, but {run.root} is of format {found}: "
            "its tables and responses have other names. Continue with the release of prefrl that "
            "began it, or start a new run."
        )


def _work(config: AlignConfig, run: RunDirectory, caller: _Caller) -> AlignResult:
    use_cpu(config.threads)
    way = _in_one_process if config.sync else _side_by_side
    with (
        only_one(run, "supervisor"),
        StopSignal() as stop,
        running_beside(run, _beside(config, run, caller)),
    ):
        if (run.model / "config.json").is_file():  # killed in the final evaluation
            with join_workers(config.device):
                pass  # nothing follows
        elif not way(config, run, caller, stop):
            return AlignResult(run=run, summary={})
        with patient(lambda state: stop.requested):
            return finish_run(config, run, on_share=caller.on_evaluation, began=caller.began)


def _follow(config: AlignConfig, run: RunDirectory) -> AlignResult:
    """Shares the work with the policy, in a process of a launch that is not the first."""
    use_cpu(config.threads)
    # It joins before it loads: what the first process finds wrong, only that one reports.
    with join_workers(config.device) as workers, StopSignal():  # the first one says when to stop
        language = starting_model(config, own_device(config.device))
        reward = new_reward(config, language, shares=config.lora.used)
        work = PolicyWork(config, language, reward, Responses(run), workers)
        with contextlib.suppress(*_TOLD_BY_THE_FIRST):
            work.follow()
    return AlignResult(run=run, summary={})


def _beside(config: AlignConfig, run: RunDirectory, caller: _Caller) -> Sequence[RoleCommand]:
    """Commands that run until the evaluation is done; none in one process."""
    if config.sync:
        return ()
    LabelStore(run.label_store).close()  # made, or checked, before others open it
    return caller.beside(run)


def _in_one_process(
    config: AlignConfig, run: RunDirectory, caller: _Caller, stop: StopSignal
) -> bool:
    """Runs policy, learner and labeller in turns; returns whether the training was finished."""

    def partners(agent: TextAgent) -> Together:
        responses = agent.responses
        oracle = (
            synthetic_oracle(config, responses)
            if caller.oracle is None
            else as_oracle(caller.oracle)
        )
        learner = RewardLearner(
            agent.reward,
            agent.store,
            responses,
            config=config.learner,
            seed=config.seed,
            run=run,
            first=first_reward(config, agent.reward),
        )
        labeller = Labeller(agent.store, responses, oracle)
        both = Together(labeller, learner, agent.questioner, agent.samples)
        both.begin()
        return both

    heartbeat = Heartbeat(run, "agent", tell=lambda status: caller.on_agent(status, None))
    with (
        only_one(run, "agent"),
        LabelStore(run.label_store) as store,
        join_workers(config.device, advice=how_to_go_on(run)) as workers,
    ):
        agent = TextAgent(
            config,
            run,
            store,
            partners=partners,
            stop=stop,
            heartbeat=heartbeat,
            on_rollout=caller.on_rollout,
            workers=workers,
        )
        while agent.step():
            pass
        if agent.done:
            save_policy(agent.result(), run)
        else:
            heartbeat.beat(HAS_STOPPED)
        return agent.done


def _side_by_side(
    config: AlignConfig, run: RunDirectory, caller: _Caller, stop: StopSignal
) -> bool:
    """Runs a process for each role; returns whether the training was finished."""
    names = ["agent", "learner"]
    if config.oracle != "human" and caller.oracle is None:
        names.append("judge" if config.oracle == "ai" else "labeller")
    roles = [role_command(name, run) for name in names]
    with LabelStore(run.label_store) as store:  # made, or checked, before the roles open it
        labeller = None
        if caller.oracle is not None:
            labeller = Labeller(store, Responses(run), as_oracle(caller.oracle))
        return work_side_by_side(
            run,
            store,
            roles,
            labeller=labeller,
            on_rollout=caller.on_rollout,
            on_agent=caller.on_agent,
            stop=stop,
        )


def role_command(role: str, run: RunDirectory, *, essential: bool = True) -> RoleCommand:
    """The command that starts a role of ``prefrl.text.process``."""
    argv = [sys.executable, "-m", "prefrl.text.process", role, str(run.root)]
    saves = {"agent": run.checkpoints, "learner": run.reward}.get(role)
    # A new agent could not join the processes that were connected to the old one.
    restarts = role != "agent" or launched_as()[1] == 1
    return RoleCommand(role, argv, essential, restarts=restarts, saves=saves)
