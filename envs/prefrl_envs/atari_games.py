"""Atari games as data: what is blacked out on the screen, and what the end of a game costs.

Christiano et al. 2017 (appendix A) take from the picture what gives the reward away: the score in
every game, BeamRider's count of enemy ships, Enduro's speedometer. Without that a reward net would
read the score instead of judging the play.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path

__all__ = ["GAMES", "HEIGHT", "WIDTH", "Game", "find_roms", "game_of"]

WIDTH, HEIGHT = 160, 210
"""Size of the console's screen, in pixels."""

Rectangle = tuple[int, int, int, int]
"""Left, top, right, bottom in pixels of the screen; right and bottom are outside."""

_END_OF_GAME = 10.0  # outweighs what a clip of 25 steps usually earns, at one point a step at most


@dataclass(frozen=True)
class Game:
    """What prefrl knows of a game."""

    rom: str
    """ALE's name of it, in snake_case."""
    masks: tuple[Rectangle, ...] = ()
    """What is blacked out."""
    penalty: float = _END_OF_GAME
    """What the end of a game costs, in the reward that the oracle sees. Pong has none: there the
    end is no fault (Christiano et al. 2017, appendix A)."""


GAMES = {
    "BeamRider": Game("beam_rider", ((0, 0, 160, 31), (0, 31, 48, 42))),  # score; enemy ships
    "Breakout": Game("breakout", ((0, 0, 160, 17),)),
    "Enduro": Game("enduro", ((48, 160, 113, 192),)),  # distance, day, cars to pass
    "Pong": Game("pong", ((0, 0, 160, 24),), penalty=0.0),
    "Qbert": Game("qbert", ((0, 0, 160, 14),)),
    "Seaquest": Game("seaquest", ((0, 0, 160, 18),)),
    "SpaceInvaders": Game("space_invaders", ((0, 0, 160, 21),)),
}
"""The seven games of Christiano et al. 2017, by name."""


def find_roms() -> list[str]:
    """ALE's names of all games that are installed; none without ale-py, which is not imported."""
    found = importlib.util.find_spec("ale_py")
    if found is None or found.origin is None:
        return []
    return sorted(path.stem for path in (Path(found.origin).parent / "roms").glob("*.bin"))


def game_of(rom: str) -> Game:
    """The game of a ROM; those that nobody has looked at yet have no masks."""
    return next((game for game in GAMES.values() if game.rom == rom), Game(rom))
