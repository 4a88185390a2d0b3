"""Checkpoints are whole or absent: round trips, kills, full disks, damage."""

import json
import logging
import math
import os
import resource
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy

from prefrl.errors import RunDirectoryError
from prefrl.runtime.rundir.checkpoint import Checkpoint, load_checkpoint, save_checkpoint, taking_up

FILES = ("manifest.json", "state.json", "state.safetensors")
KINDS = "uint8 int8 uint16 int16 uint32 int32 uint64 int64 float16 float32 float64 bool".split()


def same(left, right):
    if isinstance(left, np.ndarray):
        return (
            isinstance(right, np.ndarray)
            and (left.dtype, left.shape) == (right.dtype, right.shape)
            and left.tobytes() == right.tobytes()
        )
    if isinstance(left, torch.Tensor):
        return isinstance(right, torch.Tensor) and same(left.numpy(), right.numpy())
    if isinstance(left, dict):
        return list(left) == list(right) and all(same(left[key], right[key]) for key in left)
    if isinstance(left, list):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, float) and math.isnan(left):
        return math.isnan(right)
    return type(left) is type(right) and left == right


arrays = st.sampled_from(KINDS).flatmap(
    lambda kind: st_numpy.arrays(kind, st_numpy.array_shapes(min_dims=0, min_side=0, max_dims=3))
)
tensors = st_numpy.arrays("float32", st_numpy.array_shapes(min_dims=1, min_side=0)).map(
    torch.from_numpy
)
plain = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
states = st.recursive(
    arrays | tensors | plain,
    lambda inner: (
        st.lists(inner) | st.dictionaries(st.text() | st.integers() | st.just("!"), inner)
    ),
    max_leaves=12,
)


@given(state=st.dictionaries(st.text(), states))
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_what_was_saved_comes_back_bit_for_bit(state, tmp_path):
    shutil.rmtree(tmp_path)
    save_checkpoint(tmp_path, state)
    checkpoint = load_checkpoint(tmp_path)
    assert same(state, checkpoint.state)
    assert (checkpoint.number, checkpoint.refused) == (1, ())


def test_what_states_are_made_of_comes_back(tmp_path):
    parameter = torch.nn.Parameter(torch.arange(6.0).reshape(2, 3))
    state = {
        "generator": np.random.default_rng(3).bit_generator.state,  # integers of 128 bits
        "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "strided": torch.arange(6.0).reshape(2, 3).T,
        "shared": [parameter, parameter],
        "bfloat16": torch.ones(2, dtype=torch.bfloat16),
        "scalar": np.float64(0.1),
        "tuple": (1, (2,)),
    }
    save_checkpoint(tmp_path, state)
    back = load_checkpoint(tmp_path).state
    assert back["generator"] == state["generator"]
    assert np.array_equal(back["fortran"], state["fortran"])
    assert torch.equal(back["strided"], state["strided"])
    assert back["bfloat16"].dtype == torch.bfloat16
    assert (back["scalar"], back["tuple"]) == (0.1, [1, [2]])
    back["shared"][0][0, 0] = 9  # writable, and no two share their memory
    assert back["shared"][1][0, 0] == 0


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ({"a": [{"b": object()}]}, r"got <class 'object'> at state\['a'\]\[0\]\['b'\]"),
        ({"a": np.array(["text"])}, r"an array of numbers at state\['a'\]"),
        ({"a": np.array([None])}, r"an array of numbers at state\['a'\]"),
        ({"a": {(1, 2): 3}}, r"keys of state\['a'\]"),
    ],
)
def test_what_cannot_be_saved_is_refused_before_anything_is_written(state, words, tmp_path):
    with pytest.raises(TypeError, match=words):
        save_checkpoint(tmp_path, state)
    assert not list(tmp_path.iterdir())


def test_two_are_kept_and_numbers_go_on(tmp_path):
    for number in range(1, 6):
        assert save_checkpoint(tmp_path, {"n": number}).name == f"{number:06d}"
        assert load_checkpoint(tmp_path).state == {"n": number}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["000004", "000005"]


def test_there_is_none_before_the_first(tmp_path):
    assert load_checkpoint(tmp_path) is None
    assert load_checkpoint(tmp_path / "nowhere") is None


def two(folder):
    """Checkpoints 1 and 2 with their numbers in them."""
    for number in (1, 2):
        save_checkpoint(folder, {"n": number, "x": np.full(500, number, np.uint8)})
    return folder / "000002"


def assert_falls_back(folder, caplog):
    with caplog.at_level(logging.WARNING):
        checkpoint = load_checkpoint(folder)
    assert (checkpoint.number, checkpoint.state["n"]) == (1, 1)
    assert "000002 IS DAMAGED AND REFUSED" in caplog.text
    assert len(checkpoint.refused) == 1
    assert "checkpoint 2 is damaged" in checkpoint.refused[0]


