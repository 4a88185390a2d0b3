"""The laws of the house that a machine can hold: sizes, names, words, and what imports load."""

import ast
import re
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FOLDERS = ("prefrl", "clip_viewer", "envs", "tests", "scripts")
FILES = sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))
LONGEST_FILE = 400
LONGEST_FUNCTION = 60
LONGEST_TRAIN_LOOP = 120
MEDIAN_FUNCTION = 11
MOST_ARGUMENTS = 8
NAMES_THAT_SAY_NOTHING = {"utils", "util", "base", "types", "helpers", "misc", "common"}


def functions(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def test_there_are_files_to_look_at():
    assert len(FILES) > 20


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_sizes(path):
    assert len(path.read_text().splitlines()) <= LONGEST_FILE
    for function in functions(path):
        longest = LONGEST_TRAIN_LOOP if function.name == "train" else LONGEST_FUNCTION
        length = function.end_lineno - function.lineno + 1
        assert length <= longest, f"{function.name} has {length} lines"
        if function.name == "__init__":
            arguments = [*function.args.args[1:], *function.args.kwonlyargs]
            assert len(arguments) <= MOST_ARGUMENTS, f"{len(arguments)} constructor arguments"


def test_scripts_of_the_page_are_no_longer_than_other_files():
    scripts = sorted((ROOT / "clip_viewer" / "static").glob("*.js"))
    assert scripts
    assert not [path.name for path in scripts if len(path.read_text().splitlines()) > LONGEST_FILE]


def test_most_functions_are_short():
    """Docstrings count. mypy holds returned types, and ruff public docstrings, to all of them."""
    ours = [path for path in FILES if path.parts[len(ROOT.parts)] in ("prefrl", "clip_viewer")]
    lengths = [f.end_lineno - f.lineno + 1 for path in ours for f in functions(path)]
    assert statistics.median(lengths) <= MEDIAN_FUNCTION


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_names(path):
    assert path.stem not in NAMES_THAT_SAY_NOTHING


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_no_pickle_is_read(path):
    if path.is_relative_to(ROOT / "tests"):
        return
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names] + [getattr(node, "module", "") or ""]
            assert not any(name.split(".")[0] in {"pickle", "dill", "joblib"} for name in names)
        if isinstance(node, ast.keyword) and node.arg in {"allow_pickle", "weights_only"}:
            assert isinstance(node.value, ast.Constant)
            assert node.value.value is (node.arg == "weights_only")


def test_importing_prefrl_loads_nothing_optional():
    optional = "transformers ale_py fastapi peft accelerate datasets clip_viewer prefrl_envs"
    code = (
        "import sys, prefrl; "
        f"print(*[m for m in {optional.split()} + ['mujoco', 'cv2'] if m in sys.modules])"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    # Films are part of the control side, and OpenCV and MuJoCo are no extras.
    assert set(loaded) <= {"cv2", "mujoco"}


def test_public_names_exist_and_are_documented():
    import prefrl

    assert list(prefrl.__all__) == sorted(prefrl.__all__)
    for name in prefrl.__all__:
        assert getattr(prefrl, name).__doc__


def test_every_text_file_speaks_of_the_project_alone():
    tracked = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split("\n")
    # Put together here, so that this file does not name them itself.
    foreign = re.compile("|".join(["/" + "work/", "/" + "root/", "opt" + "/wheels"]))
    for name in filter(None, tracked):
        path = ROOT / name
        if path.suffix in {".py", ".md", ".toml", ".txt", ".csv", ".json", ""} and path.is_file():
            assert not foreign.search(path.read_text()), name
