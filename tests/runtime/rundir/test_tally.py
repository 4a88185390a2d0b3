import re

import torch
from rich.console import Console

from prefrl.commands.status import describe_run
from prefrl.core.comparisons import Answer, Query
from prefrl.core.store import LabelStore
from prefrl.report import write_report
from prefrl.runtime.roles.role import Heartbeat
from prefrl.runtime.rundir import RunDirectory
from prefrl.runtime.rundir.tables import CsvTable
from prefrl.runtime.rundir.tally import tally_of
from prefrl.runtime.rundir.weights import newest_published, publish_weights

BEHIND = {"env_steps": 900, "labels": 2, "open": 3, "dropped": 0, "reward_version": 1,
          "reward_age": 100, "true_return_mean": 1.0, "reward_correlation": 0.5}  # fmt: skip


def run_whose_tables_are_behind(folder):
    run = RunDirectory.create(folder / "run")
    run.write_json(run.config, {"env_id": "x", "oracle": "synthetic", "steps": 1000})
    CsvTable(run.metrics).append(BEHIND)
    with LabelStore(run.labels) as store:
        store.add_queries([Query(f"q{n}", f"a{n}", f"b{n}") for n in range(5)])
        for n, answer in enumerate((Answer.LEFT, Answer.RIGHT, Answer.TIE, Answer.SKIP)):
            store.submit(f"q{n}", answer, submission_key=f"{n}", annotator_id="ann")
    for version, steps in ((1, 300), (2, 600)):
        about = {"run_steps": steps}
        publish_weights(run.reward, version, {"w": torch.zeros(1)}, about=about)
    Heartbeat(run, "learner").beat("idle", version=1, labels=2)
    return run


def said(run):
    console = Console(width=200)
    with console.capture() as capture:
        console.print(describe_run(run))
    return capture.get()


def card(page, name):
    return re.search(rf"<b>([^<]*)</b><span>{name}</span>", page.read_text())[1]


def test_a_run_without_anything_has_nothing(tmp_path):
    run = RunDirectory.create(tmp_path / "run")
    tally = tally_of(run)
    assert (tally.labels, tally.reward_version, tally.reward_steps) == (0, 0, 0)
    assert not run.labels.exists()


def test_status_and_report_count_what_the_store_and_the_weights_say(tmp_path):
    run = run_whose_tables_are_behind(tmp_path)
    tally = tally_of(run)
    assert (tally.labels, tally.reward_version, tally.reward_steps) == (4, 2, 600)
    status = said(run)
    assert "3 answered, 1 skipped, 1 waiting" in status
    assert "version 2, 300 steps old" in status
    assert status.count("version") == 1
    page = write_report(run)
    assert (card(page, "labels"), card(page, "reward version")) == ("4", "2")


def test_a_version_whose_json_is_damaged_has_its_number(tmp_path):
    run = run_whose_tables_are_behind(tmp_path)
    (run.reward / "v000002.json").write_text("{")
    assert newest_published(run.reward) == (2, {})
