"""The format of a run: one of another release is refused in a sentence."""

import pytest

from prefrl.errors import RunDirectoryError
from prefrl.runtime.rundir import RunDirectory
from prefrl.runtime.rundir.versions import FORMAT, about_this_release, installed_versions


@pytest.fixture
def run(tmp_path):
    run = RunDirectory.create(tmp_path / "run")
    run.write_json(run.config, {})
    return run


def test_versions_name_what_decides_a_result():
    assert {"python", "torch", "gymnasium", "mujoco", "prefrl"} <= set(installed_versions())


def test_a_run_of_this_release_is_opened(run):
    run.write_json(run.versions, about_this_release())
    assert run.read_json(run.versions)["format"] == FORMAT
    RunDirectory.open(run.root)


@pytest.mark.parametrize("content", [None, "{", "[]", '{"prefrl": "0.0.1"}'])
def test_one_that_does_not_say_is_of_the_first_format(run, content):
    if content is not None:
        run.versions.write_text(content)
    RunDirectory.open(run.root)


def test_one_of_another_format_is_refused_with_the_release_that_reads_it(run):
    run.write_json(run.versions, about_this_release() | {"format": 99, "prefrl": "9.8.7"})
    with pytest.raises(RunDirectoryError, match=r"is of format 99; use the release .*prefrl 9\.8"):
        RunDirectory.open(run.root)
