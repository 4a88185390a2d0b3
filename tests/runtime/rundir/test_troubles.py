import csv

import pytest

from prefrl.runtime.rundir import RunDirectory
from prefrl.runtime.rundir.troubles import troubles_of

METRICS = {"env_steps": 1000, "labels": 30, "open": 0, "reward_version": 1,
           "predicted_reward_std": 1.0, "reward_correlation": 0.5}  # fmt: skip
FIT = {"fit": 1, "fitted": 30, "ties": 2, "weights": "0f"}


def run_with(tmp_path, rows, fits):
    run = RunDirectory.create(tmp_path / "run")
    for path, table in ((run.metrics, rows), (run.fits, fits)):
        if table:
            with path.open("w", newline="") as file:
                writer = csv.DictWriter(file, list(table[0]))
                writer.writeheader()
                writer.writerows(table)
    return run


def kinds(tmp_path, rows, fits, *, total_steps=10_000, finished=True):
    found = troubles_of(run_with(tmp_path, rows, fits), total_steps=total_steps, finished=finished)
    return [(trouble.kind, trouble.is_fatal) for trouble in found]


def many(**changes):
    return [METRICS | changes] * 12


@pytest.mark.parametrize(
    ("rows", "fits", "expected"),
    [
        (many(), [FIT], []),
        (many(labels=0, reward_version=0), [], [("no labels", True)]),
        (many(labels=0, open=5, reward_version=0), [], [("no labels", True)]),
        (many(labels=7, reward_version=0), [], [("never fitted", True)]),
        (many(), [FIT | {"ties": 30}], [("ties", True)]),
        (many(), [FIT | {"ties": 27}], [("ties", False)]),
        (many(), [FIT | {"fitted": 9, "ties": 9}], []),  # too few to say
        (many(predicted_reward_std=0.0), [FIT], [("constant", True)]),
        (many(reward_correlation=0.01), [FIT], [("no correlation", False)]),
        (many(reward_correlation="nan"), [FIT], []),  # a true reward that is constant
        (many(reward_correlation=0.01)[:5], [FIT], []),  # not for long
        ([], [], []),
    ],
)
def test_what_keeps_a_run_from_learning_is_named(tmp_path, rows, fits, expected):
    assert kinds(tmp_path, rows, fits) == expected


def test_while_a_run_goes_on_the_first_label_may_still_come(tmp_path):
    rows = many(labels=0, reward_version=0, env_steps=2000)
    assert kinds(tmp_path, rows, [], finished=False) == []
    later = [row | {"env_steps": 4000} for row in rows]
    assert kinds(tmp_path / "later", later, [], finished=False) == [("no labels", True)]


def test_a_table_that_is_being_written_is_read_as_far_as_it_goes(tmp_path):
    run = run_with(tmp_path, many(labels=0, reward_version=0), [])
    with run.metrics.open("a") as file:
        file.write("2000,3")
    (trouble,) = troubles_of(run, total_steps=10_000, finished=True)
    assert "Nothing was asked" in trouble.text


@pytest.mark.parametrize(
    ("oracle", "advice"), [("human", "open the page with"), ("synthetic", "Use more --steps")]
)
def test_who_should_have_answered_is_named(tmp_path, oracle, advice):
    run = run_with(tmp_path, many(labels=0, open=5, reward_version=0), [])
    run.write_json(run.config, {"oracle": oracle})
    (trouble,) = troubles_of(run, total_steps=10_000, finished=True)
    assert advice in trouble.text
    assert ("nobody has answered" in trouble.text) == (oracle == "human")


@pytest.mark.parametrize("is_text", [False, True])
def test_the_advice_of_the_guard_fits_the_side(tmp_path, is_text):
    run = run_with(tmp_path, [], [])
    beside = {"kl": 9.0, "length": 20.0} if is_text else {}
    row = {"run_steps": 4096, "gain": 1.5, "disagreement": 3.25, **beside, "tripped": 1}
    with run.guard.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(row))
        writer.writeheader()
        writer.writerow(row)
    (trouble,) = troubles_of(run, total_steps=None, finished=True)  # a script's run has no total
    assert trouble.kind == "guard"
    assert "--guard ask" in trouble.text
    assert "1.5 standard deviations" in trouble.text
    assert ("after 4,096 responses" in trouble.text) == is_text
    assert ("KL coefficient" in trouble.text) == is_text
    assert ("Agents that learn well can show this, too" in trouble.text) != is_text
