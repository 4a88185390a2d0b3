"""Evaluations in training, and which policy of a run is loaded."""

import csv
import dataclasses
import re

import pytest

from prefrl import PreferenceConfig, RunDirectory, TrainConfig, train
from prefrl.cli import main
from prefrl.control.agent.agent import AgentConfig
from prefrl.control.finish import load_run
from prefrl.control.policies.kept import choose_policy
from prefrl.control.queries import QueryConfig
from prefrl.control.train import resume
from prefrl.errors import ConfigError, RunDirectoryError
from prefrl.runtime.rundir.checkpoint import load_checkpoint

DOT = "prefrl_envs:prefrl/MovingDot-v0"


def config(path, **options):
    preferences = PreferenceConfig(
        labels=20, segment_length=10, query=QueryConfig(warmup_segments=10)
    )
    agent = AgentConfig(n_envs=4, n_steps=100, batch_size=100, n_epochs=2, hidden=(16,))
    told = {"steps": 2400, "eval_episodes": 2, "films": False, "sync": True, **options}
    return TrainConfig(DOT, run=path, preferences=preferences, agent=agent, **told)


def rows(path, *timing):
    with path.open(newline="") as file:
        return [{k: v for k, v in row.items() if k not in timing} for row in csv.DictReader(file)]


class Stopped(Exception):
    """Raised in the middle of a training, as if its process were killed."""


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory):
    path = tmp_path_factory.mktemp("evaluated")
    return train(config(path, evaluate_every=800, checkpoint_seconds=0)).run


def test_every_so_many_steps_the_true_return_is_a_row_and_the_policy_is_kept(evaluated):
    found = rows(evaluated.evaluations)
    assert [row["env_steps"] for row in found] == ["800", "1600", "2400"]
    assert all(float(row["return_std"]) >= 0 for row in found)
    assert {path.name for path in evaluated.policies.iterdir()} == {
        "000000800", "000001600", "000002400",
    }  # fmt: skip
    page = evaluated.root / "report" / "index.html"
    main(["report", str(evaluated.root)])
    assert page.is_file()


def test_training_is_the_same_with_evaluations_and_without(evaluated, tmp_path):
    plain = train(config(tmp_path / "run")).run
    assert not plain.evaluations.exists()
    for path in ("metrics.csv", "fits.csv"):
        timing = ("wall_seconds", "seconds")
        assert rows(plain.root / path, *timing) == rows(evaluated.root / path, *timing)


def test_the_best_the_latest_and_any_kept_policy_can_be_evaluated(evaluated, capsys):
    found = {row["env_steps"]: float(row["return_mean"]) for row in rows(evaluated.evaluations)}
    best = max(found, key=found.get)
    policy = choose_policy(evaluated, "best")
    assert policy.name == f"the best of 3 evaluations, at step {int(best):,}"
    main(["evaluate", str(evaluated.root), "--episodes", "2", "--checkpoint", "best"])
    assert f"at step {int(best):,}" in " ".join(capsys.readouterr().out.split())
    # As it was evaluated in training: the same episodes give the same return.
    for step, mean in found.items():
        main(["evaluate", str(evaluated.root), "--episodes", "2", "--seed", "2000003",
              "--checkpoint", step])  # fmt: skip
        said = " ".join(capsys.readouterr().out.split())
        assert float(re.search(r"true return (-?[\d.,]+) ±", said)[1].replace(",", "")) == (
            pytest.approx(mean, abs=0.06)
        )
    assert choose_policy(evaluated).name == "the trained policy"


@pytest.mark.parametrize("asked", ["1234", "newest"])
def test_a_policy_that_is_not_there_is_refused_with_those_that_are(evaluated, capsys, asked):
    with pytest.raises(SystemExit) as ended:
        main(["evaluate", str(evaluated.root), "--checkpoint", asked])
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert asked in said
    assert ("800, 1600, 2000, 2400" in said) == (asked == "1234")


def test_a_run_that_was_stopped_is_evaluated_and_goes_on_with_its_evaluations(tmp_path, evaluated):
    told = config(tmp_path / "run", evaluate_every=800, checkpoint_seconds=0)

    def stop(row):
        if row["env_steps"] >= 2000:
            raise Stopped

    with pytest.raises(Stopped):
        train(told, on_rollout=stop)
    run = RunDirectory.open(told.run_path)
    assert not run.policy.exists()
    policy = choose_policy(run)
    assert policy.name == "the latest checkpoint, at step 1,600"
    kept = load_checkpoint(run.checkpoints).state["agent"]["learner"]["modules"]["policy"]
    _, agent, net = load_run(run)
    assert net is not None
    for name, tensor in agent.model.policy.state_dict().items():
        assert tensor.equal(kept[name])
    assert choose_policy(run, "1,200").name == "the checkpoint, at step 1,200"
    with pytest.raises(ConfigError, match="none; only a training with --evaluate-every"):
        choose_policy(without_evaluations(run, tmp_path), "best")
    resume(run)
    assert rows(run.evaluations, "seconds") == rows(evaluated.evaluations, "seconds")


def without_evaluations(run, tmp_path):
    other = RunDirectory.create(tmp_path / "other")
    other.write_json(other.config, run.read_json(run.config))
    return other


def test_a_run_without_any_policy_says_so(tmp_path):
    run = RunDirectory.create(tmp_path / "run")
    with pytest.raises(RunDirectoryError, match="expected a policy or a checkpoint"):
        choose_policy(run)


def test_how_often_is_checked_before_anything_starts(tmp_path):
    with pytest.raises(ConfigError, match="evaluate_every must be at least 1, got 0"):
        dataclasses.replace(config(tmp_path / "run"), evaluate_every=0)
