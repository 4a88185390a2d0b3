"""Training with people as oracle: the agent's pace, the roles, and the oracle that fills in.

The person is a thread that takes what can be shown from the store, and answers by the truth.
"""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from prefrl import PreferenceConfig, RunDirectory, TrainConfig, resume, train
from prefrl.control.agent.agent import AgentConfig
from prefrl.control.config import config_as_json, config_from_json
from prefrl.control.items import Items, synthetic_oracle
from prefrl.control.queries import QueryConfig
from prefrl.core.oracle import OracleConfig
from prefrl.core.store import LabelStore
from prefrl.errors import ConfigError
from prefrl.runtime.roles.role import Heartbeat, read_status
from prefrl.runtime.roles.supervisor import RoleCommand

DOT = "prefrl_envs:prefrl/MovingDot-v0"
LABELS = 24
pytestmark = pytest.mark.timeout(180)


def short(path, oracle="human", *, max_unanswered=None, **options):
    preferences = PreferenceConfig(
        labels=LABELS,
        segment_length=10,
        max_unanswered=max_unanswered,
        query=QueryConfig(warmup_segments=10),
    )
    agent = AgentConfig(n_envs=4, n_steps=100, batch_size=100, n_epochs=2, hidden=(16,))
    options = {"steps": 8000, "eval_episodes": 2, "films": False, "oracle": oracle, **options}
    return TrainConfig(DOT, run=path, preferences=preferences, agent=agent, **options)


def wait_for(condition, seconds=60):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.02)


def start(role, run):
    return subprocess.Popen([sys.executable, "-m", "prefrl.control.process", role, str(run.root)])


class Person(threading.Thread):
    """Answers what has a film, one pair after another, until told to stop."""

    def __init__(self, path, pause=0.02):
        super().__init__()
        self.directory, self.pause = RunDirectory(path), pause
        self.is_done = threading.Event()

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *error):
        self.is_done.set()
        self.join()

    def run(self):
        run = self.directory
        wait_for(lambda: run.labels.is_file() or self.is_done.is_set())
        items = Items(run)
        truth = synthetic_oracle(items, OracleConfig(), seed=0)
        with LabelStore(run.labels) as store:
            while not self.is_done.wait(self.pause):
                for lease in store.lease("anna", n=1, ready=True):
                    query = lease.query
                    answer = truth.compare(items[query.left], items[query.right])
                    key = f"{query.id}/{lease.fence}"
                    store.submit(query.id, answer, submission_key=key, annotator_id="anna")


def test_a_person_trains_the_agent_which_waits_for_the_answers(tmp_path):
    states = []
    with Person(tmp_path / "run"):
        result = train(
            short(tmp_path / "run"),
            on_agent=lambda status, counts: states.append((status.state, counts)),
        )
    assert result.finished
    waiting = [counts for state, counts in states if state == "waiting for answers"]
    assert waiting
    assert all(counts is not None and counts.queries for counts in waiting)
    assert any(state == "acting" and counts is None for state, counts in states)
    run = result.run
    assert read_status(run, "labeller") is None
    assert read_status(run, "renderer").about["films"] > 0
    with LabelStore(run.labels) as store:
        counts, events = store.counts(), store.events()
        assert {event.annotator_id for event in events} == {"anna"}
        # It was never more than five answers ahead: the last rollout asks for few.
        assert counts.queries >= LABELS - 5
        assert counts.open <= 5 + 2
        shown = [store.find([event.query_id])[0] for event in events]
        assert all(len(store.media.of([query.left, query.right])) == 2 for query in shown)


def test_without_an_answer_the_agent_stands_still_and_stops_at_once_when_told_to(tmp_path):
    run = RunDirectory.create(tmp_path / "run")
    run.write_json(run.config, config_as_json(short(run.root)))
    agent = start("agent", run)
    try:
        wait_for(lambda: _state(run, "agent") == "waiting for answers")
        before = read_status(run, "agent")
        time.sleep(1.2)
        after = read_status(run, "agent")
        assert after.beat_at > before.beat_at  # it lives
        assert after.about["env_steps"] == before.about["env_steps"]
        told = time.monotonic()
        agent.send_signal(signal.SIGTERM)
        agent.wait(20)
        assert time.monotonic() - told < 8
    finally:
        agent.kill()
        agent.wait()
    with Person(run.root):
        assert resume(run).finished


def test_the_renderer_may_be_killed(tmp_path):
    run = RunDirectory(tmp_path / "run")
    killed = []

    def kill_it(row):
        status = read_status(run, "renderer")
        if len(killed) < 2 and status is not None and status.pid not in killed:
            killed.append(status.pid)
            os.kill(status.pid, signal.SIGKILL)

    with Person(run.root):
        assert train(short(run.root), on_rollout=kill_it).finished
    assert len(killed) == 2


def _state(run, role):
    status = read_status(run, role)
    return status and status.state


@pytest.mark.parametrize("is_there", [False, True])
def test_mixed_has_the_oracle_fill_in_while_nobody_is_there(tmp_path, is_there):
    run = RunDirectory.create(tmp_path / "run")
    run.write_json(run.config, config_as_json(short(run.root, "mixed")))
    page = Heartbeat(run, "viewer")
    page.beat("serving", people=int(is_there))
    roles = [start(role, run) for role in ("agent", "labeller")]

    def they_leave_it_to_people():
        page.beat()
        states = [_state(run, role) for role in ("agent", "labeller")]
        return states == ["waiting for answers", "leaving it to people"]

    try:
        with LabelStore(run.labels) as store:
            if is_there:
                wait_for(they_leave_it_to_people)
                assert not store.events()
            else:
                wait_for(lambda: len(store.events()) >= LABELS // 4)
                assert {event.annotator_id for event in store.events()} == {"oracle"}
    finally:
        for role in roles:
            role.terminate()
        for role in roles:
            role.wait(20)


def test_mixed_trains_to_the_end_with_nobody_there_and_with_what_the_caller_wants_beside(tmp_path):
    mark = tmp_path / "mark"
    program = f"import time; open({str(mark)!r}, 'w').close()\nwhile True: time.sleep(0.05)"

    def beside(run):
        assert run.config.is_file()
        return [RoleCommand("viewer", [sys.executable, "-c", program], essential=False)]

    result = train(short(tmp_path / "run", "mixed"), beside=beside)
    assert result.finished
    assert mark.exists()
    with LabelStore(result.run.labels) as store:
        assert {event.annotator_id for event in store.events()} == {"oracle"}


@pytest.mark.parametrize("oracle", ["human", "mixed"])
def test_people_cannot_answer_in_one_process(tmp_path, oracle):
    with pytest.raises(ConfigError, match="leave --sync out"):
        short(tmp_path / "run", oracle, sync=True)


@pytest.mark.parametrize(
    ("oracle", "told", "labels", "expected"),
    [
        ("synthetic", None, 700, None),
        ("synthetic", 9, 700, 9),
        ("human", None, 700, 70),
        ("mixed", None, 20, 5),
        ("human", 0, 700, 0),
    ],
)
def test_how_much_may_be_unanswered(oracle, told, labels, expected):
    preferences = PreferenceConfig(labels=labels, max_unanswered=told)
    config = TrainConfig(DOT, oracle=oracle, preferences=preferences)
    assert config.max_unanswered == expected
    assert config_from_json(config_as_json(config)).max_unanswered == expected


def test_less_than_nothing_cannot_be_unanswered():
    with pytest.raises(ConfigError, match="max_unanswered must not be negative, got -1"):
        PreferenceConfig(max_unanswered=-1)
