"""What environments of Gymnasium and others need, and what prefrl chooses for them."""

import argparse
import csv
import importlib.util
from pathlib import Path

from csv_rows import append_row
from gymnasium.spaces import Box

from prefrl import EnvConfig, TrainConfig
from prefrl.control.config import with_settings
from prefrl.control.environments.source import make_env
from prefrl.control.environments.spaces import layout_of
from prefrl.control.films.clips import ClipRenderer
from prefrl.control.films.games import open_renderer
from prefrl.errors import PrefrlError

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
        *("with_minatar:MinAtar/Breakout-v1", "minatar.gym:MinAtar/Freeway-v1"),
        "with_minatar:MinAtar/SpaceInvaders-v1",
    ],
    "gymnasium_robotics": [
        "gymnasium_robotics:FetchReach-v4",
        "gymnasium_robotics:PointMaze_UMaze-v3",
    ],
}
NEEDS = {
    None: "pygame",
    "mujoco": "nothing",
    "Box2D": "gymnasium[box2d]",
    "minigrid": "minigrid",
    "highway_env": "highway-env",
    "minatar": "minatar and a module that calls its register_envs()",
    "gymnasium_robotics": "gymnasium-robotics",
}
CASES = [(library, env_id) for library, ids in ENVIRONMENTS.items() for env_id in ids]
_TABLE = Path(__file__).parents[1] / "tables" / "environments.csv"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("env_ids", nargs="*", help="some of them; by default all")
    wanted = parser.parse_args().env_ids
    done = [row["environment"] for row in _rows()]
    for library, env_id in CASES:
        is_there = library is None or importlib.util.find_spec(library) is not None
        if is_there and env_id not in done and (not wanted or env_id in wanted):
            try:
                append_row(_TABLE, _row(library, env_id))
            except PrefrlError as error:
                print(f"{env_id} is left out: {error}")
    rows = _rows()
    print("\n".join([_line(rows[0].keys()), _line("--" for _ in rows[0])]))
    print("\n".join(_line(row.values()) for row in rows))


def _rows():
    return list(csv.DictReader(_TABLE.open(newline=""))) if _TABLE.is_file() else []


def _line(cells):
    return f"| {' | '.join(cells)} |"


def _row(library, env_id):
    env = FLAT if library == "minigrid" else EnvConfig()
    config, _ = with_settings(TrainConfig(env_id, env=env))
    made = make_env(env_id, env)
    layout, actions = layout_of(made.observation_space), made.action_space
    made.close()
    pictures = f"a picture {layout.picture}" if layout.picture else ""
    numbers = f"{layout.width} numbers" if layout.width else ""
    return {
        "environment": env_id,
        "needs": NEEDS[library],
        "observations": " and ".join(part for part in (pictures, numbers) if part),
        "actions": _told(actions),
        "segment": config.preferences.segment_length,
        "reward reads": config.preferences.net.inputs,
        "films": _filmed(env_id, env),
    }


def _told(actions):
    if not isinstance(actions, Box):
        return str(actions)
    return f"{actions.shape[0]} in [{actions.low.min():g}, {actions.high.max():g}]"


def _filmed(env_id, env):
    """How pictures are made."""
    try:
        with open_renderer(env_id, env=env) as renderer:
            renderer.first_frame()
            return "from states" if isinstance(renderer, ClipRenderer) else "played again"
    except PrefrlError as error:
        return (
            "none: it does not repeat itself" if "reproducible" in str(error) else f"none: {error}"
        )


if __name__ == "__main__":
    main()