@pytest.mark.parametrize("name", FILES)
def test_a_flipped_bit_anywhere_is_refused_or_changes_nothing(name, tmp_path, rng):
    path = two(tmp_path) / name
    content = path.read_bytes()
    for position in rng.integers(8 * len(content), size=200).tolist():
        flipped = bytearray(content)
        flipped[position // 8] ^= 1 << position % 8
        path.write_bytes(flipped)
        checkpoint = load_checkpoint(tmp_path)
        # The manifest alone has no checksum; what it says of the others must still hold.
        assert checkpoint.number == 1 or name == "manifest.json"
        assert checkpoint.state["n"] == checkpoint.number
        assert (checkpoint.state["x"] == checkpoint.number).all()


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_a_truncated_file_is_refused(name, share, tmp_path, caplog):
    path = two(tmp_path) / name
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    assert_falls_back(tmp_path, caplog)


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_refused(name, tmp_path, caplog):
    (two(tmp_path) / name).unlink()
    assert_falls_back(tmp_path, caplog)


def test_of_a_run_that_was_moved_no_stray_folder_is_made(tmp_path):
    with pytest.raises(FileNotFoundError):
        save_checkpoint(tmp_path / "moved" / "checkpoints", {})
    assert not (tmp_path / "moved").exists()


def test_one_of_another_release_is_refused_and_no_older_one_taken_for_it(tmp_path):
    path = two(tmp_path) / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": 99}))
    with pytest.raises(
        RunDirectoryError, match=r"of format 1, but .* is of format 99; continue with"
    ):
        load_checkpoint(tmp_path)


def test_one_that_lacks_what_this_release_needs_is_refused_in_a_sentence():
    checkpoint = Checkpoint(7, {"agent": {}})
    with pytest.raises(
        RunDirectoryError, match=r"checkpoint 7 has no 'preferences'; continue with"
    ):
        with taking_up(checkpoint):
            checkpoint.state["preferences"]


def test_all_damaged_is_an_error_each_time_and_never_a_new_start(tmp_path):
    two(tmp_path)
    for name in ("000001", "000002"):
        (tmp_path / name / "state.json").write_text("{}")
    for _ in range(2):
        with pytest.raises(RunDirectoryError, match=r"got 2 and all damaged.*from a backup"):
            load_checkpoint(tmp_path)


def test_a_damaged_one_does_not_take_the_place_of_the_one_to_fall_back_to(tmp_path):
    newest = two(tmp_path)
    (newest / "state.safetensors").write_bytes(b"damaged")
    save_checkpoint(tmp_path, {"n": 3})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["000001", "000003"]
    (tmp_path / "000003" / "state.json").unlink()
    assert load_checkpoint(tmp_path).state["n"] == 1


CHILD = """
import numpy as np, sys
from pathlib import Path
from prefrl.runtime.rundir.checkpoint import save_checkpoint
for number in (1, 2, 3):
    save_checkpoint(Path(sys.argv[1]), {"n": number, "x": np.full(500, number, np.uint8)})
"""


@pytest.mark.parametrize(
    ("point", "newest"),
    [
        ("checkpoint:before-fsync@7", 2),  # of the third checkpoint: state.json,
        ("checkpoint:before-fsync@8", 2),  # state.safetensors,
        ("checkpoint:before-fsync@9", 2),  # manifest.json
        ("checkpoint:after-fsync@9", 2),
        ("checkpoint:before-rename@3", 2),
        ("checkpoint:after-rename@3", 3),
        ("checkpoint:before-removal@3", 3),
        ("checkpoint:before-rename@1", None),
    ],
)
def test_a_kill_at_any_point_leaves_the_older_or_the_newer_whole(point, newest, tmp_path):
    child = subprocess.run(
        [sys.executable, "-c", CHILD, str(tmp_path)],
        env={**os.environ, "PREFRL_FAIL_POINT": point},
        check=False,
    )
    assert child.returncode == -signal.SIGKILL
    checkpoint = load_checkpoint(tmp_path)
    if newest is None:
        assert checkpoint is None
    else:
        assert (checkpoint.number, checkpoint.refused) == (newest, ())
        assert (checkpoint.state["x"] == newest).all()
    # The next writer goes on, and clears up.
    save_checkpoint(tmp_path, {"n": 0})
    assert load_checkpoint(tmp_path).number == (newest or 0) + 1
    assert all(path.name.isdigit() for path in tmp_path.iterdir())
    assert len(list(tmp_path.iterdir())) <= 2


def test_a_write_that_fails_leaves_the_older_ones_and_nothing_else(tmp_path):
    two(tmp_path)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))  # a file may grow no further
    try:
        with pytest.raises(OSError, match="File too large"):
            save_checkpoint(tmp_path, {"n": 3, "x": np.zeros(20_000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["000001", "000002"]
    assert load_checkpoint(tmp_path).number == 2
    assert save_checkpoint(tmp_path, {"n": 3}).name == "000003"
