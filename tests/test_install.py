"""scripts/install where an environment is half made, or cannot be made."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parents[1]


@pytest.fixture
def checkout(tmp_path):
    """A checkout in which everything is installed as soon as there is an environment."""
    (tmp_path / "scripts").mkdir()
    shutil.copy(HERE / "scripts" / "install", tmp_path / "scripts")
    for name in ("pyproject.toml", "scripts/constraints.txt"):
        (tmp_path / name).touch()
    return tmp_path


def install(checkout, python, *extra):
    """Runs the script with only this Python to be found."""
    found = checkout / "bin"
    found.mkdir()
    for name in ("python3.13", "python3.12", "python3.11", "python3"):
        (found / name).write_text(f'#!/bin/sh\n{python} "$@"\n')
        (found / name).chmod(0o755)
    environment = {**os.environ, "PATH": f"{found}:{os.environ['PATH']}"}
    command = [checkout / "scripts" / "install", *extra]
    return subprocess.run(command, env=environment, capture_output=True, text=True)


def test_what_an_interruption_has_left_is_made_whole(checkout):
    venv = checkout / ".venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], check=True)
    (venv / ".installed").touch()
    done = install(checkout, sys.executable)
    assert done.returncode == 0, done.stderr
    subprocess.run([venv / "bin" / "python", "-m", "pip", "--version"], check=True)


def test_a_python_that_makes_no_environments_is_told_what_to_install(checkout):
    # As on Debian without python3-venv.
    without = f"""case "$2" in *ensurepip*) exit 1;; esac; exec {sys.executable}"""
    done = install(checkout, without)
    assert done.returncode == 2
    assert "apt-get install python3.13-venv" in done.stderr
    assert not (checkout / ".venv").exists()


@pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="the locked files are for Python 3.11")
def test_a_file_that_is_not_the_locked_one_is_refused(checkout):
    wheel = checkout / "someone-1.0-py3-none-any.whl"
    wheel.write_bytes(b"somebody has replaced it")
    locked = f"someone @ {wheel.as_uri()} --hash=sha256:{'0' * 64}\n"
    (checkout / "scripts" / "locked.txt").write_text(locked)
    done = install(checkout, sys.executable, "dev")
    assert done.returncode != 0
    assert "DO NOT MATCH THE HASHES" in done.stderr
    assert not (checkout / ".venv" / ".installed-dev").exists()
