"""Named settings: what follows from them when a training begins."""

import numpy as np
import pytest
from prefrl_envs.atari import _FRAMES_PER_STEP, _LONGEST_GAME

from prefrl.cli import main
from prefrl.commands import train as command
from prefrl.control.agent.config import AgentConfig
from prefrl.control.agent.settings import resolve
from prefrl.control.items import Items
from prefrl.control.pool import SegmentPool
from prefrl.control.presets import PRESETS, preset
from prefrl.control.queries import SegmentSource
from prefrl.control.segments import Segment
from prefrl.core.store import LabelStore
from prefrl.runtime.questioner import Questioner

PONG = "prefrl_envs:prefrl/Pong-v0"


@pytest.mark.parametrize("name", [name for name in PRESETS if name.endswith("atari")])
def test_the_longest_games_are_evaluated_to_their_end(name):
    assert preset(name, PONG).eval_max_steps * _FRAMES_PER_STEP == _LONGEST_GAME


@pytest.mark.parametrize("name", ["christiano-atari", "ibarz-atari"])
def test_first_labels_of_the_papers_are_about_many_segments_and_not_the_openings(name):
    """Among 500 pairs of so many, a segment comes up once on average, so e^-1 of them do not."""
    config = preset(name, PONG)
    query, due = config.preferences.query, config.preferences.label_schedule(config.steps).due(0)
    pool = SegmentPool(query.pool_size, max_bytes=query.pool_bytes)
    for number in range(query.warmup_segments):
        nothing = np.zeros((2, 1), np.float32)
        pool.add(Segment(f"s{number}", nothing, nothing), np.zeros(2))
    with LabelStore("sqlite://") as store:
        source, rng = SegmentSource(pool, Items(None), query), np.random.default_rng(0)
        questioner = Questioner(source, store, config=query, rng=rng)
        assert questioner.ask_due(due, None, run_steps=0)
        asked = questioner.asked.values()
    assert len(asked) == due == 500
    assert len({item for q in asked for item in (q.left, q.right)}) > 550


def test_the_preset_for_pictures_is_what_it_was():
    made = resolve(PONG, "ppo", preset("atari", PONG).agent).config
    assert (made.n_envs, made.n_steps, made.batch_size, made.n_epochs) == (8, 128, 256, 4)
    assert (made.learning_rate, made.clip_range, made.ent_coef) == (2.5e-4, 0.1, 0.01)
    assert (made.gamma, made.gae_lambda, made.hidden) == (0.99, 0.95, ())
    assert (made.linear_decay, made.clip_range_decay) == (True, True)
    paper = resolve(PONG, "a2c", preset("christiano-atari", PONG).agent).config
    assert (paper.n_envs, paper.n_steps, paper.gae_lambda, paper.vf_coef) == (16, 5, 1.0, 0.5)
    assert made.source == paper.source == "prefrl's defaults for pictures"


@pytest.mark.parametrize("given", [["--algo", "dqn"], ["--algo=dqn", "--preset", "atari"]])
def test_another_algorithm_takes_its_own_settings(monkeypatch, tmp_path, given):
    """Those of the preset are PPO's: a DQN would refuse them."""
    seen = []

    def training(config, **hooks):
        seen.append(config)
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "run_training", training)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit):
        main(["train", PONG, *given, "--agent.settings", "default"])
    assert seen[0].preferences == preset("atari", PONG).preferences
    assert (seen[0].algo, seen[0].agent.buffer_size) == ("dqn", 100_000)
    assert preset("atari", PONG, algo="dqn").agent == AgentConfig()
