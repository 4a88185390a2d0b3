"""Forty environments as users have them: made, stepped, asked about, learned from, reported."""

import pytest

from prefrl import EnvConfig, PreferenceConfig, TrainConfig, train
from prefrl.control.agent.config import AgentConfig
from prefrl.control.films.clips import choose_gl
from prefrl.control.queries import QueryConfig
from prefrl.report import write_report

DRAWN_BY_PYGAME = (None, "Box2D", "minigrid", "highway_env")
FLAT = EnvConfig(wrapper=("minigrid.wrappers:FlatObsWrapper",))
ENVIRONMENTS = {  # by the library that they need besides Gymnasium
    None: [
        *("CartPole-v1", "Acrobot-v1", "MountainCar-v0", "MountainCarContinuous-v0", "Pendulum-v1"),
        *("Blackjack-v1", "CliffWalking-v1", "FrozenLake-v1", "Taxi-v4"),
    ],
    "mujoco": [
        *("Ant-v5", "HalfCheetah-v5", "Hopper-v5", "Humanoid-v5", "HumanoidStandup-v5"),
        *("InvertedDoublePendulum-v5", "InvertedPendulum-v5", "Pusher-v5", "Reacher-v5"),
        *("Swimmer-v5", "Walker2d-v5"),
    ],
    "Box2D": ["BipedalWalker-v3", "CarRacing-v3", "LunarLander-v3", "LunarLanderContinuous-v3"],
    "minigrid": [
        *("minigrid:MiniGrid-Empty-5x5-v0", "minigrid:MiniGrid-DoorKey-5x5-v0"),
        *("minigrid:MiniGrid-FourRooms-v0", "minigrid:MiniGrid-Dynamic-Obstacles-5x5-v0"),
        *("minigrid:MiniGrid-LavaGapS5-v0", "minigrid:MiniGrid-Unlock-v0"),
    ],
    "highway_env": [
        *("highway_env:highway-fast-v0", "highway_env:merge-v0", "highway_env:parking-v0"),
        *("highway_env:roundabout-v0", "highway_env:racetrack-v0"),
    ],
    "minatar": [
        *("minatar.gym:MinAtar/Breakout-v1", "minatar.gym:MinAtar/Freeway-v1"),
        "minatar.gym:MinAtar/SpaceInvaders-v1",
    ],
    "gymnasium_robotics": [
        "gymnasium_robotics:FetchReach-v4",
        "gymnasium_robotics:PointMaze_UMaze-v3",
    ],
}
NOT_REPEATABLE = {"BipedalWalker-v3"}
"""Those that go another way from the same seed and actions, so that nothing can be filmed."""
ALL_TIES = {"Acrobot-v1", "MountainCar-v0"}
"""Those whose end random play does not find in so few steps: labels that are due late are kept."""
CASES = [(library, env_id) for library, ids in ENVIRONMENTS.items() for env_id in ids]


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.filterwarnings("ignore")  # their own
@pytest.mark.parametrize(("library", "env_id"), CASES, ids=[env_id for _, env_id in CASES])
def test_it_is_learned_from_and_reported(tmp_path, library, env_id):
    if library is not None:
        pytest.importorskip(library)
    if library in DRAWN_BY_PYGAME:
        pytest.importorskip("pygame")
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
