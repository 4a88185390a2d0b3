"""A script's run is finished as one of prefrl train is: evaluated, filmed, summed up, reported."""

import re

import numpy as np
import pytest
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.torch_layers import FlattenExtractor
from stable_baselines3.common.vec_env import VecNormalize

from prefrl import (
    FitConfig,
    HideReward,
    PreferenceCallback,
    PreferenceConfig,
    QueryConfig,
    RunDirectory,
    TrainConfig,
    finish_script,
    record_for_films,
)
from prefrl.cli import main
from prefrl.control.config import config_as_json
from prefrl.errors import RoleError, RunDirectoryError
from prefrl.runtime.roles.role import only_one

DOT = "prefrl_envs:prefrl/MovingDot-v0"
CONFIG = PreferenceConfig(
    labels=8,
    segment_length=10,
    query=QueryConfig(warmup_segments=10),
    fit=FitConfig(min_steps=10, max_steps=10),
)


class Doubled(FlattenExtractor):
    """Nets that config.json cannot describe."""

    def forward(self, observations):
        return 2 * super().forward(observations)


def trained(run, *, wrapper=record_for_films, **policy):
    venv = HideReward(make_vec_env(DOT, n_envs=2, seed=0, wrapper_class=wrapper))
    venv = VecNormalize(venv, norm_reward=False)
    model = PPO(
        "MlpPolicy", venv, n_steps=128, batch_size=64, seed=0, device="cpu", policy_kwargs=policy
    )
    callback = PreferenceCallback(CONFIG, run=run)
    model.learn(1024, callback=callback)
    return model, callback


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    root = tmp_path_factory.mktemp("finished") / "run"
    model, callback = trained(root, net_arch=[16])
    return model, callback, finish_script(root, episodes=3)


def test_it_says_what_was_learned(finished):
    _, callback, result = finished
    summary = result.summary
    assert result.finished
    assert not result.notes
    assert summary == result.run.read_json(result.run.summary)
    assert (summary["labels"], summary["env_steps"], summary["eval_episodes"]) == (8, 1024, 3)
    assert summary["reward_version"] == callback.partners.used.version
    with np.load(result.run.evaluation) as arrays:
        assert arrays["true_rewards"].shape == arrays["predicted_rewards"].shape == (3, 50)
        assert np.isclose(arrays["true_rewards"].sum(1).mean(), summary["eval_return_mean"])


def test_what_is_evaluated_is_the_model_and_one_that_has_learned_nothing(finished):
    model, _, result = finished
    summary = result.summary
    assert summary["eval_return_before_mean"] != summary["eval_return_mean"]
    venv = make_vec_env(DOT, n_envs=3, seed=1_000_003)
    seen, total = venv.reset(), np.zeros(3)
    for _ in range(50):
        seen = model.get_vec_normalize_env().normalize_obs(seen)
        actions, _ = model.predict(seen, deterministic=True)
        seen, rewards, dones, _ = venv.step(actions)
        total += rewards
    assert dones.all()
    assert np.isclose(total.mean(), summary["eval_return_mean"], atol=1e-3)


def test_the_films_and_the_report_are_there_and_status_says_so(finished, capsys):
    run = finished[-1].run
    names = {path.name for path in run.films.iterdir()}
    assert {"before.webm", "after.webm", "pairs.json", "pair0_left.png"} <= names
    page = (run.report / "index.html").read_text()
    after = finished[-1].summary["eval_return_mean"]
    assert re.search(rf"true return before.*{abs(round(after))}", page, re.DOTALL)
    main(["status", str(run.root)])
    assert re.search(r"agent +finished", capsys.readouterr().out)


def test_more_training_makes_it_unfinished(tmp_path):
    root = tmp_path / "run"
    model, _ = trained(root, wrapper=None)
    result = finish_script(root, episodes=1, films=False)
    assert not list(result.run.films.iterdir())
    model.learn(256, callback=PreferenceCallback(CONFIG, run=root), reset_num_timesteps=False)
    assert not result.run.summary.exists()
    assert finish_script(root, episodes=1, films=False).summary["env_steps"] == 1280


def test_without_recordings_the_pairs_are_a_note(tmp_path):
    trained(tmp_path / "run", wrapper=None)
    result = finish_script(tmp_path / "run", episodes=1)
    assert {"before.webm", "after.webm"} <= {path.name for path in result.run.films.iterdir()}
    assert len(result.notes) == 1
    assert "to be recorded for films, but it was not" in result.notes[0]


def test_nets_of_the_script_s_own_are_refused(tmp_path):
    trained(tmp_path / "run", features_extractor_class=Doubled, activation_fn=torch.nn.CELU)
    with pytest.raises(
        RunDirectoryError, match=r"its own: activation_fn, features_extractor_class; evaluate"
    ):
        finish_script(tmp_path / "run", episodes=1, films=False)


def test_it_has_to_be_trained(tmp_path):
    root = tmp_path / "run"
    PreferenceCallback(CONFIG, run=root)
    with pytest.raises(RunDirectoryError, match="has none"):
        finish_script(root)


def test_a_training_under_way_is_not_finished(finished):
    run = finished[-1].run
    with only_one(run, "agent"), pytest.raises(RoleError, match="another process works on it"):
        finish_script(run.root, episodes=1)


def test_a_run_of_the_shell_finishes_itself(tmp_path):
    run = RunDirectory.create(tmp_path / "run")
    run.write_json(run.config, config_as_json(TrainConfig(DOT)))
    with pytest.raises(RunDirectoryError, match="made by prefrl train, which evaluates by itself"):
        finish_script(run.root)
