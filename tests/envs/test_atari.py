import subprocess
import sys
from pathlib import Path

import cv2
import gymnasium as gym
import numpy as np
import prefrl_envs  # noqa: F401 registers the environments
import pytest
from prefrl_envs.atari import Atari, AtariVector, black_out
from prefrl_envs.atari_games import GAMES, HEIGHT, WIDTH, Game, find_roms, game_of

MASKED = Path(__file__).parent / "masks"
SEED, STEPS = 3, 150  # of the pictures in tests/envs/masks


def played(game, n_steps, *, seed=SEED, **options):
    """An environment after some random actions, with what the last step gave."""
    env = gym.make(f"prefrl_envs:prefrl/{game}-v0", **options)
    rng, step = np.random.default_rng(0), None
    env.reset(seed=seed)
    for _ in range(n_steps):
        step = env.step(int(rng.integers(env.action_space.n)))
    return env, step


@pytest.mark.parametrize("game", sorted(GAMES))
def test_the_seven_games_make_step_mask_and_render(game):
    env, (seen, reward, terminated, truncated, info) = played(game, STEPS, render_mode="rgb_array")
    assert env.observation_space.contains(seen)
    assert seen.shape == (1, 84, 84)
    assert len(np.unique(seen)) > 3
    assert -1 - GAMES[game].penalty <= reward <= 1
    assert not terminated
    assert not truncated
    assert set(info) >= {"score", "game_over"}
    picture = env.render()
    assert picture.shape == (210, 160, 3)
    for left, top, right, bottom in GAMES[game].masks:
        assert not picture[top:bottom, left:right].any()
        # Half a screen pixel at the border of a mask would still tell.
        small = seen[
            0, top * 84 // 210 : -(-bottom * 84 // 210), left * 84 // 160 : right * 84 // 160
        ]
        assert not small.any()
    # Pictures to look at: what is left must not tell the score.
    kept = cv2.imread(str(MASKED / f"{game}.png"))
    assert np.array_equal(picture, kept[..., ::-1])


@pytest.mark.parametrize("game", sorted(GAMES))
def test_masks_black_out_their_rectangles_and_nothing_else(game):
    open_game, hidden = Game(GAMES[game].rom), GAMES[game]
    shares = [
        (right - left) * (bottom - top) / (WIDTH * HEIGHT)
        for left, top, right, bottom in hidden.masks
    ]
    assert 0.03 < sum(shares) < 0.2
    screen = np.full((HEIGHT, WIDTH), 7, np.uint8)
    assert (black_out(screen.copy(), open_game) == screen).all()
    assert (black_out(screen.copy(), hidden) == 0).sum() == round(sum(shares) * WIDTH * HEIGHT)


def test_pongs_score_is_on_the_screen_but_not_in_what_the_agent_sees():
    env = Atari("pong")
    env.reset(seed=0)
    scores, tops = [], []
    raw = gym.make("ALE/Pong-v5", frameskip=4, repeat_action_probability=0)
    raw.reset(seed=0)
    for _ in range(250):
        seen, _, _, _, info = env.step(0)
        scores.append(info["score"])
        tops.append(seen[0, :9].copy())
    assert sum(scores) < -1  # some points were lost
    assert not np.any(tops)
    shown = [raw.step(0)[0][:24].copy() for _ in range(250)]
    assert any((picture != shown[0]).any() for picture in shown)


def test_the_end_of_a_game_is_not_told_and_costs_what_the_game_says():
    games = AtariVector("breakout", 2)
    games.reset(seed=0)
    rng = np.random.default_rng(0)
    n_over = 0
    for _ in range(700):
        actions = rng.integers(games.single_action_space.n, size=2)
        _, rewards, terminated, truncated, info = games.step(actions)
        assert not terminated.any()
        assert not truncated.any()
        expected = np.clip(info["score"], -1, 1) - 10.0 * info["game_over"]
        assert (rewards == expected).all()
        for i in np.flatnonzero(info["game_over"]).tolist():
            n_over += 1
            assert len(info["journals"][i]) == info["step"][i] + 1
            assert info["final_score"][i] >= 0
            assert games.journal(i)[0] != info["game"][i]  # the next game has begun
            assert len(games.journal(i)[1]) == 0
    assert n_over >= 2
    assert game_of("pong").penalty == 0


