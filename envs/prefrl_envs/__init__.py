"""Preference-ready environments. Importing this registers them with Gymnasium.

Make one with ``gymnasium.make("prefrl_envs:prefrl/Hopper-v0")``: Gymnasium imports the part before
the colon, in spawned processes too. All episodes of an environment have the same length, and the
reward depends only on what a person can see in a clip. Atari games, such as prefrl/Pong-v0 (extra
``atari``), have no episodes at all.
"""

from gymnasium import register

from prefrl_envs.atari_games import GAMES, find_roms

__all__: list[str] = []

_HORIZONS = {
    "Reacher": 50,
    "InvertedPendulum": 25,
    "InvertedDoublePendulum": 50,
    "HalfCheetah": 1000,
    "Swimmer": 1000,
    "Hopper": 1000,
    "Walker2d": 1000,
    "Ant": 1000,
}

for _name, _horizon in _HORIZONS.items():
    register(
        f"prefrl/{_name}-v0",
        entry_point=f"prefrl_envs.mujoco_tasks:{_name}",
        max_episode_steps=_horizon,
    )
for _suffix, _options in (
    ("", {}),
    ("Continuous", {"continuous": True}),
    ("Pixels", {"pixels": True}),
):
    register(
        f"prefrl/MovingDot{_suffix}-v0",
        entry_point="prefrl_envs.moving_dot:MovingDot",
        max_episode_steps=50,
        kwargs=_options,
    )

for _rom in {*find_roms(), *(game.rom for game in GAMES.values())}:
    register(
        f"prefrl/{''.join(word.capitalize() for word in _rom.split('_'))}-v0",
        entry_point="prefrl_envs.atari:Atari",
        vector_entry_point="prefrl_envs.atari:AtariVector",
        kwargs={"rom": _rom},
    )
