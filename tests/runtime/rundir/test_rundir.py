import pytest

from prefrl.errors import RunDirectoryError
from prefrl.runtime.rundir import RunDirectory
from prefrl.runtime.rundir.writing import write_atomically


def test_a_new_run_has_its_folders(tmp_path):
    run = RunDirectory.create(tmp_path / "deep" / "run")
    for folder in (run.items, run.reward, run.films, run.report):
        assert folder.is_dir()


def test_an_existing_run_is_never_overwritten(tmp_path):
    RunDirectory.create(tmp_path / "run")
    with pytest.raises(RunDirectoryError, match="exists and is not empty"):
        RunDirectory.create(tmp_path / "run")


def test_a_place_where_no_run_can_be_made_is_refused_in_a_sentence(tmp_path):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for name, why in (
        ("file", "exists and is a file"),
        ("link", "is a link to .*nowhere, which is not there"),
        ("file/run", "not a directory"),
        ("long" * 100, "file name too long"),
    ):
        with pytest.raises(RunDirectoryError, match=why):
            RunDirectory.create(tmp_path / name)


def test_a_run_below_a_file_or_with_too_long_a_name_is_not_opened(tmp_path):
    (tmp_path / "file").write_text("mine")
    for name in ("file/run", "long" * 100):
        with pytest.raises(RunDirectoryError):
            RunDirectory.open(tmp_path / name)


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
