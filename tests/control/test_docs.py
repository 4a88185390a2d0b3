"""What the pages say works, works."""

import re
from dataclasses import replace
from pathlib import Path

from prefrl.control.agent.config import AgentConfig
from prefrl.control.agent.replay_buffer import RelabelledReplayBuffer
from prefrl.control.agent.settings import resolve
from prefrl.control.presets import PRESETS
from prefrl.control.queries import QueryConfig

PAGE = Path(__file__).parents[2] / "docs" / "atari.md"
LEARNERS = PAGE.with_name("learners.md")


def test_the_script_for_pictures_runs(monkeypatch):
    (script,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    paper = PRESETS["atari"]
    small = replace(
        paper.preferences,
        labels=20,
        first_labels=10,
        segment_length=5,
        pretraining_epochs=1,
        query=QueryConfig(warmup_segments=20),
        fit=replace(paper.preferences.fit, min_steps=2, max_steps=2),
    )
    monkeypatch.setitem(PRESETS, "atari", replace(paper, preferences=small))
    names = {}
    short = script.replace("2_000_000", "1_024").replace("n_steps=128", "n_steps=128, n_epochs=1")
    exec(short, names)  # noqa: S102 the page's own
    row = names["callback"].rows[-1]
    assert (row["env_steps"], row["labels"], row["reward_version"]) == (1024, 20, 1)
    assert names["model"].observation_space.shape == (4, 36, 36)


def test_the_settings_that_are_shown_are_understood(tmp_path):
    (text,) = re.findall(r"```yaml\n(.*?)```", LEARNERS.read_text(), re.DOTALL)
    path = tmp_path / "mine.yml"
    path.write_text(text)
    made = resolve("my/Task-v3", "sac", AgentConfig(settings=str(path)), pictures=False)
    assert (made.config.gamma, made.config.hidden) == (0.98, (400, 300))
    assert (made.config.train_freq_unit, made.config.linear_decay) == ("episode", True)
    assert not made.notes


def test_the_config_that_is_shown_is_one():
    scripts = re.findall(r"```python\n(.*?)```", LEARNERS.read_text(), re.DOTALL)
    (script,) = [one for one in scripts if "TrainConfig" in one]
    names = {}
    exec(script, names)  # noqa: S102 the page's own
    assert names["config"].agent.gamma == 0.95


def test_the_off_policy_script_that_is_shown_learns_from_the_newest_reward():
    scripts = re.findall(r"```python\n(.*?)```", LEARNERS.read_text(), re.DOTALL)
    (script,) = [one for one in scripts if "SAC(" in one]
    names = {}
    # Short, and up to its first fit: 40 segments of 50 steps.
    short = script.replace("10_000", "2_100").replace("SAC(", "model = SAC(")
    exec(short, names)  # noqa: S102 the page's own
    model = names["model"]
    assert type(model.replay_buffer) is RelabelledReplayBuffer
    assert model._n_updates > 0


def test_the_script_for_other_spaces_runs():
    page = LEARNERS.with_name("environments.md").read_text()
    (script,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    names = {}
    exec(script.replace("50_000", "2_048"), names)  # noqa: S102 the page's own
    row = names["callback"].rows[-1]
    assert (row["env_steps"], row["reward_version"] > 0) == (2048, True)
    assert names["venv"].observation_space.shape == (45,)
