"""The exit codes of the roles' processes, by which the supervisor decides what to do."""

import json
import sqlite3
from pathlib import Path

import pytest

from prefrl import PreferenceConfig, RunDirectory, TrainConfig
from prefrl.control.config import config_as_json
from prefrl.control.process import main
from prefrl.core.disk import naming
from prefrl.core.store import LabelStore, sqlite
from prefrl.runtime.roles.role import only_one
from prefrl.runtime.roles.role_process import run_role
from prefrl.runtime.roles.supervisor import BAD_INPUT, GAVE_UP

DOT = "prefrl_envs:prefrl/MovingDot-v0"


@pytest.fixture
def run(tmp_path):
    run = RunDirectory.create(tmp_path / "run")
    config = TrainConfig(DOT, run=run.root, preferences=PreferenceConfig(segment_length=10))
    run.write_json(run.config, config_as_json(config))
    LabelStore(run.labels).close()
    return run


def test_a_run_that_is_not_there_is_bad_input(tmp_path):
    assert main(["labeller", str(tmp_path / "nothing")]) == BAD_INPUT


def test_a_config_of_another_release_is_bad_input(run):
    config = json.loads(run.config.read_text())
    config["no_such_setting"] = 1
    run.config.write_text(json.dumps(config))
    assert main(["learner", str(run.root)]) == BAD_INPUT


def test_a_role_that_another_process_has_is_given_up(run, monkeypatch, caplog):
    monkeypatch.setattr("prefrl.runtime.roles.role_process._PATIENCE", 0.2)
    with only_one(run, "labeller"):
        assert main(["labeller", str(run.root)]) == GAVE_UP
    assert "another process works on it as its labeller" in caplog.text


def test_a_full_disk_is_told_with_the_file_and_tried_again(run, caplog):
    def write(*told):
        path = Path("/dev/full")
        with naming(path), path.open("w") as file:
            file.write("more than there is room for")

    assert run_role({"learner": write}, ["learner", str(run.root)]) == 1
    assert caplog.messages[-1].startswith("expected to write /dev/full, but no space left")


def test_a_database_that_stays_locked_is_tried_again(run, monkeypatch, caplog):
    monkeypatch.setattr(sqlite, "_BUSY_TIMEOUT_MS", 100)
    with sqlite3.connect(run.labels) as other:
        other.execute("BEGIN EXCLUSIVE")
        assert main(["labeller", str(run.root)]) == 1
    assert "locked" in caplog.text
