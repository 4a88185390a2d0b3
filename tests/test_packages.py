"""What is handed out: wheel and sdist, their extras, and the files that describe a release."""

import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
NOT_FOR_USERS = {"all", "dev", "docs"}


@pytest.fixture(scope="module")
def dist(tmp_path_factory):
    """A wheel and an sdist, built by the backend itself: no network."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "hatchling", "build", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return folder


def tracked(*folders):
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", *folders]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    return {name for name in done.stdout.splitlines() if (ROOT / name).is_file()}


def test_the_wheel_holds_the_packages_whole_and_nothing_else(dist):
    (path,) = dist.glob("*.whl")
    names = set(zipfile.ZipFile(path).namelist())
    ours = tracked("prefrl", "clip_viewer", "envs/prefrl_envs")
    expected = {name.removeprefix("envs/") for name in ours}
    assert {name for name in names if ".dist-info/" not in name} == expected
    for needed in (
        "prefrl/py.typed",
        "prefrl_envs/py.typed",
        "prefrl/core/store/migrations/r0001_events.py",
        "prefrl/control/agent/settings.yml",
        "prefrl/benchmark/suites/smoke.yaml",
        "prefrl/report/style.css",
        "clip_viewer/instructions.de.md",
        "clip_viewer/instructions.en.md",
        "clip_viewer/static/words/de.json",
        "clip_viewer/static/index.html",
        "clip_viewer/static/page.js",
    ):
        assert needed in names
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_the_sdist_builds_and_says_what_it_is(dist):
    (path,) = dist.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"LICENSE", "README.md", "CHANGELOG.md", "CITATION.cff", "pyproject.toml"} <= names
    assert {"prefrl/__init__.py", "tests/test_packages.py", "docs/api.md"} <= names
    assert path.stat().st_size < 3e6


def test_all_has_every_extra_that_is_for_users():
    extras = PROJECT["optional-dependencies"]
    (told,) = extras["all"]
    named = set(told.partition("[")[2].rstrip("]").split(","))
    assert named == extras.keys() - NOT_FOR_USERS
    page = (ROOT / "docs" / "install.md").read_text()
    assert all(f"`{name}`" in page for name in extras)


def test_the_citation_is_of_this_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["cff-version"] == "1.2.0"
    assert {"message", "title", "authors", "type"} <= citation.keys()
    assert citation["version"] == PROJECT["version"]
    assert citation["license"] == PROJECT["license"]
    assert f"## Unreleased: {PROJECT['version']}\n" in (ROOT / "CHANGELOG.md").read_text() or (
        f"## {PROJECT['version']} " in (ROOT / "CHANGELOG.md").read_text()
    )


def test_only_a_tag_publishes():
    """YAML reads the key ``on`` as True."""
    release = yaml.safe_load((ROOT / ".github/workflows/release.yml").read_text())
    assert release[True] == {"push": {"tags": ["v*"]}}
    assert "id-token" not in release["permissions"]
    assert release["jobs"]["publish"]["environment"] == "pypi"
    tests = (ROOT / ".github/workflows/ci.yml").read_text()
    assert ".ci/run" in tests
    assert "pypi-publish" not in tests
