"""Data on Atari games: masked parts of the screen, and the penalty for the end of a game.

Christiano et al. 2017 (appendix A) mask what reveals the reward in the picture: the score in every
game, BeamRider's count of enemy ships, Enduro's speedometer. Otherwise a reward net would read the
score instead of judging the play.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path

__all__ = ["GAMES", "HEIGHT", "WIDTH", "Game", "find_roms", "game_of"]

WIDTH, HEIGHT = 160, 210
"""Size of the console's screen, in pixels."""

Rectangle = tuple[int, int, int, int]
"""Left, top, right and bottom in pixels of the screen; right and bottom are exclusive."""

_END_OF_GAME = 10.0  # more than a clip of 25 steps usually earns, at most one point a step


@dataclass(frozen=True)
class Game:
    """Masks and penalty of a game."""

    rom: str
    """ALE's name of the game, in snake_case."""
    masks: tuple[Rectangle, ...] = ()
    """Parts of the screen that are blacked out."""
    penalty: float = _END_OF_GAME
    """Penalty for the end of a game, in the reward that the oracle sees; none in Pong, where the
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
    """Lists ALE's names of all installed games, without importing ale-py; none if it is absent."""
    found = importlib.util.find_spec("ale_py")
    if found is None or found.origin is None:
        return []
    return sorted(path.stem for path in (Path(found.origin).parent / "roms").glob("*.bin"))


def game_of(rom: str) -> Game:
    """Returns the game of a ROM; games other than the seven have no masks."""
    return next((game for game in GAMES.values() if game.rom == rom), Game(rom))
