"""Atari games in preference-ready form: no observation reveals the reward.

As in Christiano et al. 2017, appendix A: up to 30 no-ops at the start, four frames a step, the
maximum of the last two, 84 x 84 grey pixels, the score and the like blacked out. The agent is told
neither of a lost life nor of the end of a game: the next game just begins. ALE's own vector
environment steps the games, in C++ threads.

A game's number and actions determine its state, so it can be continued elsewhere, and drawn in
colour for people, without storing anything else. The number combines one of ALE's seeds with how
many games were played since. Seeding takes a tenth of a second, in which all games stand still; the
next game begins within milliseconds, and follows from the seed as well.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from prefrl_envs.atari_games import HEIGHT, WIDTH, Game, game_of

try:
    from ale_py import AtariVectorEnv
except ImportError as _error:
    raise gym.error.DependencyNotInstalled(
        "ale-py is missing; pip install 'prefrl[atari]' brings it, with the games."
    ) from _error

__all__ = ["Atari", "AtariVector", "black_out"]

_SIDE = 84
_FRAMES_PER_STEP = 4
_LONGEST_GAME = 108_000  # frames: half an hour of play
_FPS = 15  # steps: the console draws 60 frames a second
_GAMES_PER_SEED = 50  # to begin the last one, all before it must be begun

Frames = NDArray[np.uint8]
Info = dict[str, Any]


def _ale(game: Game, n_envs: int, *, colour: bool = False) -> AtariVectorEnv:
    """Makes ALE's environments, which by default clip rewards and begin games one step later."""
    return AtariVectorEnv(
        game.rom,
        n_envs,
        stack_num=1,
        frameskip=_FRAMES_PER_STEP,
        max_num_frames_per_episode=_LONGEST_GAME,
        autoreset_mode=gym.vector.AutoresetMode.SAME_STEP,
        reward_clipping=False,
        grayscale=not colour,
        img_height=HEIGHT if colour else _SIDE,
        img_width=WIDTH if colour else _SIDE,
    )


