import subprocess
import sys

import av
import cv2
import gymnasium as gym
import numpy as np
import pytest

from prefrl.control.environments.states import STATE_KEY, RecordState
from prefrl.control.films import clips
from prefrl.control.films.clips import ClipRenderer, choose_gl, film_strip, write_film, write_png
from prefrl.errors import FilmError

DOT = "prefrl_envs:prefrl/MovingDot-v0"
needs_gl = pytest.mark.skipif(choose_gl() is None, reason="no EGL and no OSMesa here")


def episode(env_id, steps):
    env = RecordState(gym.make(env_id))
    env.action_space.seed(0)
    env.reset(seed=0)
    return np.stack([env.step(env.action_space.sample())[4][STATE_KEY] for _ in range(steps)])


def test_a_dot_is_drawn_as_its_environment_drew_it():
    env = RecordState(gym.make(DOT, render_mode="rgb_array"))
    env.reset(seed=3)
    live, states = [], []
    for action in (1, 1, 3, 3):
        live.append(env.render())
        states.append(env.step(action)[4][STATE_KEY])
    with ClipRenderer(DOT) as renderer:
        assert np.array_equal(renderer.frames(np.stack(states)), np.stack(live))
        assert renderer.fps == 20


@needs_gl
def test_mujoco_is_drawn_in_motion_by_one_renderer_after_another():
    for env_id in ("HalfCheetah-v5", "Hopper-v5", "HalfCheetah-v5"):
        with ClipRenderer(env_id, size=64) as renderer:
            frames = renderer.frames(episode(env_id, 30)[[0, 29]]).astype(int)
        assert frames.shape == (2, 64, 64, 3)
        assert frames.std() > 10  # not blank
        assert np.abs(frames[0] - frames[1]).mean() > 1  # it moves


@needs_gl
@pytest.mark.parametrize("task", ["HalfCheetah", "Reacher"])
def test_a_state_is_drawn_as_the_live_environment_drew_it(task):
    env_id = f"prefrl_envs:prefrl/{task}-v0"
    # The model's camera, or Gymnasium's where there is none: the same that the renderer takes.
    camera = {"camera_name": "track"} if task == "HalfCheetah" else {}
    env = RecordState(gym.make(env_id, render_mode="rgb_array", width=64, height=64, **camera))
    env.action_space.seed(0)
    env.reset(seed=0)
    live, states = [], []
    for t in range(25):
        picture = env.render() if t % 8 == 0 else None
        state = env.step(env.action_space.sample())[4][STATE_KEY]
        if picture is not None:
            live.append(picture.astype(int))
            states.append(state)
    env.close()
    with ClipRenderer(env_id, size=64) as renderer:
        again = renderer.frames(np.stack(states)).astype(int)
    # Shadows, reflections and smooth edges differ, so the same state is the nearest, not equal.
    differences = np.abs(again[:, None] - np.stack(live)[None]).mean((2, 3, 4))
    assert differences.argmin(1).tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("shape", [(0, 2), (3, 5), (2,)])
def test_states_of_something_else_are_refused(shape):
    with (
        ClipRenderer(DOT) as renderer,
        pytest.raises(FilmError, match=r"expected states .*\(T, 2\)"),
    ):
        renderer.frames(np.zeros(shape))


@needs_gl
def test_the_camera_follows_an_agent_that_walks_away():
    far = episode("HalfCheetah-v5", 1)
    there = far.copy()
    there[:, 0] += 100  # well beyond the edge of the model's own floor
    with ClipRenderer("HalfCheetah-v5", size=64) as renderer:
        here_frame, there_frame = renderer.frames(np.concatenate([far, there])).astype(int)
    # The ground is a pattern that repeats; body and sky look the same.
    assert np.abs(here_frame - there_frame).mean() < 15


@pytest.mark.parametrize(("suffix", "codec"), [(".webm", "vp9"), (".mp4", "h264")])
def test_a_film_comes_back_with_its_frames(tmp_path, rng, suffix, codec):
    frames = np.zeros((12, 65, 97, 3), np.uint8)  # odd sides
    for t in range(12):
        frames[t, :, 8 * t : 8 * t + 8] = (255, 0, 0)
    path = write_film(frames, tmp_path / f"film{suffix}", fps=20)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.name == codec
        assert float(stream.average_rate) == pytest.approx(20)
        decoded = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
    assert len(decoded) == 12
    assert decoded[0].shape == (64, 96, 3)
    red = [frame[32, :, 0].astype(int) - frame[32, :, 2] for frame in decoded]
    assert [int(np.argmax(np.convolve(r, np.ones(8), "valid"))) // 8 for r in red] == list(
        range(12)
    )


def test_other_films_are_refused(tmp_path):
    with pytest.raises(FilmError, match=r"\.webm or \.mp4"):
        write_film(np.zeros((2, 8, 8, 3), np.uint8), tmp_path / "film.gif", fps=20)


def test_a_strip_shows_first_and_last_frame(tmp_path):
    frames = np.zeros((10, 8, 8, 3), np.uint8) + np.arange(10, dtype=np.uint8)[:, None, None, None]
    strip = film_strip(frames, n_frames=3, gap=2)
    assert strip.shape == (8, 3 * 8 + 2 * 2, 3)
    assert strip[0, 0, 0] == 0
    assert strip[0, -1, 0] == 9
    assert strip[0, 8, 0] == 255
    colour = np.zeros((4, 4, 3), np.uint8)
    colour[..., 0] = 200
    back = cv2.imread(str(write_png(colour, tmp_path / "red.png")))
    assert back[0, 0].tolist() == [0, 0, 200]  # OpenCV reads blue first


def test_an_environment_without_states_is_refused():
    with pytest.raises(FilmError, match="get_state and set_state"):
        ClipRenderer("Acrobot-v1")


def test_without_gl_a_film_is_refused_with_what_to_do(monkeypatch):
    monkeypatch.setattr(clips, "choose_gl", lambda: None)
    with pytest.raises(FilmError, match="apt-get install libegl1"):
        ClipRenderer("HalfCheetah-v5")


def test_no_gl_is_found_where_there_is_none():
    code = (
        "import subprocess as s; from prefrl.control.films.clips import choose_gl;"
        "s.run = lambda *a, **k: s.CompletedProcess(a, 134); print(choose_gl())"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "None"
