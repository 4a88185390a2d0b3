import pytest

from prefrl.errors import RunDirectoryError
from prefrl.runtime.rundir import RunDirectory, installed_versions, write_atomically


def test_a_new_run_has_its_folders(tmp_path):
    run = RunDirectory.create(tmp_path / "deep" / "run")
    for folder in (run.items, run.reward, run.films, run.report):
        assert folder.is_dir()


def test_an_existing_run_is_never_overwritten(tmp_path):
    RunDirectory.create(tmp_path / "run")
    with pytest.raises(RunDirectoryError, match="exists and is not empty"):
        RunDirectory.create(tmp_path / "run")
    (tmp_path / "file").write_text("mine")
    with pytest.raises(RunDirectoryError, match="exists"):
        RunDirectory.create(tmp_path / "file")


def test_an_empty_folder_may_become_a_run(tmp_path):
    RunDirectory.create(tmp_path)


def test_what_is_not_a_run_is_not_opened(tmp_path):
    with pytest.raises(RunDirectoryError, match=r"config\.json"):
        RunDirectory.open(tmp_path)


def test_damaged_json_is_named(tmp_path):
    path = tmp_path / "config.json"
    for damaged in ("{", "[1]"):
        path.write_text(damaged)
        with pytest.raises(RunDirectoryError, match="expected a JSON object"):
            RunDirectory.read_json(path)


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_atomically(path, b"old")

    def no_space(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", no_space)
    with pytest.raises(OSError, match="No space"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"


def test_versions_name_what_decides_a_result():
    assert {"python", "torch", "gymnasium", "mujoco", "prefrl"} <= set(installed_versions())
