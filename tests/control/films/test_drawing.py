"""Who trains never draws: another process does, and whatever becomes of it is one sentence."""

import json
import subprocess
import sys

import numpy as np
import pytest

from prefrl import PreferenceConfig, TrainConfig, train
from prefrl.control.agent.agent import AgentConfig
from prefrl.control.films import drawing
from prefrl.control.films.clips import choose_gl
from prefrl.control.films.drawing import Recorded, check_drawable, film
from prefrl.control.queries import QueryConfig
from prefrl.errors import ConfigError, FilmError

DOT = "prefrl_envs:prefrl/MovingDot-v0"
needs_gl = pytest.mark.skipif(choose_gl() is None, reason="no EGL and no OSMesa here")
pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.filterwarnings("ignore:.*RGB-array rendering", "ignore:.*render_mode"),
]


def to_film(name):
    return f"control.to_film:test/{name}-v0"


def short(env_id, path, **options):
    preferences = PreferenceConfig(
        labels=8, segment_length=10, query=QueryConfig(warmup_segments=10)
    )
    agent = AgentConfig(n_envs=2, n_steps=100, batch_size=100, n_epochs=1, hidden=(8,))
    options = {"steps": 1000, "eval_episodes": 1, "sync": True, **options}
    return TrainConfig(env_id, run=path, preferences=preferences, agent=agent, **options)


def test_an_environment_that_can_be_drawn_is_taken():
    check_drawable(DOT)
    for name in ("Seen", "Stateless", "Mute"):
        check_drawable(to_film(name))


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("Blind", "its render"),
        ("Modeless", "render_mode='rgb_array'"),
        ("Chance", "what it observed after 0 steps was different"),
        ("Stuck", "broke with AssertionError: the simulator was never"),
        ("Crashes", "it ended by SIGSEGV"),
    ],
)
def test_an_environment_of_which_nothing_can_be_shown_is_refused_before_work_starts(
    tmp_path, name, why
):
    config = short(to_film(name), tmp_path / "run", sync=False, oracle="human")
    with pytest.raises(ConfigError, match=rf"cannot be filmed here: [^\n]*{why}[^\n]*$"):
        train(config)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("Blind", "its render"),
        ("Stuck", "AssertionError: the simulator was never asked to"),
        ("Chance", "it is not reproducible"),
        ("Crashes", "it ended by SIGSEGV"),
        ("Hangs", "done within 10 s, but it was not"),
    ],
)
def test_no_film_is_a_note_and_the_result_is_kept(tmp_path, monkeypatch, name, why):
    if name == "Hangs":
        monkeypatch.setattr(drawing, "_SECONDS_TO_FILM", 10)
    result = train(short(to_film(name), tmp_path / "run"))
    assert result.finished
    assert np.isfinite(result.eval_return_mean)
    assert result.run.summary.is_file()
    (note,) = result.notes
    assert note.startswith("no films: ")
    assert why in note
    assert "\n" not in note


def test_films_are_made_of_what_was_recorded(tmp_path):
    places = np.linspace(-1, 1, 20)[:, None].repeat(2, 1)
    film(DOT, {"a": Recorded(places), "b": Recorded(places[::-1])}, tmp_path, size=64)
    a, b = ((tmp_path / f"{name}.webm").read_bytes() for name in "ab")
    assert a[:4] == b[:4] == b"\x1a\x45\xdf\xa3"  # as Matroska begins
    assert a != b
    with pytest.raises(FilmError, match=r"to be recorded for films, but it was not"):
        film(DOT, {"a": Recorded(None)}, tmp_path)
    with pytest.raises(FilmError, match=r"shape \(T, 2\)"):
        film(DOT, {"a": Recorded(places[:, :1])}, tmp_path)


def test_what_draws_loads_no_torch():
    code = (
        "import sys, prefrl.control.process, prefrl.control.films.__main__;"
        "print(*{'torch', 'stable_baselines3'}.intersection(sys.modules))"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not said.stdout.strip()


PROGRAM = """
import json, sys
from pathlib import Path
from prefrl import train
from prefrl.control.config import config_from_json
from prefrl.runtime.roles.role import read_status
from prefrl.runtime.rundir import RunDirectory

KINDS = ("libLLVM", "libEGL", "libOSMesa", "libGL", "libtorch")
loaded = {}

def look(role, pid):
    try:
        maps = Path(f"/proc/{pid}/maps").read_text()
    except OSError:  # it has come to its end
        return
    if maps:
        loaded[role] = sorted({*loaded.get(role, ()), *(k for k in KINDS if k in maps)})

def look_at_roles(*told):
    for role in ("agent", "learner", "labeller", "renderer"):
        status = read_status(run, role)
        if status is not None and status.state != "starting":
            look(role, status.pid)

if __name__ == "__main__":
    config = config_from_json(json.loads(sys.argv[1]))
    run = RunDirectory(config.run_path)
    watch = {} if config.sync else {"on_rollout": look_at_roles, "on_agent": look_at_roles}
    result = train(config, **watch)
    look("trains and evaluates", "self")
    print(json.dumps({"loaded": loaded, "notes": result.notes, "finished": result.finished}))
"""


@needs_gl
@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
@pytest.mark.parametrize("oracle", ["synthetic", "mixed"])
def test_a_process_that_trains_or_evaluates_has_loaded_nothing_to_draw_with(
    tmp_path, monkeypatch, oracle
):
    from prefrl.control.config import config_as_json

    monkeypatch.delenv("MUJOCO_GL", raising=False)
    sync = oracle == "synthetic"
    config = short("HalfCheetah-v5", tmp_path / "run", oracle=oracle, sync=sync, eval_max_steps=20)
    (tmp_path / "program.py").write_text(PROGRAM)
    ended = subprocess.run(
        [sys.executable, str(tmp_path / "program.py"), json.dumps(config_as_json(config))],
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 0, ended.stderr
    told = json.loads(ended.stdout.splitlines()[-1])
    assert told["finished"]
    assert not [note for note in told["notes"] if "no films" in note]
    assert (tmp_path / "run" / "films" / "after.webm").is_file()
    loaded = told["loaded"]
    assert loaded.pop("trains and evaluates") == ["libtorch"]
    if not sync:
        assert loaded.pop("agent") == ["libtorch"]
        assert set(loaded.get("learner", [])) <= {"libtorch"}
        assert "libtorch" not in loaded.get("renderer", [])
