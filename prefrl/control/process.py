"""The processes of an asynchronous run: ``python -m prefrl.control.process ROLE RUN``.

Each needs only the run directory, uses the same objects as a run in one process, and may be killed
at any time. A role loads only what it needs: without torch, a labeller starts in half a second.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from prefrl.control.items import Items, synthetic_oracle
from prefrl.core.oracle import Oracle, OracleConfig, as_oracle, load_oracle
from prefrl.core.store import LabelStore
from prefrl.runtime.labeller import Labeller
from prefrl.runtime.people.presence import Attendance, film_pixels, n_people_present
from prefrl.runtime.roles.role import Heartbeat, StopSignal, waiting_in
from prefrl.runtime.roles.role_process import RoleWork, run_role
from prefrl.runtime.roles.serving import serve, serve_labeller, serve_learner
from prefrl.runtime.roles.supervisor import STOPPED
from prefrl.runtime.rundir import RunDirectory

if TYPE_CHECKING:
    from prefrl.control.agent.callback import PreferenceCallback
    from prefrl.runtime.partners import Apart

__all__ = ["main"]

_STAND_BY = {"renderer"}  # `prefrl label` may have one, and end before the training
_NICENESS = 10  # of judges, of what trains while people answer, and of what draws if none do


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one role until its work is done or it is told to stop; returns the exit code."""
    return run_role(_ROLES, arguments, stand_by=_STAND_BY)


def _agent(run: RunDirectory, heartbeat: Heartbeat, stop: StopSignal) -> int:
    from prefrl.control.agent.callback import PreferenceCallback
    from prefrl.control.agent_role import AgentRole
    from prefrl.control.config import config_from_json
    from prefrl.runtime.devices import use_cpu
    from prefrl.runtime.partners import Apart, Patience

    config = config_from_json(run.read_json(run.config))
    if config.asks_people:
        os.nice(_NICENESS)
    use_cpu(config.threads)

    def partners(callback: PreferenceCallback) -> Apart:
        n_transitions = config.agent.transitions_per_rollout(config.algo)
        apart = Apart(
            run,
            callback.net,
            callback.questioner,
            callback.store,
            callback.samples,
            config=config.preferences.learner,
            patience=Patience(
                config.preferences.max_stale_rollouts * n_transitions, config.max_unanswered
            ),
            waiting=waiting_in(heartbeat, stop),
        )
        apart.begin(callback.taken.reward)
        return apart

    preferences = PreferenceCallback(
        config.preferences, run=run, seed=config.seed, partners=partners
    )
    role = AgentRole(config, run, preferences, stop=stop, heartbeat=heartbeat)
    while role.step():
        pass
    if not role.done:
        return STOPPED
    role.finish()
    return 0


def _learner(run: RunDirectory, heartbeat: Heartbeat, stop: StopSignal) -> int:
    from prefrl.control.config import config_from_json, devices_of
    from prefrl.control.environments.source import make_env
    from prefrl.control.learned.taking import taken_reward
    from prefrl.control.preferences import step_reward
    from prefrl.control.recent import load_recent
    from prefrl.runtime.devices import use_cpu
    from prefrl.runtime.learner import RewardLearner

    config = config_from_json(run.read_json(run.config))
    if config.asks_people:
        os.nice(_NICENESS)
    use_cpu(config.threads)
    env = make_env(config.env_id, config.env)
    net = step_reward(env, config.preferences).to(devices_of(config)[1])
    env.close()
    with LabelStore(run.label_store) as store:

        def learner(go_on: Callable[[], bool]) -> RewardLearner:
            room = config.preferences.query.pool_bytes
            items = Items(run, states=False, max_bytes=room)
            settings = config.preferences.learner
            return RewardLearner(
                net,
                store,
                items,
                config=settings,
                seed=config.seed,
                run=run,
                first=taken_reward(run),
                go_on=go_on,
            )

        serve_learner(learner, load_recent, run, heartbeat, stop)
    return STOPPED


