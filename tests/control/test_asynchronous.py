"""The asynchronous run as its user has it: three processes, stopped, killed, resumed, replayed."""

import csv
import dataclasses
import json
import os
import signal
import subprocess
import sys
import time

import pytest

from prefrl import PreferenceConfig, RunDirectory, TrainConfig, resume, train
from prefrl.control.agent.agent import AgentConfig
from prefrl.control.queries import QueryConfig
from prefrl.control.replay import replay_run
from prefrl.core.store import LabelStore
from prefrl.errors import RoleError, RunDirectoryError
from prefrl.runtime.roles.role import read_status

DOT = "prefrl_envs:prefrl/MovingDot-v0"
pytestmark = pytest.mark.timeout(180)


def short(path, **options):
    options = {"steps": 8000, "eval_episodes": 3, "films": False, **options}
    preferences = PreferenceConfig(
        labels=20, segment_length=10, query=QueryConfig(warmup_segments=10)
    )
    agent = AgentConfig(n_envs=4, n_steps=100, batch_size=100, n_epochs=2, hidden=(16,))
    return TrainConfig(DOT, run=path, preferences=preferences, agent=agent, **options)


def rows(path):
    with path.open() as file:
        return list(csv.DictReader(file))


def command(path, *more):
    options = ["--labels", "20", "--segment-length", "10", "--warmup-segments", "10"]
    options += ["--agent.n-envs", "4", "--agent.n-steps", "100", "--agent.batch-size", "100"]
    options += ["--no-films", "--eval-episodes", "2", "--checkpoint-seconds", "0.5"]
    return [sys.executable, "-m", "prefrl", "train", DOT, *options, "--run", str(path), *more]


def wait_for(condition, seconds=60):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.02)


def n_rollouts(run):
    return len(rows(run.metrics)) if run.metrics.is_file() else 0


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    shown = []
    result = train(short(tmp_path_factory.mktemp("run")), on_rollout=shown.append)
    return result, shown


def test_three_processes_train_to_the_end(finished):
    result, shown = finished
    run = result.run
    assert result.finished
    assert result.summary["env_steps"] == 8000
    assert result.summary["sync"] is False
    metrics = rows(run.metrics)
    assert len(metrics) == 20
    assert shown
    assert 0 <= shown[-1]["labels"] <= 20
    pids = {read_status(run, role).pid for role in ("agent", "learner", "labeller")}
    assert len(pids) == 3
    assert os.getpid() not in pids
    with LabelStore(run.labels) as store:
        assert store.counts().queries == 20
        assert all(event.annotator_id == "oracle" for event in store.events())


def test_each_rollout_says_which_reward_scored_it_and_how_old_that_was(finished):
    metrics = rows(finished[0].run.metrics)
    versions = [int(row["reward_version"]) for row in metrics]
    assert versions == sorted(versions)
    assert versions[-1] >= 1
    fits = {int(row["fit"]): int(row["run_steps"]) for row in rows(finished[0].run.fits)}
    for row, version in zip(metrics, versions, strict=True):
        born = fits[version] if version else 0
        assert int(row["reward_age"]) == int(row["env_steps"]) - born


def test_the_reward_learning_is_repeated_exactly_from_the_log(finished):
    run = finished[0].run
    again = list(replay_run(run))
    assert [fit.number for fit in again] == [int(row["fit"]) for row in rows(run.fits)]
    assert all(fit.same for fit in again)


def test_choices_of_candidates_and_of_the_normalisation_work_and_are_repeated(tmp_path):
    config = short(tmp_path / "run", horizon=37)
    query = QueryConfig(
        selection="k_center_disagreement",
        warmup_segments=10,
        pool_size=40,
        history_share=0.5,
        early_share=0.5,
    )
    preferences = dataclasses.replace(config.preferences, query=query, calibrate_on="both")
    run = train(dataclasses.replace(config, preferences=preferences)).run
    with LabelStore(run.labels) as store:
        # All were due two rollouts before the end.
        assert (store.counts().answered, store.counts().open) == (20, 0)
    again = list(replay_run(run))
    assert len(again) > 1
    assert all(fit.same for fit in again)


