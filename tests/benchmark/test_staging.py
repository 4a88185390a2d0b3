import contextlib

import pytest

from prefrl.benchmark.staging import on_a_local_disk
from prefrl.core import disk


@pytest.fixture
def on_nfs(tmp_path, monkeypatch):
    """A folder that the table of mounts says is on a network file system."""
    mounts = tmp_path / "mounts"
    folder = tmp_path / "shared" / "job"
    (folder / "locks").mkdir(parents=True)
    mounts.write_text(f"none / ext4 rw 0 0\nserver:/x {folder.parent} nfs4 rw 0 0\n")
    monkeypatch.setattr(disk, "_MOUNTS", mounts)
    return folder


def test_a_local_folder_is_used_as_it_is(tmp_path):
    with on_a_local_disk(tmp_path) as here:
        assert here == tmp_path


def test_what_was_saved_comes_back_and_goes_there_again(on_nfs):
    (on_nfs / "job.json").write_text("{}")
    with on_a_local_disk(on_nfs) as here:
        assert here != on_nfs
        assert (here / "job.json").read_text() == "{}"
        (here / "run").mkdir()
        (here / "run" / "1").write_text("one")
    with contextlib.suppress(KeyboardInterrupt), on_a_local_disk(on_nfs) as here:
        assert (here / "run" / "1").read_text() == "one"
        (here / "run" / "1").unlink()
        (here / "run" / "2").write_text("two")
        (here / "row.json").write_text("[]")
        raise KeyboardInterrupt
    assert sorted(path.name for path in on_nfs.iterdir()) == [
        "job.json",
        "locks",
        "row.json",
        "run",
    ]
    assert [path.name for path in (on_nfs / "run").iterdir()] == ["2"]


def test_a_machine_that_dies_while_it_brings_back_leaves_the_old_run(on_nfs):
    (on_nfs / ".run.old").mkdir()
    (on_nfs / ".run.old" / "1").write_text("one")
    (on_nfs / ".run.new").mkdir()
    with on_a_local_disk(on_nfs) as here:
        assert (here / "run" / "1").read_text() == "one"
    assert not list(on_nfs.glob(".run.*"))
