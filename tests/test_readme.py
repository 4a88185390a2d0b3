"""The Python snippets of the README and of some pages run as they stand.

An environment variable alone makes them short.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from prefrl.control.shortening import VARIABLE, most_steps
from prefrl.errors import ConfigError

ROOT = Path(__file__).parents[1]


def snippets(name):
    return re.findall(r"```python\n(.*?)```", (ROOT / name).read_text(), re.DOTALL)


def runs(script, folder, *, steps):
    """Runs a script in a process of its own, as users do."""
    environment = {**os.environ, VARIABLE: str(steps), "OMP_NUM_THREADS": "1"}
    environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), str(ROOT / "envs")])
    path = folder / "script.py"
    path.write_text(script)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(path)],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_first_snippet_learns_from_labels(tmp_path):
    (script,) = [one for one in snippets("README.md") if "agent_settings" in one]
    row = runs(f"{script}\nprint(callback.rows[-1])", tmp_path, steps=8192)
    assert "'reward_version': 0" not in row


@pytest.mark.slow
def test_all_snippets_of_the_readme_run(tmp_path):
    script = "\n".join(one for one in snippets("README.md") if "prefrl" in one or "SAC" in one)
    runs(f"if __name__ == '__main__':\n{indented(script)}", tmp_path, steps=8192)


def test_the_snippets_about_scripts_run(tmp_path):
    script = "\n".join(snippets("docs/scripts.md"))
    script = script.replace('oracle="human"', 'oracle="mixed"')  # nobody is there
    runs(f"if __name__ == '__main__':\n{indented(script)}", tmp_path, steps=8192)


def test_a_search_with_optuna_runs(tmp_path, monkeypatch):
    (script,) = snippets("docs/benchmark.md")
    monkeypatch.setenv(VARIABLE, "8192")
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(script.replace("n_trials=20", "n_trials=1"), names)  # noqa: S102 the page's own
    assert names["study"].best_value < 0
    assert (tmp_path / "runs/search/0/summary.json").is_file()


def indented(script):
    return "".join(f"    {line}\n" for line in script.splitlines())


def test_a_limit_that_is_no_number_is_refused(monkeypatch):
    monkeypatch.setenv(VARIABLE, "soon")
    with pytest.raises(ConfigError, match="to be a number of at least 1, got 'soon'"):
        most_steps()
