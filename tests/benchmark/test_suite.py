import json
from pathlib import Path

import pytest
from benchmark.suites import small_suite, written

from prefrl.benchmark.store import BenchmarkFolder
from prefrl.benchmark.suite import load_suite, shipped_suites, suite_of_json
from prefrl.errors import ConfigError

DOT = "prefrl_envs:prefrl/MovingDot-v0"

PUBLISHED = Path(__file__).parents[2] / "scripts" / "benchmark" / "suites"


def test_a_file_is_read(tmp_path):
    suite = load_suite(str(written(tmp_path / "mine.yaml")))
    runs = suite.runs()
    assert suite.name == "mine"
    assert [run.key for run in runs[:2]] == [("true reward", DOT, 0), ("6 labels", DOT, 0)]
    assert len(runs) == 4
    assert runs[0].true_reward
    config = runs[3].config(tmp_path / "run")
    assert (config.seed, config.steps, config.preferences.labels) == (1, 512, 6)
    assert (config.agent.n_steps, config.sync, config.films) == (64, True, False)
    assert config.run == tmp_path / "run"


def test_what_stands_nearer_decides():
    suite = small_suite(
        options={"steps": 1, "labels": 1, "selection": "uniform"},
        tasks={"dot": {"env_id": DOT, "steps": 2, "labels": 2}},
        arms={"a": {"labels": 3}},
        grid={"selection": ["entropy"]},
    )
    (run,) = suite.runs()
    assert run.options["env_id"] == DOT
    assert [run.options[name] for name in ("steps", "labels", "selection")] == [2, 3, "entropy"]


def test_a_grid_is_every_combination_and_the_true_reward_learns_once_for_each_algorithm():
    suite = small_suite(
        grid={"algo": ["ppo", "a2c"], "selection": {"random": "uniform", "active": "disagreement"}}
    )
    assert list(suite.arms) == [
        "true reward, ppo",
        "true reward, a2c",
        "6 labels, ppo, random",
        "6 labels, ppo, active",
        "6 labels, a2c, random",
        "6 labels, a2c, active",
    ]
    assert suite.arms["6 labels, a2c, random"] == {
        "labels": 6, "algo": "a2c", "selection": "uniform"
    }  # fmt: skip


def test_names_of_folders_are_those_of_files():
    (run, _) = small_suite(arms={"a/b: c": {"labels": 6}}, seeds=[0, 1]).runs()
    assert run.name == "a-b-c/prefrl_envs-prefrl-MovingDot-v0/0"


def test_the_true_reward_learns_with_each_setting_that_is_not_about_the_reward():
    suite = small_suite(grid={"agent.gamma": [0.99, 0.9], "fit.l2": [0.1, 1.0], "horizon": [50]})
    true = [arm for arm in suite.arms if suite.is_true(arm)]
    assert true == ["true reward, 0.99, 50", "true reward, 0.9, 50"]
    assert suite.agent_options("6 labels, 0.9, 1.0, 50") == suite.agent_options(true[1])


@pytest.mark.parametrize("name", shipped_suites())
def test_those_that_are_shipped_say_what_they_are_about_and_work(name):
    suite = load_suite(name)
    assert suite.about.endswith(".")
    for run in suite.runs():
        assert run.config().seed == run.seed


@pytest.mark.parametrize("path", sorted(PUBLISHED.glob("*.yaml")), ids=lambda path: path.stem)
def test_those_behind_the_published_figures_go_on_from_their_rows(path):
    suite = load_suite(str(path))
    folder = BenchmarkFolder(path.with_suffix(""))
    keys = {run.key for run in suite.runs()}
    assert folder.done() <= keys
    if folder.results.is_file():
        assert folder.suite() == suite


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"seeds": []}, "expected seeds in suite small, got none"),
        ({"seeds": [0, 0]}, "each seed of suite small once"),
        ({"seeds": ["a"]}, "as a list of numbers"),
        ({"arms": {"a": {"labls": 3}}}, "suite small, a, .*: expected options.*got labls"),
        ({"arms": {"a": {"labels": "many"}}}, "a value of labels that is int, got 'many'"),
        ({"arms": {"a": {"true_reward": "yes"}}}, "true_reward in arms: a"),
        ({"arms": {"a": {"seed": 3}}}, "expected no seed in arms: a"),
        ({"arms": ["a"]}, "expected arms of suite small to be values by name"),
        ({"tasks": {"Nothing-v0": None}}, "suite small, true reward, Nothing-v0: .*Nothing"),
        ({"budget": 3}, "expected keys .* in suite small, got budget"),
        ({"arms": {"6: noise": {}, "6; noise": {}}}, "a folder of its own, got '6; noise'"),
        ({"arms": {"A": {}, "a": {}}}, "'A' is there already"),
        ({"arms": {"..": {}}}, "a folder of its own, got '..'"),
        # Not of the first arm alone.
        ({"arms": {"a": {"labels": 6}, "b": {"labels": 6, "algo": "dqn"}}}, "small, b, .*dqn"),
        ({"arms": {"a": {"labels": 6, "labels_from": ["nowhere"]}}}, "small, a, .*nowhere"),
        ({"arms": {"a": {"labels": 6, "oracle": "nowhere:mine"}}}, "small, a, .*nowhere"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_starts(changes, said):
    with pytest.raises(ConfigError, match=said):
        small_suite(**changes).check()


def test_a_suite_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"one of .*smoke.* or a file that ends in \.yaml"):
        load_suite("nothing")
    with pytest.raises(ConfigError, match="no such file"):
        load_suite(str(tmp_path / "nothing.yaml"))
    with pytest.raises(ConfigError, match="expected YAML"):
        load_suite(str(written(tmp_path / "bad.yaml", "a: [")))
    with pytest.raises(ConfigError, match="to be values by name"):
        load_suite(str(written(tmp_path / "list.yaml", "[1, 2]")))


def test_json_gives_the_same_suite():
    suite = small_suite(grid={"selection": ["uniform", "entropy"]})
    assert suite_of_json(json.loads(json.dumps(suite.as_json()))) == suite
