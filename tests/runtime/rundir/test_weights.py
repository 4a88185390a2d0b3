"""Published weights: whole or absent, two kept, damage is refused loudly."""

import os
import signal
import subprocess
import sys
import timeit

import pytest
import torch

from prefrl.errors import RunDirectoryError
from prefrl.runtime.rundir.weights import latest_weights, newest_version, publish_weights


def test_the_newest_version_comes_back_whole(tmp_path):
    for version in (1, 2, 10):
        publish_weights(
            tmp_path, version, {"w": torch.full((2, 3), float(version))}, about={"n": 1}
        )
    weights = latest_weights(tmp_path)
    assert weights.version == 10
    assert torch.equal(weights.tensors["w"], torch.full((2, 3), 10.0))
    assert weights.about == {"n": 1}


def test_two_versions_are_kept(tmp_path):
    for version in range(1, 6):
        publish_weights(tmp_path, version, {"w": torch.zeros(1)}, about={})
    kept = sorted(path.name for path in tmp_path.iterdir())
    assert kept == [f"v00000{v}.{kind}" for v in (4, 5) for kind in ("json", "safetensors")]


def test_nothing_published_and_damage_are_named(tmp_path):
    with pytest.raises(RunDirectoryError, match="found none"):
        latest_weights(tmp_path)
    publish_weights(tmp_path, 1, {"w": torch.zeros(1)}, about={})
    (tmp_path / "v000001.safetensors").write_bytes(b"\x00" * 20)
    with pytest.raises(RunDirectoryError, match="expected readable reward weights"):
        latest_weights(tmp_path)


def two(folder):
    for version in (1, 2):
        publish_weights(folder, version, {"w": torch.full((99,), version)}, about={"n": version})


@pytest.mark.parametrize("kind", ["safetensors", "json"])
def test_a_damaged_version_is_refused_loudly_for_the_one_before(kind, tmp_path, rng, caplog):
    two(tmp_path)
    path = tmp_path / f"v000002.{kind}"
    content = path.read_bytes()
    for position in rng.integers(8 * len(content), size=100).tolist():
        flipped = bytearray(content)
        flipped[position // 8] ^= 1 << position % 8
        path.write_bytes(flipped)
        weights = latest_weights(tmp_path)
        assert weights.version == 1 or kind == "json"  # where a space may be another space
        assert weights.about == {"n": weights.version}
        assert (weights.tensors["w"] == weights.version).all()
    for damaged in (content[: len(content) // 2], b""):
        path.write_bytes(damaged)
        assert latest_weights(tmp_path).about == {"n": 1}
    path.unlink()
    assert latest_weights(tmp_path).version == 1
    assert f"{tmp_path / 'v000002.safetensors'} ARE DAMAGED AND REFUSED" in caplog.text


def test_the_newest_version_is_cheap_to_ask_for(tmp_path):
    assert newest_version(tmp_path / "nowhere") is None
    assert newest_version(tmp_path) is None
    two(tmp_path)
    assert newest_version(tmp_path) == 2
    assert min(timeit.repeat(lambda: newest_version(tmp_path), number=10, repeat=20)) < 10 * 5e-4


CHILD = """
import sys, torch
from pathlib import Path
from prefrl.runtime.rundir.weights import publish_weights
for version in (1, 2, 3):
    publish_weights(Path(sys.argv[1]), version, {"w": torch.full((9,), version)}, about={})
"""


@pytest.mark.parametrize(
    ("point", "newest"),
    [
        ("weights:before-rename@3", 2),  # the JSON is there, the tensors are not
        ("write:before-rename@6", 2),
        ("write:after-rename@6", 3),
    ],
)
def test_a_kill_leaves_the_older_or_the_newer_whole(point, newest, tmp_path):
    child = subprocess.run(
        [sys.executable, "-c", CHILD, str(tmp_path)],
        env={**os.environ, "PREFRL_FAIL_POINT": point},
        check=False,
    )
    assert child.returncode == -signal.SIGKILL
    weights = latest_weights(tmp_path)
    assert weights.version == newest == newest_version(tmp_path)
    assert (weights.tensors["w"] == newest).all()
    publish_weights(tmp_path, newest + 1, {"w": torch.zeros(1)}, about={})
    assert len(list(tmp_path.iterdir())) == 4
