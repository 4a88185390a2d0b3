"""Films from simulator states, made only on request."""

from __future__ import annotations

import functools
import io
import itertools
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import av
import cv2
import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from prefrl.control.environments.journals import Journals
from prefrl.control.environments.source import EnvConfig, make_env
from prefrl.control.environments.states import (
    log_mujoco_warnings,
    read_state,
    tells_state,
    write_state,
)
from prefrl.control.films.closing import ClosedAtExit
from prefrl.control.films.drawing import TRUSTED_GL
from prefrl.errors import FilmError

__all__ = [
    "ClipRenderer",
    "as_picture",
    "choose_gl",
    "encode_film",
    "film_strip",
    "make_drawable",
    "need_gl",
    "write_film",
    "write_png",
]

_PROBE = """
import mujoco
from mujoco.{backend} import GLContext
context = GLContext(64, 64)
context.make_current()
mujoco.MjrContext(mujoco.MjModel.from_xml_string("<mujoco/>"), mujoco.mjtFontScale.mjFONTSCALE_100)
"""
_ADVICE = (
    "install EGL (on Debian: apt-get install libegl1 libgl1-mesa-dri) or OSMesa (libosmesa6), or "
    "train without films (--no-films)"
)
_FLOOR = 1000.0  # half of a side, in metres
_CODECS: dict[str, tuple[str, dict[str, str]]] = {
    ".webm": ("libvpx-vp9", {"crf": "34", "b": "0", "deadline": "realtime", "cpu-used": "8"}),
    ".mp4": ("libx264", {"crf": "23", "preset": "veryfast", "movflags": "+faststart"}),
}


@functools.cache
def choose_gl() -> str | None:
    """Finds a way to draw MuJoCo without a screen, and sets ``MUJOCO_GL`` to it.

    A value that is already set is tried first. Each value is tried in a process of its own, since a
    broken GL may abort; the value in ``TRUSTED_GL`` is used without a trial.

    Returns:
        "egl", "osmesa" or the value that was set; None if nothing works.
    """
    if trusted := os.environ.get(TRUSTED_GL):
        os.environ["MUJOCO_GL"] = trusted
        return trusted
    asked = os.environ.get("MUJOCO_GL")
    for backend in dict.fromkeys([*([asked] if asked else []), "egl", "osmesa"]):
        probe = [sys.executable, "-c", _PROBE.format(backend=backend)]
        environment = {**os.environ, "MUJOCO_GL": backend}
        try:
            tried = subprocess.run(probe, env=environment, capture_output=True, timeout=30)
        except subprocess.TimeoutExpired:
            continue
        if tried.returncode == 0:
            os.environ["MUJOCO_GL"] = backend
            return backend
    return None


def need_gl() -> None:
    """Makes sure that MuJoCo can draw.

    Raises:
        FilmError: If it cannot.
    """
    if choose_gl() is None:
        raise FilmError(f"expected EGL or OSMesa to draw films with, found neither; {_ADVICE}.")