def test_games_go_on_elsewhere_where_they_were():
    rng = np.random.default_rng(1)
    games = AtariVector("breakout", 3)
    games.reset(seed=5)
    for _ in range(230):  # some end, so the journals differ in length
        shown = games.step(rng.integers(4, size=3))[0]
    snapshots = [games.snapshot(i) for i in range(3)]
    assert len({len(s["actions"]) for s in snapshots}) > 1
    again = AtariVector("breakout", 3)
    assert (again.restore(snapshots) == shown).all()
    for _ in range(300):  # over ends of games, too
        actions = rng.integers(4, size=3)
        one, other = games.step(actions), again.step(actions)
        assert (one[0] == other[0]).all()
        assert (one[1] == other[1]).all()
        assert (one[4]["game"] == other[4]["game"]).all()


def test_every_so_many_games_there_is_a_new_seed(monkeypatch):
    monkeypatch.setattr("prefrl_envs.atari._GAMES_PER_SEED", 2)
    rng = np.random.default_rng(3)
    games, numbers = AtariVector("breakout", 1), []
    games.reset(seed=5)
    while len(set(numbers)) < 4:
        shown, _, _, _, info = games.step(rng.integers(4, size=1))
        numbers.append(int(info["game"][0]))
    first, second, third, fourth = dict.fromkeys(numbers)
    assert (second, fourth) == (first + 1, third + 1)
    assert abs(third - second) > 1
    again = AtariVector("breakout", 1)
    assert (again.restore([games.snapshot(0)]) == shown).all()


def test_a_number_and_the_actions_draw_what_was_played():
    env, _ = played("Pong", 90, render_mode="rgb_array")
    game = env.unwrapped
    number, actions = game._vector.journal(0)
    film = game.draw(number, actions, first=80)
    assert film.shape == (11, 210, 160, 3)
    assert (film[-1] == env.render()).all()
    whole = game.draw(number, actions)
    assert len(whole) == 91
    assert (whole[80:] == film).all()


def test_seeds_decide_and_environments_differ():
    shown = []
    for seed in (1, 1, 2):
        games = AtariVector("seaquest", 2)
        games.reset(seed=seed)
        for _ in range(40):
            frames = games.step(np.array([1, 1]))[0]
        shown.append(frames)
    assert (shown[0] == shown[1]).all()
    assert (shown[0] != shown[2]).any()
    first, second = (AtariVector("pong", 2).reset(seed=1), AtariVector("pong", 2).reset(seed=1))
    assert (first[0] == second[0]).all()


def test_without_a_seed_no_two_environments_play_the_same_game():
    games = [AtariVector("pong", 2) for _ in range(2)]
    for vector in games:
        vector.reset()
    assert len({vector.journal(i)[0] for vector in games for i in range(2)}) == 4


def test_every_game_of_ale_has_an_id():
    roms = find_roms()
    assert len(roms) > 100
    for rom in roms:
        name = "".join(word.capitalize() for word in rom.split("_"))
        assert f"prefrl/{name}-v0" in gym.registry
    _, (seen, *_) = played("MsPacman", 2)
    assert seen.any()


def test_a_longer_journal_needs_more_room():
    games = AtariVector("pong")
    games.reset(seed=0)
    rng = np.random.default_rng(0)
    for _ in range(1100):
        _, _, _, _, info = games.step(rng.integers(6, size=1))
        if info["game_over"][0]:
            assert len(info["journals"][0]) == info["step"][0] + 1
    assert len(games.journal(0)[1]) == games._journals[0].n


def test_without_ale_the_extra_is_named():
    code = (
        "import sys; sys.modules['ale_py'] = None\n"
        "from prefrl.cli import main; main(['train', 'prefrl_envs:prefrl/Pong-v0'])"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 2
    assert "prefrl[atari]" in " ".join(ended.stderr.split())
    assert "Traceback" not in ended.stderr
