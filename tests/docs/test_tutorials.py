"""The tutorials do what they say, as they stand; only their trainings end sooner."""

import csv
import json
import subprocess
import sys
import time

import pytest
from labelling import LINK, Browser, link_in

from docs.tutorials import (
    FOLDER,
    NOTHING_LEARNED,
    PAGES,
    blocks,
    commands,
    followed,
    run_script,
    typed,
)
from prefrl import LabelStore, RunDirectory
from prefrl.benchmark.suite import load_suite
from prefrl.control.shortening import VARIABLE

pytestmark = pytest.mark.timeout(300)
WITH_PEOPLE = {"by_hand", "team"}
ONE_ROLLOUT = 4200  # of PPO, and a little of the next, in which the training ends
STEPS = {"sac": 1100, "episodes_that_end": 2100}
LEFT = {
    "own_oracle": ["runs/backwards/summary.json"],
    "own_net_and_rule": ["runs/mine/summary.json", "runs/Pendulum-v1-0/summary.json"],
    "sb3_script": [],
    "sac": ["runs/Pendulum-v1-0/summary.json"],
    "episodes_that_end": ["runs/cartpole/summary.json"],
    "taken_reward": [
        "rewards/pendulum/README.md", "runs/second/summary.json", "runs/Pendulum-v1-1/summary.json"
    ],
    "pairs_to_model": ["runs/polite/model/model.safetensors", "runs/polite/report/index.html"],
}  # fmt: skip
"""What each page leaves behind."""


@pytest.mark.parametrize("page", LEFT)
def test_a_tutorial_runs_as_it_stands(page, tmp_path, monkeypatch):
    followed(page, tmp_path, monkeypatch, steps=STEPS.get(page, ONE_ROLLOUT))
    for name in LEFT[page]:
        assert (tmp_path / name).is_file(), name


def test_the_suite_of_the_benchmark_is_one(tmp_path):
    ((_, name, text),) = [block for block in blocks("ray") if block[1]]
    (tmp_path / name).write_text(text)
    assert len(load_suite(str(tmp_path / name)).runs()) == 6


@pytest.mark.slow
def test_the_benchmark_runs_here_and_on_ray(tmp_path, monkeypatch):
    followed("ray", tmp_path, monkeypatch, steps=ONE_ROLLOUT)
    for folder in ("mine", "on_ray"):
        with (tmp_path / "runs/benchmark" / folder / "results.csv").open() as file:
            assert len(list(csv.DictReader(file))) == 6


def test_each_tutorial_is_listed_tried_and_short():
    listed = (FOLDER / "index.md").read_text()
    assert set(PAGES) == {*LEFT, *WITH_PEOPLE, "ray"}
    for page in PAGES:
        assert f"({page}.md)" in listed, page
        lines = [line for _, _, text in blocks(page) for line in text.splitlines() if line.strip()]
        assert len(lines) <= 40, (page, len(lines))


def labelled(command, folder, invite=()):
    """Types a command in a terminal and labels what it asks for, with those who are invited."""
    out = folder / "out"
    with out.open("w") as file:
        training = subprocess.Popen(
            [sys.executable, "-m", "prefrl", *command], stdout=file, stderr=subprocess.STDOUT
        )
    try:
        browsers = [Browser(link_in(out)), *map(Browser, invite())] if invite else []
        browsers = browsers or [Browser(link_in(out))]
        turn = 0
        while training.poll() is None:
            browser, turn = browsers[turn % len(browsers)], turn + 1
            before, until = browser.n_stored, time.monotonic() + 2
            browser.label_while(
                lambda browser=browser, before=before, until=until: (
                    training.poll() is None
                    and browser.n_stored == before
                    and time.monotonic() < until
                )
            )
        assert training.returncode in (0, NOTHING_LEARNED), out.read_text()
    finally:
        training.kill()
        training.wait()


@pytest.mark.slow  # in short, tests/test_label.py has it
def test_one_person_teaches_the_dot(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(VARIABLE, str(ONE_ROLLOUT))
    (train,), after = (commands(text) for _, _, text in blocks("by_hand"))
    labelled(train, tmp_path)
    with LabelStore("runs/dot/labels.db") as store:
        assert store.counts().answered > 20
    for command in after:
        typed(command)
    assert RunDirectory("runs/dot").films.joinpath("after.webm").is_file()
    assert (tmp_path / "runs/dot/report/index.html").is_file()


def test_a_team_labels(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(VARIABLE, str(ONE_ROLLOUT))
    (_, _, train), (_, _, invite), (_, _, script), (_, _, export) = blocks("team")

    def invited():
        for command in commands(invite):
            capsys.readouterr()
            typed(command)
            yield LINK.search("".join(capsys.readouterr().out.split()))

    (command,) = commands(train)
    labelled(command, tmp_path, invited)
    run_script(tmp_path, script)
    said = capsys.readouterr().out
    assert {"anna", "ben", "owner"} <= {line.split()[0] for line in said.splitlines()}
    for command in commands(export):
        typed(command)
    rows = [json.loads(line) for line in (tmp_path / "anna.jsonl").read_text().splitlines()]
    assert rows
    assert {"chosen", "rejected"} <= rows[0].keys()