class ClipRenderer(ClosedAtExit):
    """Draws recorded states of an environment.

    MuJoCo draws without shadows, reflections and multisampling: HalfCheetah takes about 3 ms per
    frame on 2 cores without a GPU, instead of 40 to 60 ms.

    Args:
        env_id: A Gymnasium id.
        size: Side of MuJoCo's square pictures, in pixels; other environments have their own.
        env: Arguments and wrappers of the environment.

    Raises:
        FilmError: If this machine or this environment cannot draw.
        ConfigError: If ``MUJOCO_GL`` is set to a value with which MuJoCo cannot be imported.
    """

    def __init__(self, env_id: str, *, size: int = 256, env: EnvConfig | None = None) -> None:
        log_mujoco_warnings()
        self._env = make_drawable(env_id, env)
        if not tells_state(self._env):
            self._env.close()
            raise FilmError(
                f"expected {env_id} to be a MuJoCo environment or to have get_state and set_state, "
                "got neither; films of others are made by EpisodeRenderer."
            )
        state = read_state(self._env)
        assert state is not None  # tells_state has checked this
        self._first_state = state
        self._viewer: Any = None
        if hasattr(self._env.unwrapped, "mujoco_renderer"):
            self._viewer = self._mujoco_viewer(size)
        self.fps = int(self._env.metadata.get("render_fps", 30))
        """Frames per second of the environment's own clock."""

    def close(self) -> None:
        """Frees the GL context."""
        if self._viewer is not None:
            # If the garbage collector freed it, it would free buffers in a later viewer's context.
            self._viewer.make_context_current()
            self._viewer.con.free()
            self._viewer = None
        self._env.close()

    def frames(
        self, states: NDArray[np.float64], journals: Journals | None = None
    ) -> NDArray[np.uint8]:
        """Draws states, shape (T, S), as frames, shape (T, H, W, 3); ignores journals.

        Raises:
            FilmError: If there are no states, or they are from another environment.
        """
        size = len(self._first_state)
        if states.ndim != 2 or len(states) == 0 or states.shape[1] != size:
            raise FilmError(
                f"expected states of shape (T, {size}) with T > 0, got {states.shape}; "
                "film the environment that they were recorded in."
            )
        return np.stack([self._draw(state) for state in states])

    def first_frame(self) -> NDArray[np.uint8]:
        """Draws the start of an episode, shape (H, W, 3).

        Raises:
            FilmError: If the environment draws nothing, or lacks a library to draw with.
        """
        return self._draw(self._first_state)

    def _draw(self, state: NDArray[np.float64]) -> NDArray[np.uint8]:
        try:
            write_state(self._env, state)
            if self._viewer is not None:
                # Another viewer's context may be current.
                self._viewer.make_context_current()
            picture = self._env.render()
        except Exception as error:
            # An environment may raise anything.
            raise FilmError(
                "expected the environment to go to a state that was recorded and to draw it, but "
                f"it broke with {type(error).__name__}: {error}"
            ) from error
        return as_picture(picture)

    def _mujoco_viewer(self, size: int) -> Any:
        try:
            need_gl()
        except FilmError:
            self._env.close()
            raise
        import mujoco

        inner: Any = self._env.unwrapped
        inner.model.vis.quality.offsamples = 0
        _widen_floors(inner.model)
        inner.mujoco_renderer.width = inner.mujoco_renderer.height = size
        # Gymnasium has no public access to the scene's flags.
        viewer = inner.mujoco_renderer._get_viewer("rgb_array")
        # A free camera would lose sight of an agent that walks away.
        track = mujoco.mj_name2id(inner.model, mujoco.mjtObj.mjOBJ_CAMERA, "track")
        if track >= 0:
            inner.mujoco_renderer.camera_id = track
        for flag in (mujoco.mjtRndFlag.mjRND_SHADOW, mujoco.mjtRndFlag.mjRND_REFLECTION):
            viewer.scn.flags[flag] = 0
        return viewer


def as_picture(drawn: Any) -> NDArray[np.uint8]:
    """Checks that the output of an environment's render() is a picture, shape (H, W, 3).

    Raises:
        FilmError: If it is not.
    """
    if drawn is None:
        raise FilmError("expected its render() to give a picture, got None.")
    picture = np.asarray(drawn)
    if picture.ndim != 3 or picture.shape[2] != 3:
        raise FilmError(f"expected pictures of shape (H, W, 3), got {picture.shape}.")
    return picture.astype(np.uint8, copy=False)


def make_drawable(env_id: str, env: EnvConfig | None = None) -> gym.Env[Any, Any]:
    """Makes an environment that draws, and resets it.

    Args:
        env_id: A Gymnasium id.
        env: Its arguments and wrappers.

    Raises:
        FilmError: If it cannot be made or reset.
    """
    _draw_without_screen()
    try:
        made = make_env(env_id, env, render_mode="rgb_array")
        made.reset(seed=0)
    except Exception as error:
        # An environment may raise anything.
        raise FilmError(
            f"expected {env_id} to be made with render_mode='rgb_array' in a process of its own, "
            f"but {error.__cause__ or error}; films need that, and an id as module:id where a "
            "module registers it."
        ) from error
    return made


