"""The whole way: a training asks, a browser shows, keys answer, and the agent learns from it."""

import json
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import av
import pytest
from pages import needs_chromium, wait_for

from prefrl import RunDirectory
from prefrl.control.items import Items
from prefrl.core.store import LabelStore

pytestmark = [needs_chromium, pytest.mark.timeout(400)]
LABELLER = Path(__file__).parents[2] / "scripts" / "benchmark" / "programs" / "page_labeller.py"
DOT = "prefrl_envs:prefrl/MovingDot-v0"
# As in tests/control/agent/test_callback.py: at random about -75, the best possible about -12.
RANDOM, SOLVED = -45, -25
NOTHING_LEARNED = 3  # the exit code of so few labels
SETTINGS = (
    "--oracle human --labels 60 --segment-length 10 --warmup-segments 20 --pool-size 1000 "
    "--refit-growth 0.1 --steps 48000 --eval-episodes 20 --no-films --agent.n-steps 128 "
    "--agent.batch-size 128 --agent.learning-rate 1e-3 --agent.gamma 0.95 --page.repeat-share 0"
).split()


def labelled(env_id, folder, settings):
    """Trains on what a browser answers; gives the run and its answers."""
    run, out = RunDirectory(folder / "run"), folder / "out.txt"
    command = [sys.executable, "-m", "prefrl", "train", env_id, "--run", str(run.root), *settings]
    with out.open("w") as file:
        training = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT)
    try:
        found = wait_for(lambda: re.search(r"http://\S+#enter=\S+", out.read_text()), 60)
        labelling = [sys.executable, str(LABELLER), str(run.root), found[0], "--pause", "0.05"]
        labeller = subprocess.run(labelling, capture_output=True, text=True, timeout=300)
        assert labeller.returncode == 0, labeller.stderr
        assert training.wait(120) in (0, NOTHING_LEARNED), out.read_text()
    finally:
        training.kill()
        training.wait()
    with LabelStore(run.labels) as store:
        events = store.events()
    assert {event.annotator_id for event in events} == {"owner"}
    assert set(Counter(event.query_id for event in events).values()) == {1}
    assert f"{len(events)} answers" in labeller.stdout
    return run, events


def test_moving_dot_is_solved_through_the_page(tmp_path):
    run, events = labelled(DOT, tmp_path, SETTINGS)
    summary = json.loads(run.summary.read_text())
    assert summary["eval_return_before_mean"] < RANDOM
    assert summary["eval_return_mean"] > SOLVED
    assert len(events) >= 50


def test_people_see_how_cartpole_ends(tmp_path):
    pytest.importorskip("pygame")
    settings = (
        "--oracle human --labels 10 --segment-length 16 --warmup-segments 20 --steps 6000 "
        "--eval-episodes 2 --page.repeat-share 0"
    ).split()
    run, events = labelled("CartPole-v1", tmp_path, settings)
    assert len(events) >= 8
    with LabelStore(run.labels) as store:
        queries = [one.query for one, _ in store.most_urgent_answers(99)]
        asked = {item for query in queries for item in (query.left, query.right)}
        media = store.media.of(asked)
    assert asked == media.keys()
    items = Items(run)
    assert any(items[item].n_held for item in asked)
    for item, medium in media.items():
        with av.open(str(run.media / f"{medium.media_id}.webm")) as film:
            shades = [frame.to_ndarray(format="rgb24").mean() for frame in film.decode(video=0)]
        # The sky is white, and grey where the episode has ended.
        assert [shade > 200 for shade in shades] == [t < items[item].n_real for t in range(16)]
    assert {path.name for path in run.films.glob("*.webm")} == {"before.webm", "after.webm"}
    assert (run.films / "pairs.json").is_file()
