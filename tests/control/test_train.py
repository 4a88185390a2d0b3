import csv
import json

import numpy as np
import pytest

from prefrl import EnvConfig, PreferenceConfig, TrainConfig, train
from prefrl.cli import main
from prefrl.control.agent.agent import AgentConfig
from prefrl.control.config import config_as_json, config_from_json
from prefrl.control.finish import load_run
from prefrl.control.policies.evaluate import evaluate
from prefrl.control.queries import QueryConfig
from prefrl.control.reward.correlation import correlation
from prefrl.core.store import LabelStore
from prefrl.errors import ConfigError, FilmError, RunDirectoryError, UnsupportedSpaceError
from prefrl.runtime.rundir import RunDirectory

DOT = "prefrl_envs:prefrl/MovingDot-v0"
SUMMARY = {
    "env_id", "algo", "agent_settings", "seed", "labels", "env_steps", "wall_seconds",
    "eval_return_mean", "eval_return_std", "eval_episodes", "reward_correlation",
    "reward_accuracy_holdout", "reward_accuracy_on_policy", "reward_spearman_on_policy", "versions",
}  # fmt: skip


def short(path, **options):
    options = {"steps": 4000, "eval_episodes": 3, "films": False, "sync": True, **options}
    preferences = PreferenceConfig(
        labels=20, segment_length=10, query=QueryConfig(warmup_segments=10)
    )
    return TrainConfig(
        options.pop("env_id", DOT),
        run=path,
        preferences=preferences,
        agent=AgentConfig(n_envs=4, n_steps=100, batch_size=100, n_epochs=2, hidden=(16,)),
        **options,
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    return train(short(tmp_path_factory.mktemp("run"), films=True))


def rows(path):
    with path.open() as file:
        return list(csv.DictReader(file))


def test_a_run_writes_what_it_promises(finished):
    run = finished.run
    summary = json.loads(run.summary.read_text())
    assert set(summary) >= SUMMARY
    assert summary["labels"] == 20
    assert summary["env_steps"] == 4000
    assert summary["agent_settings"] == "prefrl's defaults"
    assert json.loads(run.config.read_text())["agent"]["gamma"] == 0.98  # nobody has given it
    metrics = rows(run.metrics)
    assert len(metrics) == 10
    assert metrics[-1]["env_steps"] == "4000"
    assert rows(run.fits)
    assert run.policy.is_file()
    assert list(run.tensorboard.iterdir())
    films = {path.name for path in run.films.iterdir()}
    assert {"before.webm", "after.webm", "pairs.json", "pair0_left.png"} <= films
    assert not finished.notes


def test_a_horizon_cuts_episodes_of_the_training_and_not_of_the_evaluation(tmp_path):
    result = train(short(tmp_path / "run", steps=800, horizon=20))
    assert rows(result.run.metrics)[-1]["episodes"] == "40"
    with np.load(result.run.evaluation) as stored:
        assert stored["true_rewards"].shape == (3, 50)


@pytest.mark.parametrize("steps", [4000, 3333, 401])
def test_all_labels_are_answered_before_the_last_rollout(tmp_path, steps):
    """A rollout has 400 steps."""
    result = train(short(tmp_path / "run", steps=steps))
    assert [row["labels"] for row in rows(result.run.metrics)][-2:] == ["20", "20"]
    assert result.summary["labels"] == 20
    with LabelStore(result.run.labels) as store:
        assert (store.counts().answered, store.counts().open) == (20, 0)


def test_the_evaluation_can_be_repeated_from_the_files_alone(finished):
    config, agent, net = load_run(finished.run)
    again = evaluate(agent, DOT, episodes=3, seed=config.seed + 1_000_003, net=net)
    assert again.returns.mean() == pytest.approx(finished.summary["eval_return_mean"], abs=1e-6)
    with np.load(finished.run.evaluation) as stored:
        np.testing.assert_allclose(again.predicted_rewards, stored["predicted_rewards"], atol=1e-5)


def test_episodes_that_are_cut_are_told(tmp_path, finished, capsys):
    assert finished.summary["eval_episodes_cut"] == 0
    result = train(short(tmp_path / "run", steps=800, eval_max_steps=20))
    assert result.summary["eval_episodes_cut"] == 3
    assert result.notes[0].startswith("3 of 3 episodes of the evaluation were cut after 20 steps")
    main(["evaluate", str(result.run.root), "--episodes", "2"])
    assert "2 episodes, 2 of them cut" in " ".join(capsys.readouterr().out.split())


def test_the_config_comes_back_from_its_file(finished, tmp_path):
    config = short(tmp_path)
    assert config_from_json(config_as_json(config)) == config
    damaged = config_as_json(config)
    damaged["agent"]["no_such_setting"] = 1
    with pytest.raises(RunDirectoryError, match="no_such_setting"):
        config_from_json(damaged)


def test_the_same_seed_gives_the_same_metrics_and_another_does_not(tmp_path):
    tables = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        train(short(tmp_path / name, seed=seed))
        table = rows(tmp_path / name / "metrics.csv")
        tables.append([{k: v for k, v in row.items() if k != "wall_seconds"} for row in table])
    assert tables[0] == tables[1]
    assert tables[0] != tables[2]


def test_no_gl_is_a_note_and_not_an_end(tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise FilmError("no GL here")

    monkeypatch.setattr("prefrl.control.films.drawing._draw", refuse)
    result = train(short(tmp_path / "run", films=True))
    assert result.notes == ["no films: no GL here"]
    assert result.run.summary.is_file()


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"env_id": "HalfCheeta-v5"}, ConfigError, "HalfCheeta"),
        ({"env_id": "no_such_module:Env-v0"}, ConfigError, "no_such_module"),
        ({"env_id": "prefrl_envs:prefrl/InvertedPendulum-v0"}, ConfigError, None),
        ({"steps": 0}, ConfigError, "steps must be at least 1"),
        ({"horizon": 0}, ConfigError, "horizon must be at least 1"),
        ({"horizon": 9}, ConfigError, "horizon cuts episodes after 9 steps"),
        ({"reset_after_fall": 5}, ConfigError, "with is_healthy for reset_after_fall"),
        ({"steps": 50}, ConfigError, "expected segments enough"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_written(tmp_path, options, error, message):
    if message is None:  # an episode of 25 steps holds no segment of 50
        preferences = PreferenceConfig(labels=20, segment_length=50)
        config = TrainConfig(**options, run=tmp_path / "run", preferences=preferences)
        with pytest.raises(error, match=r"segment_length is 50, but an episode .* ends after 25"):
            train(config)
    else:
        with pytest.raises(error, match=message):
            train(short(tmp_path / "run", **options))
    assert not (tmp_path / "run").exists()


def test_spaces_that_are_not_supported_are_refused(tmp_path):
    clipped = EnvConfig(wrapper=("gymnasium.wrappers:ClipAction",))
    with pytest.raises(UnsupportedSpaceError, match="a lower and an upper bound"):
        train(short(tmp_path / "run", env_id="Pendulum-v1", env=clipped))
    assert not (tmp_path / "run").exists()


def test_a_run_that_has_saved_nothing_cannot_be_loaded(tmp_path):
    run = RunDirectory.create(tmp_path / "run")
    run.write_json(run.config, config_as_json(short(tmp_path / "run")))
    with pytest.raises(RunDirectoryError, match="expected a policy or a checkpoint"):
        load_run(run)


def test_correlation_by_hand():
    assert correlation(np.array([1.0, 2.0, 3.0]), np.array([2.0, 4.0, 6.0])) == pytest.approx(1)
    # deviations (-1, 1, 0) and (-1, 0, 1): 1 / sqrt(2 * 2)
    assert correlation(np.array([1.0, 3.0, 2.0]), np.array([1.0, 2.0, 3.0])) == pytest.approx(0.5)
    assert np.isnan(correlation(np.ones(3), np.arange(3.0)))
    assert correlation(np.array([1.0, 2.0, np.nan]), np.array([1.0, 2.0, 9.0])) == pytest.approx(1)
