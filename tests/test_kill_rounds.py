"""Thirty rounds of the benchmark that kills every role: nothing is lost, nothing is doubled."""

import csv
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent.parent / "scripts" / "benchmark" / "programs" / "kill_rounds.py"


@pytest.mark.timeout(400)
def test_thirty_rounds_lose_nothing(tmp_path):
    out = tmp_path / "rounds.csv"
    command = [sys.executable, str(SCRIPT), "--rounds", "30", "--folder", str(tmp_path / "runs")]
    ended = subprocess.run([*command, "--out", str(out)], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "lost 0, duplicated 0, integrity ok" in ended.stdout
    with out.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) >= 30
    assert {"agent", "learner", "labeller"} <= {row["role"] for row in rows}
    assert max(float(row["unsaved_seconds"]) for row in rows) < 60