def black_out(frames: Frames, game: Game) -> Frames:
    """Blacks out the areas of a game's masks, in place, in pictures of any size.

    Args:
        frames: Pictures, shape (..., H, W), or (..., H, W, 3) in colour.
        game: The game with the masks.

    Returns:
        The same array.
    """
    in_colour = frames.shape[-1] == 3
    height, width = frames.shape[-3:-1] if in_colour else frames.shape[-2:]
    for left, top, right, bottom in game.masks:
        # Rounded outwards: a pixel partly under the mask would show some of what it hides.
        rows = slice(top * height // HEIGHT, -(-bottom * height // HEIGHT))
        columns = slice(left * width // WIDTH, -(-right * width // WIDTH))
        frames[(..., rows, columns, slice(None)) if in_colour else (..., rows, columns)] = 0
    return frames


def _number(seed: int, place: int) -> int:
    """Number of the game that follows ``place`` others after a seed."""
    return seed * _GAMES_PER_SEED + place


def _begin_games(ale: AtariVectorEnv, games: Mapping[int, int]) -> Frames:
    """Begins games, numbers by environment; returns the frames of all environments."""
    which = np.isin(np.arange(ale.num_envs), list(games))
    options = None if which.all() else {"reset_mask": which}
    seeds = [game // _GAMES_PER_SEED for _, game in sorted(games.items())]
    frames, _ = ale.reset(seed=np.array(seeds), options=options)
    for i, game in games.items():
        this = {"reset_mask": np.arange(ale.num_envs) == i}
        for _ in range(game % _GAMES_PER_SEED):
            frames, _ = ale.reset(options=this)
    return np.asarray(frames)


class _Journal:
    """A game from its start: all actions, one byte each."""

    def __init__(self) -> None:
        self._room = np.empty(1024, np.uint8)
        self.begin(0)

    def begin(self, game: int) -> None:
        self.game, self.n, self.score = game, 0, 0.0

    def note(self, action: int, score: float) -> None:
        if self.n == len(self._room):
            self._room = np.concatenate([self._room, np.empty_like(self._room)])
        self._room[self.n] = action
        self.n += 1
        self.score += score

    def actions(self) -> NDArray[np.uint8]:
        return self._room[: self.n].copy()


class AtariVector(gym.vector.VectorEnv[Any, Any, Any]):
    """N games side by side.

    Observations are single frames, shape (N, 1, 84, 84), to be stacked where several are needed.
    The reward is for the oracle: the points of the step, clipped to [-1, 1], less the game's
    penalty if the game ended. No step ends an episode. Each step's info has, for all N: ``score``,
    the points as the game counts them; ``game_over``; ``game``, the number of the game, and
    ``step``, that of its steps before this one; and for games that ended, by environment,
    ``final_score`` and ``journals``, their actions.

    Version history: v0, first release.

    Args:
        rom: ALE's name of the game.
        num_envs: N.
    """

    metadata: dict[str, Any] = {  # noqa: RUF012 as in Gymnasium
        "autoreset_mode": gym.vector.AutoresetMode.SAME_STEP,
        "render_fps": _FPS,
    }

    def __init__(self, rom: str, num_envs: int = 1) -> None:
        self.game = game_of(rom)
        self._ale = _ale(self.game, num_envs)
        self.num_envs = num_envs
        self.single_observation_space = spaces.Box(0, 255, (1, _SIDE, _SIDE), np.uint8)
        self.single_action_space = self._ale.single_action_space
        self.observation_space = gym.vector.utils.batch_space(
            self.single_observation_space, num_envs
        )
        self.action_space = gym.vector.utils.batch_space(self.single_action_space, num_envs)
        # From the system's entropy, until seeds are given.
        self._first_seeds = np.random.SeedSequence().generate_state(num_envs).tolist()
        self._n_seeds = [0] * num_envs
        self._journals = [_Journal() for _ in range(num_envs)]

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: Info | None = None
    ) -> tuple[Frames, Info]:
        """Begins new games; without a seed, those of each environment's next seed."""
        if seed is not None:
            seeds = range(seed, seed + self.num_envs) if isinstance(seed, int) else seed
            for i, first in enumerate(seeds):
                if first is not None:
                    self._first_seeds[i], self._n_seeds[i] = int(first), 0
        return self._begin({i: self._next_seed(i) for i in range(self.num_envs)}), {}

    def step(
        self, actions: NDArray[Any]
    ) -> tuple[Frames, NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_], Info]:
        """Steps each game."""
        games = np.array([journal.game for journal in self._journals])
        steps = np.array([journal.n for journal in self._journals])
        frames, points, lost, cut, _ = self._ale.step(np.asarray(actions, np.int64))
        score, over = points.astype(np.float64), lost | cut
        for journal, action, earned in zip(self._journals, actions, score, strict=True):
            journal.note(int(action), float(earned))
        info: Info = {"score": score, "game_over": over, "game": games, "step": steps}
        if over.any():
            ended = np.flatnonzero(over).tolist()
            info["journals"] = {i: self._journals[i].actions() for i in ended}
            info["final_score"] = {i: self._journals[i].score for i in ended}
            frames = self._follow(ended, frames)
        rewards = np.clip(score, -1.0, 1.0) - self.game.penalty * over
        none = np.zeros(self.num_envs, np.bool_)
        return black_out(frames, self.game), rewards, none, none.copy(), info

    def journal(self, i: int) -> tuple[int, NDArray[np.uint8]]:
        """Returns the number and the actions so far of the game in environment i."""
        return self._journals[i].game, self._journals[i].actions()

    def snapshot(self, i: int) -> Info:
        """Returns what ``restore`` needs for environment i."""
        game, actions = self.journal(i)
        first, n_seeds = self._first_seeds[i], self._n_seeds[i]
        return {"first_seed": first, "n_seeds": n_seeds, "game": game, "actions": actions}

    def restore(self, snapshots: Sequence[Info]) -> Frames:
        """Restores all games by replaying them side by side.

        Returns:
            Their observations, shape (N, 1, 84, 84).
        """
        journals = [np.asarray(snapshot["actions"], np.int64) for snapshot in snapshots]
        longest = max(len(actions) for actions in journals)
        starts = np.array([longest - len(actions) for actions in journals])
        frames = self.reset(seed=[int(snapshot["first_seed"]) for snapshot in snapshots])[0]
        for t in range(longest + 1):  # games begin at different steps, and end together
            begun = np.flatnonzero(starts == t).tolist()
            if begun:
                frames = self._begin({i: int(snapshots[i]["game"]) for i in begun})
            if t < longest:
                rows = zip(journals, starts, strict=True)
                actions = np.array([a[t - start] if t >= start else 0 for a, start in rows])
                frames, points, *_ = self._ale.step(actions)
                for i in np.flatnonzero(starts <= t).tolist():
                    self._journals[i].note(int(actions[i]), float(points[i]))
        for i, snapshot in enumerate(snapshots):
            self._n_seeds[i] = int(snapshot["n_seeds"])
        return black_out(frames, self.game)

    def close(self, **kwargs: Any) -> None:
        """Does nothing: ALE's threads end with the object."""

    def _next_seed(self, i: int) -> int:
        """Number of the first game of the next seed of environment i."""
        row = np.random.SeedSequence([self._first_seeds[i], self._n_seeds[i]])
        self._n_seeds[i] += 1
        return _number(int(row.generate_state(1)[0] >> 1), 0)

    def _follow(self, ended: Sequence[int], frames: Frames) -> Frames:
        """Records the games that ALE began after those that ended; reseeds after a seed's last."""
        seeded = {}
        for i in ended:
            following = self._journals[i].game + 1
            if following % _GAMES_PER_SEED == 0:
                seeded[i] = self._next_seed(i)
            self._journals[i].begin(following)
        return self._begin(seeded) if seeded else frames

    def _begin(self, games: Mapping[int, int]) -> Frames:
        for i, game in games.items():
            self._journals[i].begin(game)
        return black_out(_begin_games(self._ale, games), self.game)


class Atari(gym.Env[Frames, Any]):
    """One game, as ``AtariVector`` plays it.

    Args:
        rom: ALE's name of the game.
        render_mode: ``rgb_array`` for pictures in colour, 210 x 160, or None.
    """

    metadata: dict[str, Any] = {  # noqa: RUF012 as in Gymnasium
        "render_modes": ["rgb_array"],
        "render_fps": _FPS,
    }

    def __init__(self, rom: str, *, render_mode: str | None = None) -> None:
        self.render_mode = render_mode
        self._vector = AtariVector(rom)
        self.observation_space = self._vector.single_observation_space
        self.action_space = self._vector.single_action_space

    def reset(self, *, seed: int | None = None, options: Info | None = None) -> tuple[Frames, Info]:
        """Begins a game."""
        super().reset(seed=seed)
        return self._vector.reset(seed=seed)[0][0], {}

    def step(self, action: Any) -> tuple[Frames, float, bool, bool, Info]:
        """Steps the game; the info has ``score`` and ``game_over``."""
        frames, rewards, _, _, info = self._vector.step(np.array([action]))
        told = {"score": float(info["score"][0]), "game_over": bool(info["game_over"][0])}
        return frames[0], float(rewards[0]), False, False, told

    def render(self) -> Frames | None:
        """Replays the game to draw the screen in colour, with masks, shape (210, 160, 3)."""
        if self.render_mode is None:
            return None
        game, actions = self._vector.journal(0)
        frames = self.draw(game, actions, first=len(actions))
        return np.asarray(frames[-1])

    def draw(self, game: int, actions: NDArray[np.uint8], *, first: int = 0) -> Frames:
        """Replays a game, and draws its screen.

        Args:
            game: Its number.
            actions: All actions since its start, shape (n,).
            first: First frame to return: 0 is the one before the first action.

        Returns:
            Frames first to n in colour, shape (n + 1 - first, 210, 160, 3), with the masks.
        """
        screen = _ale(self._vector.game, 1, colour=True)
        shown = _begin_games(screen, {0: game})
        frames = [shown[0, 0].copy()] if first == 0 else []
        for t, action in enumerate(actions, start=1):
            shown, *_ = screen.step(np.array([action], np.int64))
            if t >= first:
                frames.append(shown[0, 0].copy())
        return black_out(np.stack(frames), self._vector.game)
