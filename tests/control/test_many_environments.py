"""Forty environments as users have them: made, stepped, asked about, learned from, reported."""

import pytest
from environments import CASES, FLAT

from prefrl import EnvConfig, PreferenceConfig, TrainConfig, train
from prefrl.control.agent.config import AgentConfig
from prefrl.control.films.clips import choose_gl
from prefrl.control.queries import QueryConfig
from prefrl.report import write_report

DRAWN_BY_PYGAME = (None, "Box2D", "minigrid", "highway_env")
NOT_REPEATABLE = {
    "BipedalWalker-v3",
    "with_minatar:MinAtar/Freeway-v1",
    "with_minatar:MinAtar/SpaceInvaders-v1",
}
"""Those that go another way from the same seed and actions, so that nothing can be filmed."""
TOO_OLD = {"gymnasium_robotics:FetchReach-v4"}
"""Those that cannot be made with the MuJoCo of today."""
ALL_TIES = {"Acrobot-v1", "MountainCar-v0"}
"""Those whose end random play does not find in so few steps: labels that are due late are kept."""


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.filterwarnings("ignore")  # their own
@pytest.mark.parametrize(("library", "env_id"), CASES, ids=[env_id for _, env_id in CASES])
def test_it_is_learned_from_and_reported(tmp_path, library, env_id):
    if library is not None:
        pytest.importorskip(library)
    if library in DRAWN_BY_PYGAME:
        pytest.importorskip("pygame")
    if env_id in TOO_OLD:
        pytest.xfail("its library is not made for this MuJoCo")
    config = TrainConfig(
        env_id,
        steps=1_200,
        sync=True,
        run=tmp_path / "run",
        eval_episodes=1,
        eval_max_steps=200,
        env=FLAT if library == "minigrid" else EnvConfig(),
        preferences=PreferenceConfig(labels=8, query=QueryConfig(warmup_segments=4)),
        agent=AgentConfig(settings="default", n_envs=4, n_steps=100, batch_size=100, n_epochs=1),
    )
    result = train(config)
    assert result.finished
    assert result.summary["labels"] == (6 if env_id in ALL_TIES else 8)
    assert result.summary["segment_length"] >= 2
    assert write_report(result.run).is_file()
    no_films = [note for note in result.notes if "were cut after" not in note]
    if env_id in NOT_REPEATABLE:
        assert ["not reproducible" in note for note in no_films] == [True]
    elif library != "mujoco" or choose_gl() is not None:
        assert not no_films
        films = {"before.webm", "after.webm", "pair0_left.png", "pair0_right.png", "pairs.json"}
        assert films <= {path.name for path in result.run.films.iterdir()}