def test_a_replay_can_fail(finished, tmp_path):
    run = finished[0].run
    text = run.fits.read_text()
    weights = rows(run.fits)[-1]["weights"]
    try:
        run.fits.write_text(text.replace(weights, "0" * len(weights)))
        assert [fit.same for fit in replay_run(run)][-1] is False
    finally:
        run.fits.write_text(text)


def test_a_finished_run_is_not_resumed(finished):
    with pytest.raises(RunDirectoryError, match="not finished"):
        resume(finished[0].run)


def test_an_oracle_of_ones_own_answers_in_the_calling_process(tmp_path):
    asked = []

    def prefers_the_left(left, right):
        asked.append((left.id, right.id, os.getpid()))
        return True

    result = train(short(tmp_path / "run", steps=3000), oracle=prefers_the_left)
    assert result.finished
    assert {pid for _, _, pid in asked} == {os.getpid()}
    with LabelStore(result.run.labels) as store:
        assert {event.answer.value for event in store.events()} == {"left"}
    assert read_status(result.run, "labeller") is None


@pytest.mark.parametrize("mode", ["--no-sync", "--sync"])
def test_sigterm_saves_and_resume_goes_on(tmp_path, mode):
    run = RunDirectory(tmp_path / "run")
    process = subprocess.Popen(
        command(run.root, mode, "--steps", "10000"),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    wait_for(lambda: n_rollouts(run) >= 8)
    started = time.monotonic()
    process.send_signal(signal.SIGTERM)
    said = process.communicate(timeout=60)[0].decode()
    assert process.returncode == 0, said
    assert time.monotonic() - started < 30
    assert f"prefrl resume {run.root}" in " ".join(said.split())
    assert not run.summary.exists()
    before = rows(run.metrics)
    assert len(list(run.checkpoints.glob("0*"))) in (1, 2)

    result = resume(run)
    assert result.finished
    after = rows(run.metrics)
    assert after[: len(before)] == before  # saved at its last rollout: nothing is done again
    assert len(after) == 25
    steps = [int(row["env_steps"]) for row in after]
    assert steps == [400 * (i + 1) for i in range(25)]
    with LabelStore(run.labels) as store:
        assert len({e.query_id for e in store.events()}) == len(store.events()) == 20


def test_any_process_may_be_killed(tmp_path):
    run = RunDirectory(tmp_path / "run")
    supervisor = subprocess.Popen(command(run.root, "--steps", "12000"), stdout=subprocess.DEVNULL)
    try:
        wait_for(lambda: n_rollouts(run) >= 5)
        for role in ("labeller", "learner", "agent"):
            old = read_status(run, role).pid
            os.kill(old, signal.SIGKILL)
            wait_for(lambda role=role, old=old: read_status(run, role).pid != old)
        done = n_rollouts(run)
        supervisor.kill()
        supervisor.wait()
        result = resume(run)
    finally:
        supervisor.kill()
    assert result.finished
    assert done <= n_rollouts(run) == 30
    with LabelStore(run.labels) as store:
        events = store.events()
    assert len({(e.query_id, e.annotator_id) for e in events}) == len(events)
    assert all(fit.same for fit in replay_run(run))


def test_two_supervisors_do_not_work_on_one_run(tmp_path):
    run = RunDirectory(tmp_path / "run")
    first = subprocess.Popen(command(run.root, "--steps", "20000"), stdout=subprocess.DEVNULL)
    try:
        wait_for(lambda: n_rollouts(run) >= 1)
        with pytest.raises(RoleError, match="another process works on it"):
            resume(run)
    finally:
        first.terminate()
        first.wait(60)


def test_what_a_role_cannot_do_ends_the_run_with_its_words(tmp_path):
    run = RunDirectory(tmp_path / "run")
    process = subprocess.Popen(
        command(run.root, "--steps", "10000"), stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    wait_for(lambda: n_rollouts(run) >= 5)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    config = json.loads(run.config.read_text())
    config["preferences"]["members"] = 2  # which the published weights do not fit
    run.config.write_text(json.dumps(config))
    with pytest.raises(RoleError, match=r"cannot go on: .* fit the config"):
        resume(run)
