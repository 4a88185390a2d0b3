"""What the pages say works, works."""

import re
from dataclasses import replace
from pathlib import Path

from prefrl.control.presets import PRESETS
from prefrl.control.queries import QueryConfig

PAGE = Path(__file__).parents[2] / "docs" / "atari.md"


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