def _draw_without_screen() -> None:
    """Keeps SDL, with which pygame draws, from opening windows and sound devices."""
    # highway-env draws nothing if the driver is "dummy".
    if os.environ.get("SDL_VIDEODRIVER", "dummy") == "dummy":
        os.environ["SDL_VIDEODRIVER"] = "offscreen,dummy"
    os.environ.setdefault("SDL_AUDIODRIVER", "dummy")


def _widen_floors(model: Any) -> None:
    """Widens floors: some end after 40 metres, which a good agent runs in seconds."""
    import mujoco

    for floor in np.flatnonzero(model.geom_type == mujoco.mjtGeom.mjGEOM_PLANE):
        size, material = model.geom_size[floor, 0], model.geom_matid[floor]
        if 1 < size < _FLOOR:  # a smaller one is a table, and 0 means infinite
            model.geom_size[floor, :2] = _FLOOR
            if material >= 0 and not model.mat_texuniform[material]:
                model.mat_texrepeat[material] *= _FLOOR / size


def write_film(frames: Iterable[NDArray[np.uint8]], path: Path, *, fps: int) -> Path:
    """Writes a film that browsers play.

    Args:
        frames: At least one picture, each of shape (H, W, 3); they may be made lazily. An odd last
            row or column is cut off.
        path: The film, ``.webm`` for VP9 or ``.mp4`` for H.264.
        fps: Frames per second.

    Returns:
        The path.

    Raises:
        FilmError: For another suffix.
    """
    if path.suffix not in _CODECS:
        raise FilmError(f"expected a film to end in .webm or .mp4, got {path.name}.")
    _encode(frames, str(path), path.suffix, fps)
    return path


def encode_film(frames: NDArray[np.uint8], *, fps: int) -> bytes:
    """Encodes a VP9 film in WebM; the same frames give the same bytes.

    Args:
        frames: Pictures, shape (T, H, W, 3); an odd last row or column is cut off.
        fps: Frames per second.
    """
    content = io.BytesIO()
    _encode(frames, content, ".webm", fps)
    return content.getvalue()


def _encode(
    frames: Iterable[NDArray[np.uint8]], out: str | io.BytesIO, suffix: str, fps: int
) -> None:
    codec, options = _CODECS[suffix]
    pictures = iter(frames)
    first = next(pictures)
    height, width = (side - side % 2 for side in first.shape[:2])
    # Matroska would otherwise write random ids of its tracks.
    exact = {"fflags": "+bitexact"}
    with av.open(out, "w", format=suffix[1:], options=exact) as container:
        stream = container.add_stream(codec, rate=fps, options=options)
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for picture in itertools.chain([first], pictures):
            frame = av.VideoFrame.from_ndarray(
                np.ascontiguousarray(picture[:height, :width]), format="rgb24"
            )
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def film_strip(frames: NDArray[np.uint8], *, n_frames: int = 6, gap: int = 4) -> NDArray[np.uint8]:
    """Puts evenly spaced frames side by side with white gaps.

    Args:
        frames: Pictures, shape (T, H, W, 3).
        n_frames: Number of frames to show, including the first and the last.
        gap: Width of a gap in pixels.

    Returns:
        A picture, shape (H, n * W + (n - 1) * gap, 3).
    """
    chosen = np.linspace(0, len(frames) - 1, min(n_frames, len(frames))).round().astype(int)
    white = np.full((frames.shape[1], gap, 3), 255, np.uint8)
    parts = [part for i in chosen for part in (frames[i], white)][:-1]
    return np.concatenate(parts, axis=1)


def write_png(picture: NDArray[np.uint8], path: Path) -> Path:
    """Writes an RGB picture, shape (H, W, 3)."""
    if not cv2.imwrite(str(path), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)):
        raise FilmError(f"could not write the picture {path}; look at the folder and disk space.")
    return path
