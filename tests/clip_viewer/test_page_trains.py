"""The whole way: a training asks, a browser shows, keys answer, and the agent learns from it."""

import json
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from pages import needs_chromium, wait_for

from prefrl import RunDirectory
from prefrl.core.store import LabelStore

pytestmark = [needs_chromium, pytest.mark.timeout(400)]
LABELLER = Path(__file__).parents[2] / "scripts" / "benchmark" / "page_labeller.py"
DOT = "prefrl_envs:prefrl/MovingDot-v0"
# As in tests/control/agent/test_callback.py: at random about -75, the best possible about -12.
RANDOM, SOLVED = -45, -25
SETTINGS = (
    "--oracle human --labels 60 --segment-length 10 --warmup-segments 20 --pool-size 1000 "
    "--refit-growth 0.1 --steps 32000 --eval-episodes 20 --no-films --agent.n-steps 128 "
    "--agent.batch-size 128 --agent.learning-rate 1e-3 --agent.gamma 0.95 --page.repeat-share 0"
).split()


def test_moving_dot_is_solved_through_the_page(tmp_path):
    run, out = RunDirectory(tmp_path / "run"), tmp_path / "out.txt"
    command = [sys.executable, "-m", "prefrl", "train", DOT, "--run", str(run.root), *SETTINGS]
    with out.open("w") as file:
        training = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT)
    try:
        found = wait_for(lambda: re.search(r"http://\S+#enter=\S+", out.read_text()), 60)
        labelling = [sys.executable, str(LABELLER), str(run.root), found[0], "--pause", "0.05"]
        labeller = subprocess.run(labelling, capture_output=True, text=True, timeout=300)
        assert labeller.returncode == 0, labeller.stderr
        assert training.wait(120) == 0, out.read_text()
    finally:
        training.kill()
        training.wait()
    summary = json.loads(run.summary.read_text())
    assert summary["eval_return_before_mean"] < RANDOM
    assert summary["eval_return_mean"] > SOLVED
    with LabelStore(run.labels) as store:
        events = store.events()
    assert {event.annotator_id for event in events} == {"owner"}
    assert set(Counter(event.query_id for event in events).values()) == {1}
    assert f"{len(events)} answers" in labeller.stdout
    assert len(events) >= 50
