"""Pictures from start to end: solved from comparisons, and a game from the command line."""

import csv
import dataclasses

import numpy as np
import pytest
import torch
from control.toys import screens
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import VecNormalize

from prefrl import HideReward, PreferenceCallback, PreferenceConfig, TrainConfig
from prefrl.cli import main
from prefrl.control.agent.agent import Agent, AgentConfig
from prefrl.control.presets import PRESETS, preset, preset_for
from prefrl.control.queries import QueryConfig
from prefrl.control.replay import replay_run
from prefrl.control.reward.config import RewardNetConfig
from prefrl.control.train import train
from prefrl.core.trainer import FitConfig
from prefrl.errors import ConfigError
from prefrl.runtime.rundir import RunDirectory

DOT = "prefrl_envs:prefrl/MovingDotPixels-v0"
PONG = "prefrl_envs:prefrl/Pong-v0"
SMALL_NET = RewardNetConfig(
    frame_stack=1,
    inputs="state",
    convolutions=((5, 3, 16), (3, 2, 16)),
    fit_frames=4,
    reward_std=0.1,
)


@pytest.mark.timeout(300)
def test_pixel_moving_dot_is_solved_from_comparisons(tmp_path):
    """At random an episode brings about -75, the best possible is about -12."""
    config = TrainConfig(
        DOT,
        steps=44_000,
        sync=True,
        films=False,
        run=tmp_path / "run",
        eval_episodes=2,
        preferences=PreferenceConfig(
            labels=400,
            segment_length=15,
            initial_fraction=0.5,
            schedule="constant",
            refit_growth=0.1,
            query=QueryConfig(warmup_segments=120),
            net=SMALL_NET,
            fit=FitConfig(max_steps=150, check_every=50, learning_rate=2e-3, l2=0.02),
        ),
        agent=AgentConfig(
            n_envs=8,
            n_steps=128,
            batch_size=128,
            n_epochs=4,
            learning_rate=1e-3,
            gamma=0.95,
            ent_coef=0.01,
            frame_stack=1,
        ),
    )
    rows = []
    train(config, on_rollout=rows.append)
    assert rows[0]["true_return_mean"] < -50
    assert np.mean([row["true_return_mean"] for row in rows[-6:]]) > -28
    assert np.mean([row["reward_correlation"] for row in rows[-6:]]) > 0.7


@pytest.mark.timeout(400)
def test_five_thousand_steps_of_pong_from_start_to_report(tmp_path, capsys):
    run = RunDirectory(tmp_path / "run")
    main(
        ["train", PONG, "--steps", "5000", "--labels", "40", "--warmup-segments", "40",
         "--first-labels", "10", "--pretraining-epochs", "3", "--fit.min-steps", "5",
         "--fit.max-steps", "5", "--agent.n-epochs", "1", "--eval-episodes", "2",
         "--eval-max-steps", "60", "--run", str(run.root)]
    )  # fmt: skip
    said = capsys.readouterr().out
    assert "preset atari" in said
    assert "40 labels" in said
    for name in ("before.webm", "after.webm", "pair0_left.png"):
        assert (run.films / name).stat().st_size > 500
    assert (run.root / "report" / "index.html").is_file()
    with run.metrics.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert int(rows[-1]["env_steps"]) == 5120
    assert int(rows[-1]["reward_version"]) >= 1
    assert all(fit.same for fit in replay_run(run))


def test_the_callback_works_in_a_script_with_pictures_and_numbers():
    torch.manual_seed(0)
    venv = HideReward(screens(2, length=6, shape=(40, 40, 1), as_dict=True))
    venv = VecNormalize(venv, norm_reward=False, norm_obs_keys=["time"])
    callback = PreferenceCallback(
        PreferenceConfig(
            labels=20,
            segment_length=3,
            query=QueryConfig(warmup_segments=10),
            net=SMALL_NET,
            fit=FitConfig(max_steps=60, min_steps=60),
        )
    )
    model = PPO("MultiInputPolicy", venv, n_steps=32, batch_size=32, n_epochs=1, device="cpu")
    model.learn(256, callback=callback)
    assert callback.rows[-1]["labels"] == 20
    # The brighter, the better: that can be seen, and learned.
    assert callback.rows[-1]["reward_correlation"] > 0.8
    segment = callback.pool.recent(1)[0]
    assert segment.frames.unpack().shape == (3, 1, 40, 40)
    assert segment.observations.shape == (3, 1)


def test_a_small_budget_is_kept_by_a_run(tmp_path):
    """Of the candidates the oldest go; what was asked about is read from disk again."""
    budget = 7_000
    net = dataclasses.replace(SMALL_NET, convolutions=((8, 4, 4), (4, 2, 4)))
    callback = PreferenceCallback(
        PreferenceConfig(
            labels=20,
            segment_length=10,
            refit_growth=1.0,
            query=QueryConfig(warmup_segments=5, pool_size=100, pool_bytes=budget),
            net=net,
            fit=FitConfig(max_steps=2, min_steps=2),
        ),
        run=tmp_path / "run",
    )
    seen = []

    def look(self):
        seen.append((callback.pool.nbytes, callback.items.nbytes, len(callback.pool)))
        return True

    agent = Agent(PONG, "a2c", AgentConfig(n_envs=2, n_steps=50, frame_stack=1), seed=0)
    looking = type("Looking", (BaseCallback,), {"_on_step": look})()
    agent.model.learn(800, callback=[callback, looking])
    agent.close()
    assert callback.rows[-1]["reward_version"] >= 1
    pool, items, n_segments = np.array(seen).T
    assert max(pool.max(), items.max()) <= budget
    assert 5 < n_segments.max() < 78  # of 80
    kept = sum(callback.items[item].nbytes for item in list(callback.items))
    assert kept > budget >= callback.items.nbytes


def test_presets_are_complete_and_can_be_overridden():
    for name in PRESETS:
        made = preset(name, DOT, steps=10_000_000, seed=3)
        assert (made.env_id, made.steps, made.seed) == (DOT, 10_000_000, 3)
        schedule = made.preferences.label_schedule(made.steps)
        if name.endswith("-atari"):
            assert schedule.due(0) == 500
    paper = preset("christiano-atari", PONG)
    assert paper.preferences.net.batch_norm
    assert paper.preferences.learner.newest == 3000
    first = paper.preferences.learner.fit_for(500, is_first=True)
    assert first.max_steps == first.min_steps == 200 * 32  # 200 passes of 500 in batches of 16
    assert first.restart
    assert not paper.preferences.learner.fit_for(600, is_first=False).restart
    assert not paper.preferences.learner.is_due(499, 0)
    assert paper.preferences.learner.is_due(500, 0)
    with pytest.raises(ConfigError, match="christiano-atari"):
        preset("paper", PONG)


def test_the_preset_follows_from_what_the_environment_shows():
    assert preset_for(PONG) == preset_for(DOT) == "atari"
    assert preset_for("CartPole-v1") == "control"


def test_help_shows_the_values_of_a_preset(capsys):
    for arguments in (["--preset", "christiano-atari"], ["--preset=christiano-atari"]):
        main(["train", *arguments, "--help"])
        assert "(5500)" in capsys.readouterr().out