def _labeller(run: RunDirectory, heartbeat: Heartbeat, stop: StopSignal) -> int:
    config = run.read_json(run.config)
    items = Items(run, states=False)
    oracle: Oracle
    if ":" in config["oracle"]:
        oracle = as_oracle(load_oracle(config["oracle"]), true_rewards=items.true_rewards)
    else:
        teacher = OracleConfig(**config["preferences"]["teacher"])
        oracle = synthetic_oracle(items, teacher, seed=config["seed"])
    with LabelStore(run.label_store) as store:
        people = Attendance(run, store) if config["oracle"] == "mixed" else None
        serve_labeller(Labeller(store, items, oracle), heartbeat, stop, people=people)
    return STOPPED


def _judge(run: RunDirectory, heartbeat: Heartbeat, stop: StopSignal) -> int:
    from prefrl.control.environments.source import EnvConfig
    from prefrl.control.films.exhibit import JUDGED_SIZE, ClipExhibit, FilmExhibit
    from prefrl.control.films.games import open_renderer
    from prefrl.runtime.judge.config import read_task
    from prefrl.runtime.judge.server import Server
    from prefrl.runtime.judge.serving import cache_of, serve_judge
    from prefrl.runtime.own.folder import is_own
    from prefrl.runtime.own.items import OwnFilms

    os.nice(_NICENESS)
    heartbeat.beat("starting")
    told, task, cache = run.read_json(run.config), read_task(run), cache_of(run)

    def work(
        exhibit: ClipExhibit | FilmExhibit, items: Mapping[str, Any], gold: Oracle | None = None
    ) -> int:
        with LabelStore(run.label_store) as store:
            serve_judge(
                Server(task, exhibit, cache), task, cache, store, items,
                gold=gold, run=run, heartbeat=heartbeat, stop=stop,
            )  # fmt: skip
        return STOPPED

    if is_own(told):
        return work(FilmExhibit(n_frames=task.config.frames), OwnFilms(run))
    items = Items(run)
    env = EnvConfig.from_json(told["env"]) if "env" in told else None
    gold = None
    if task.config.true_reward:
        gold = synthetic_oracle(items, OracleConfig(), seed=0)
    with open_renderer(told["env_id"], size=JUDGED_SIZE, env=env) as renderer:
        return work(ClipExhibit(renderer, n_frames=task.config.frames), items, gold)


def _renderer(run: RunDirectory, heartbeat: Heartbeat, stop: StopSignal) -> int:
    from prefrl.control.environments.source import EnvConfig
    from prefrl.control.films.renderer import FilmMaker
    from prefrl.control.films.sized import SizedRenderer
    from prefrl.errors import MediaUnavailableError
    from prefrl.runtime.remote.media import RunMedia

    heartbeat.beat("starting")
    told = run.read_json(run.config)
    if told.get("oracle") not in ("human", "mixed"):
        os.nice(_NICENESS)
    env = EnvConfig.from_json(told["env"]) if "env" in told else None
    renderer = SizedRenderer(told["env_id"], env)
    with LabelStore(run.label_store) as store, renderer as clips:
        media = RunMedia(run, waiting=waiting_in(heartbeat, stop))
        films = FilmMaker(store, Items(run), media, clips)

        def step() -> bool:
            n_people = n_people_present(run)
            clips.fit(film_pixels(run), in_a_hurry=films.is_late(n_people))
            try:
                filmed = films.step(n_people)
            except MediaUnavailableError:  # raised when told to stop while media cannot be stored
                return False
            state = "rendering" if filmed else "idle"
            heartbeat.beat(state, films=films.n_films, missing=films.n_missing)
            return filmed

        serve(step, stop)
    return STOPPED


_ROLES: dict[str, RoleWork] = {
    "agent": _agent,
    "learner": _learner,
    "labeller": _labeller,
    "judge": _judge,
    "renderer": _renderer,
}


if __name__ == "__main__":
    sys.exit(main())
