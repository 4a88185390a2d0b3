import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from benchmark.suites import DOT, small_suite

from prefrl.benchmark.outcome import Outcome
from prefrl.benchmark.report import aggregate_table, task_table, write_benchmark_report
from prefrl.benchmark.store import BenchmarkFolder
from prefrl.benchmark.suite import suite_of_json
from prefrl.benchmark.work import COLUMNS
from prefrl.errors import NotEnoughDataError

PAGE = Path(__file__).parents[2] / "docs" / "benchmark.md"


def rows_of(suite, returns):
    """Rows with the returns of each (arm, task), by seed; random play has -10."""
    empty = dict.fromkeys(COLUMNS, "")
    return [
        empty
        | {"arm": arm, "task": task, "seed": str(seed), "algo": suite.arms[arm].get("algo", "ppo")}
        | {"labels": str(suite.arms[arm].get("labels", 0)), "return_mean": str(value)}
        | {"random_return": "-10", "sampled_return_mean": str(value), "wall_seconds": "60"}
        | {"accuracy": "" if suite.is_true(arm) else "0.75", "date": "2026-01-01", "version": "1"}
        for (arm, task), values in returns.items()
        for seed, value in enumerate(values)
    ]


ARMS = {
    "true reward": {"true_reward": True},
    "60 labels": {"labels": 60},
    "20 labels": {"labels": 20},
}
RETURNS = {
    ("true reward", DOT): [80, 100],
    ("60 labels", DOT): [90, 190],
    ("20 labels", DOT): [-10, 40],
    ("true reward", "Ant-v5"): [-20, -30],  # worse than random play
    ("60 labels", "Ant-v5"): [5, 5],
    ("20 labels", "Ant-v5"): [5, 5],
}


@pytest.fixture
def outcome():
    suite = small_suite(arms=ARMS, tasks={DOT: None, "Ant-v5": None}, seeds=[0, 1])
    return Outcome(suite, rows_of(suite, RETURNS))


def test_scores_are_of_the_true_reward_with_the_same_algorithm(outcome):
    np.testing.assert_allclose(outcome.scores("60 labels")[DOT], [1.0, 2.0])
    assert list(outcome.scores("60 labels")) == [DOT]
    suite = small_suite(arms=ARMS, grid={"agent.gamma": [0.99, 0.9]}, seeds=[0])
    returns = {
        ("true reward, 0.99", DOT): [90],
        ("true reward, 0.9", DOT): [40],
        ("60 labels, 0.9", DOT): [40],
        ("20 labels, 0.99", DOT): [40],
    }
    found = Outcome(suite, rows_of(suite, returns))
    np.testing.assert_allclose(found.scores("60 labels, 0.9")[DOT], [1])
    np.testing.assert_allclose(found.scores("20 labels, 0.99")[DOT], [0.5])
    assert [row[4] for row in aggregate_table(found)[1]] == ["", "", "0.50", "0.00"]


def test_an_arm_without_a_true_reward_is_named(tmp_path):
    suite = small_suite(arms={**ARMS, "other agent": {"labels": 60, "algo": "a2c"}}, seeds=[0])
    returns = {(arm, DOT): [90] for arm in suite.arms}
    text = report_of(Outcome(suite, rows_of(suite, returns)), tmp_path)
    assert "Not counted: other agent." in text
    assert text.count("| other agent |") == 1  # task by task alone


def report_of(outcome, path):
    folder = BenchmarkFolder(path)
    folder.begin(outcome.suite)
    runs = {run.key: run for run in outcome.suite.runs()}
    for row in outcome.rows:
        run = runs[row["arm"], row["task"], int(row["seed"])]
        content = json.dumps({**row, "seed": run.seed})
        (folder.prepare(run) / "row.json").write_text(content)
        folder.gather(run)
    return write_benchmark_report(folder).read_text()


def test_the_tables(outcome):
    _, rows = aggregate_table(outcome)
    assert rows[0] == ("true reward", "2", "1.00 [0.90, 1.10]", "1.00", "")
    assert rows[1] == ("60 labels", "2", "1.50 [1.00, 2.00]", "1.50", "0.75 [0.00, 1.00]")
    _, rows = task_table(outcome)
    assert rows[1][:5] == ("MovingDot-v0", "60 labels", "140 ± 635.3", "90, 190", "150%")
    assert rows[4][:5] == ("Ant-v5", "60 labels", "5 ± 0", "5, 5", "")


def test_only_tasks_that_every_arm_has_are_put_together(outcome):
    rows = [row for row in outcome.rows if (row["arm"], row["task"]) != ("20 labels", DOT)]
    assert aggregate_table(Outcome(outcome.suite, rows))[1][1][0] == "60 labels"
    suite = small_suite(arms=ARMS, tasks={"a": None, "b": None}, seeds=[0])
    returns = {(arm, task): [90] for arm in ARMS for task in "ab"}
    del returns["20 labels", "a"]
    shared = Outcome(suite, rows_of(suite, returns)).shared_scores()
    assert {arm: list(scores) for arm, scores in shared.items()} == {arm: ["b"] for arm in ARMS}


def test_the_report_holds_all_of_it(outcome, tmp_path):
    folder = BenchmarkFolder(tmp_path)
    folder.begin(outcome.suite)
    with pytest.raises(NotEnoughDataError, match="run prefrl benchmark first"):
        write_benchmark_report(folder)
    text = report_of(outcome, tmp_path)
    assert "12 of 12 trainings, seeds 0, 1, 2026-01-01, prefrl 1." in text
    assert "Not counted: Ant-v5" in text
    shown = re.findall(r"\]\((.*\.png)\)", text)
    assert len(shown) == 5
    assert all((tmp_path / name).stat().st_size > 5_000 for name in shown)


def test_the_suite_that_the_page_shows_works():
    (text,) = re.findall(r"```yaml\n(.*?)```", PAGE.read_text(), re.DOTALL)
    suite = suite_of_json({"name": "mine", **yaml.safe_load(text)})
    suite.check()
    assert list(suite.arms) == ["true reward", "100 labels, random", "100 labels, active"]


def test_only_a_benchmark_needs_scipy():
    code = (
        "import sys; sys.modules['scipy'] = None\n"
        "from prefrl.cli import main\n"
        "main(['benchmark', 'report', 'nothing'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert "pip install 'prefrl[benchmark]'" in done.stderr
