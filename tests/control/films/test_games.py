import gymnasium as gym
import numpy as np
import pytest
from stable_baselines3.common.vec_env import VecEnv

from prefrl.control.environments.hide_reward import HideReward
from prefrl.control.environments.making import make_environments
from prefrl.control.films.games import GameRenderer, open_renderer
from prefrl.control.items import Items, Truth
from prefrl.control.pool import SegmentPool
from prefrl.control.segments import SegmentSampler
from prefrl.errors import FilmError
from prefrl.runtime.rundir import RunDirectory

BREAKOUT = "prefrl_envs:prefrl/Breakout-v0"


@pytest.fixture(scope="module")
def played():
    """Segments of two games of Breakout over several rollouts, in which games end."""
    venv: VecEnv = HideReward(make_environments(BREAKOUT, n_envs=2, seed=4))
    venv.record(60, n_before=3)
    sampler, rng, segments = SegmentSampler(25, 2), np.random.default_rng(0), []
    venv.reset()
    for number in range(6):
        for _ in range(60):
            venv.step(rng.integers(4, size=2))
        segments += [s for s, _ in sampler.cut(venv.take(), env_steps=number)]
    assert venv.n_finished >= 2
    return segments


def grey(picture):
    """As ALE makes a frame of a screen: about."""
    import cv2

    small = cv2.resize(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), (84, 84), cv2.INTER_AREA)
    return small.astype(float)


def test_films_show_what_the_agent_saw(played):
    with open_renderer(BREAKOUT, size=160) as renderer:
        assert isinstance(renderer, GameRenderer)
        assert renderer.fps == 15
        across = [s for s in played if len(s.journals) == 2]
        assert across  # a game ended in it
        for segment in [played[0], played[-1], across[0]]:
            film = renderer.frames(segment.states, segment.journals)
            assert film.shape == (25, 210, 160, 3)
            seen = segment.frames.unpack()[3:, 0]
            for picture, frame in zip(film, seen, strict=True):
                assert np.abs(grey(picture) - frame).mean() < 4
            # And not another moment: the ball and the paddle move.
            worst = [np.abs(grey(film[t]) - seen[(t + 12) % 25]).mean() for t in range(25)]
            right = [np.abs(grey(film[t]) - seen[t]).mean() for t in range(25)]
            assert np.mean(right) < np.mean(worst)


def test_a_segment_carries_the_games_as_far_as_it_goes(played):
    for segment in played:
        for seed, journal in segment.journals.items():
            actions = journal.actions
            own = segment.states[segment.states[:, 0] == seed]
            assert len(actions) == own[:, 1].max()
            # Its own actions are the end of the journal.
            taken = segment.actions[segment.states[:, 0] == seed].argmax(1)
            assert actions[int(own[0, 1]) :].tolist() == taken[:-1].tolist()


def test_segments_come_back_from_disk_and_from_a_checkpoint(played, tmp_path):
    run = RunDirectory.create(tmp_path / "run")
    kept = played[:3]
    Items(run).keep([(segment, Truth(np.zeros(25))) for segment in kept])
    pool, again = SegmentPool(10), SegmentPool(10)
    for segment in kept:
        pool.add(segment, np.zeros(25))
    again.load_state_dict(pool.state_dict())
    assert again.nbytes == pool.nbytes > 0
    for number, segment in enumerate(kept):
        for back in (Items(run)[segment.id], again[number]):
            assert (back.frames.unpack() == segment.frames.unpack()).all()
            assert (back.states == segment.states).all()
            assert back.journals.keys() == segment.journals.keys()
            for seed, journal in segment.journals.items():
                assert (back.journals[seed].actions == journal.actions).all()
        plain = Items(run, states=False)[segment.id]
        assert plain.states is None
        assert not plain.journals
        size = (run.items / f"{segment.id}.npz").stat().st_size
        assert size < 28 * 84 * 84 / 8


def test_the_pool_keeps_its_budget(played):
    room = 4 * max(segment.nbytes for segment in played)
    pool = SegmentPool(1000, max_bytes=room)
    for segment in played:
        pool.add(segment, np.zeros(25))
        assert pool.nbytes <= room
        assert pool.nbytes == sum(s.nbytes for s in pool.recent(len(pool)))
    assert 3 <= len(pool) < len(played)
    assert pool.recent(1)[0] is played[-1]


def test_a_game_that_is_not_known_is_refused(played):
    segment = played[-1]
    with open_renderer(BREAKOUT) as renderer:
        with pytest.raises(FilmError, match="got none"):
            renderer.frames(segment.states, {})
        short = {n: game.until(len(game) - 1) for n, game in segment.journals.items()}
        with pytest.raises(FilmError, match="actions of a game"):
            renderer.frames(segment.states, short)
        with pytest.raises(FilmError, match="shape"):
            renderer.frames(np.zeros((0, 2)), {})
        assert renderer.first_frame().shape[2] == 3


def test_environments_without_games_are_drawn_from_their_states():
    with open_renderer("prefrl_envs:prefrl/MovingDotPixels-v0") as renderer:
        assert not isinstance(renderer, GameRenderer)
        assert renderer.frames(np.zeros((2, 2))).shape == (2, 256, 256, 3)
    assert gym.spec("prefrl/MovingDotPixels-v0").vector_entry_point is None
