"""A run that a tiny model can learn from."""

import shutil
from dataclasses import replace

import pytest

from prefrl.runtime.rundir import RunDirectory
from prefrl.text.presets import ALIGN_PRESETS

GOLD = """def score(text):
    return sum(c.isascii() and c.isalpha() for c in text) / 8
"""
WORDS = ("one", "or", "two", "of", "the", "big", "six", "a")
PROMPTS = "".join(f"{word} {number}\n" for number in range(4) for word in WORDS)


@pytest.fixture
def config(tmp_path):
    """Settings with which a tiny model learns to write letters instead of other bytes."""
    (tmp_path / "gold.py").write_text(GOLD)
    (tmp_path / "prompts.txt").write_text(PROMPTS)
    return replace(
        ALIGN_PRESETS["tiny"],
        prompts=tmp_path / "prompts.txt",
        gold=f"{tmp_path / 'gold.py'}:score",
        run=tmp_path / "run",
        responses=1536,
        labels=200,
        eval_prompts=32,
        eval_responses=4,
        sync=True,
    )


@pytest.fixture
def block_checkpoints(config):
    """Makes a file of the folder of checkpoints, when it is called and the folder is there."""
    place = RunDirectory(config.run).checkpoints

    def block(row):
        if place.is_dir():
            shutil.rmtree(place)
            place.write_text("")

    return block
