"""The processes of an asynchronous run: ``python -m prefrl.text.process ROLE RUN``.

Learner, labeller and supervisor are the same as for an agent in an environment; only the items and
the agent differ.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

from prefrl.core.oracle import OracleConfig
from prefrl.core.store import LabelStore
from prefrl.runtime.devices import choose_devices, use_cpu
from prefrl.runtime.judge.config import read_task
from prefrl.runtime.judge.serving import cache_of, serve_judge
from prefrl.runtime.labeller import Labeller
from prefrl.runtime.learner import RewardLearner
from prefrl.runtime.own.folder import is_own
from prefrl.runtime.own.items import OwnTexts
from prefrl.runtime.partners import Apart, Patience
from prefrl.runtime.people.presence import Attendance
from prefrl.runtime.roles.parallel import join_workers
from prefrl.runtime.roles.role import Heartbeat, StopSignal, waiting_in
from prefrl.runtime.roles.role_process import RoleWork, run_role
from prefrl.runtime.roles.serving import serve_labeller, serve_learner
from prefrl.runtime.roles.supervisor import STOPPED
from prefrl.runtime.rundir import RunDirectory
from prefrl.text.agent import TextAgent
from prefrl.text.candidates import load_recent
from prefrl.text.config import align_config_from_json
from prefrl.text.finish import save_policy
from prefrl.text.gold import load_gold, text_oracle
from prefrl.text.judging import chooser_for
from prefrl.text.nets.layers import trunk_of
from prefrl.text.policy_work import how_to_go_on
from prefrl.text.responses import Responses
from prefrl.text.start import first_reward, new_reward, starting_model, synthetic_oracle

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one role until its work is done or it is told to stop; returns the exit code."""
    return run_role(_ROLES, arguments)


def _agent(run: RunDirectory, heartbeat: Heartbeat, stop: StopSignal) -> int:
    config = align_config_from_json(run.read_json(run.config))
    use_cpu(config.threads)

    def partners(agent: TextAgent) -> Apart:
        apart = Apart(
            run,
            agent.reward,
            agent.questioner,
            agent.store,
            agent.samples,
            config=config.learner,
            patience=Patience(config.max_stale_batches * config.batch, config.unanswered),
            waiting=waiting_in(heartbeat, stop),
        )
        apart.begin(first_reward(config, agent.reward))
        return apart

    with (
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
            workers=workers,
        )
        while agent.step():
            pass
        if not agent.done:
            return STOPPED
        heartbeat.beat("finishing")
        save_policy(agent.result(), run)
    return 0


def _learner(run: RunDirectory, heartbeat: Heartbeat, stop: StopSignal) -> int:
    config = align_config_from_json(run.read_json(run.config))
    use_cpu(config.threads)
    heartbeat.beat("starting")
    device = choose_devices(config.device)[1]
    language = starting_model(config)
    # Each forward pass is a sign of life, even without gradient steps.
    trunk_of(language.model).register_forward_pre_hook(lambda *told: heartbeat.beat())
    reward = new_reward(config, language, shares=True).to(device)
    first = first_reward(config, reward)
    with LabelStore(run.label_store) as store:

        def learner(go_on: Callable[[], bool]) -> RewardLearner:
            return RewardLearner(
                reward,
                store,
                Responses(run),
                config=config.learner,
                seed=config.seed,
                run=run,
                first=first,
                go_on=go_on,
            )

        serve_learner(learner, load_recent, run, heartbeat, stop)
    return STOPPED


def _labeller(run: RunDirectory, heartbeat: Heartbeat, stop: StopSignal) -> int:
    config = align_config_from_json(run.read_json(run.config))
    responses = Responses(run)
    oracle = synthetic_oracle(config, responses)
    with LabelStore(run.label_store) as store:
        people = Attendance(run, store) if config.oracle == "mixed" else None
        serve_labeller(Labeller(store, responses, oracle), heartbeat, stop, people=people)
    return STOPPED


def _judge(run: RunDirectory, heartbeat: Heartbeat, stop: StopSignal) -> int:
    told, task, cache = run.read_json(run.config), read_task(run), cache_of(run)
    heartbeat.beat("starting")
    items: OwnTexts | Responses
    gold, device = None, "auto"
    if is_own(told):  # without a training, and so without gold
        items = OwnTexts(run)
    else:
        config, items = align_config_from_json(told), Responses(run)
        use_cpu(config.threads)
        device = config.device
        if config.gold is not None:
            gold = text_oracle(items, load_gold(config.gold), OracleConfig(), seed=config.seed)
    chooser = chooser_for(task, cache, device=device, beat=heartbeat.beat)
    with LabelStore(run.label_store) as store:
        serve_judge(
            chooser, task, cache, store, items,
            gold=gold, run=run, heartbeat=heartbeat, stop=stop,
        )  # fmt: skip
    return STOPPED


_ROLES: dict[str, RoleWork] = {
    "agent": _agent,
    "learner": _learner,
    "labeller": _labeller,
    "judge": _judge,
}


if __name__ == "__main__":
    sys.exit(main())
