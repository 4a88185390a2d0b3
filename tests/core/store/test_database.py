"""Backups, full disks, damage, and what the start-up check refuses."""

import contextlib
import sqlite3
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from store_places import DATABASES, new_place

import prefrl
from prefrl.core import disk
from prefrl.core.comparisons import Answer, Query
from prefrl.core.store import LabelStore, Submission, sqlite
from prefrl.errors import StoreError

LEFT, RIGHT, TIE, SKIP = Answer


def fill(store, n, name="q"):
    store.add_queries([Query(f"{name}{i}", "a" * 50, "b" * 50) for i in range(n)])
    store.submit_many(Submission(f"{name}{i}", LEFT, f"{name}{i}", "ann") for i in range(n))


# --- backup


def test_a_backup_is_a_store(path, tmp_path):
    copy = tmp_path / "copy.db"
    for n in (3, 6):  # the second time the file is replaced
        with LabelStore(path) as store:
            fill(store, n)
            store.backup(copy)
        with LabelStore(copy) as there:
            assert there.comparisons() == store_comparisons(path)
            assert there.check() == []
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    assert not list(tmp_path.glob("*.part"))


def store_comparisons(path):
    with LabelStore(path) as store:
        return store.comparisons()


def test_a_backup_is_of_one_moment_while_others_write(path, tmp_path):
    stop = threading.Event()

    def write():
        with LabelStore(path) as store:
            n = 0
            while not stop.is_set():
                fill(store, 2, name=f"pair{n}-")
                n += 1

    thread = threading.Thread(target=write)
    with LabelStore(path) as store:
        thread.start()
        sizes = []
        while len(sizes) < 5 or sizes[-1] < 10:
            store.backup(tmp_path / "copy.db")
            with LabelStore(tmp_path / "copy.db") as copy:
                assert copy.check() == []
                sizes.append(copy.counts().answered)
                assert sizes[-1] % 2 == 0  # never half of a transaction
        stop.set()
        thread.join()
    assert sizes == sorted(sizes)


def test_a_backup_that_cannot_be_written_leaves_nothing(path, tmp_path):
    with LabelStore(path) as store:
        fill(store, 3)
        with pytest.raises(StoreError, match=r"expected to write .*missing/copy.db, but No such"):
            store.backup(tmp_path / "missing" / "copy.db")
        with pytest.raises(StoreError, match="another place for the backup than the store itself"):
            store.backup(path)
        (tmp_path / "folder").mkdir()
        with pytest.raises(StoreError, match="but Is a directory"):
            store.backup(tmp_path / "folder")
        assert not list(tmp_path.glob("*.part"))
        assert store.counts().answered == 3


def test_a_store_in_memory_is_backed_up_too(tmp_path):
    with LabelStore("sqlite://") as store:
        fill(store, 3)
        store.backup(tmp_path / "copy.db")
    assert len(store_comparisons(tmp_path / "copy.db")) == 3


@pytest.mark.parametrize("database", DATABASES[1:])
def test_postgresql_has_its_own_backup(database, tmp_path):
    with new_place(database, tmp_path) as place, LabelStore(place) as store:
        with pytest.raises(StoreError, match="use pg_dump, or export_jsonl"):
            store.backup(tmp_path / "copy.db")


# --- a full disk


def test_a_full_database_is_an_error_and_nothing_is_stored(path):
    with LabelStore(path) as store:
        fill(store, 3)
        with store._database.transaction() as connection:
            (pages,) = connection.exec_driver_sql("PRAGMA page_count").one()
            connection.exec_driver_sql(f"PRAGMA max_page_count = {pages + 5}")
        with pytest.raises(StoreError, match=r"disk is full; nothing of this .* Look for a full"):
            fill(store, 2000, name="more")
        assert store.counts().answered == store.counts().queries == 3
        assert store.check() == []
        fill(store, 4)
        assert store.counts().answered == 4


FULL_DISK = """
import resource, sys, types
sys.modules["prefrl"] = types.ModuleType("prefrl")
sys.modules["prefrl"].__path__ = [sys.argv[2]]

from prefrl.core.comparisons import Answer, Query
from prefrl.core.store import LabelStore
from prefrl.errors import StoreError

with LabelStore(sys.argv[1]) as store:
    store.add_queries([Query(f"q{i}", "a", "b") for i in range(100)])
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**17, 2**17))
    try:
        for i in range(10_000):
            store.submit("q0", Answer.LEFT, submission_key=str(i), annotator_id="x" * 200 + str(i))
    except StoreError as error:
        print(i, str(error).replace("\\n", " "))
"""


def test_what_was_acknowledged_before_the_disk_was_full_stays(path):
    command = [sys.executable, "-c", FULL_DISK, path, *prefrl.__path__]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    number, complaint = said.split(" ", 1)
    assert "nothing of this was stored" in complaint
    with LabelStore(path) as store:
        assert [event.submission_key for event in store.events()] == [
            str(i) for i in range(int(number))
        ]
        assert store.check() == []


def test_a_disk_that_is_about_full_is_refused(path, monkeypatch):
    monkeypatch.setattr(disk, "_LEAST_FREE", 2**62)
    with pytest.raises(StoreError, match=r"MB free for the label store in .*; make room"):
        LabelStore(path)
    LabelStore("sqlite://").close()


# --- where the file is


@pytest.mark.parametrize(
    ("kind", "refused"),
    [
        *((kind, True) for kind in ("nfs4", "cifs", "lustre", "fuse.sshfs", "fuse.glusterfs")),
        *((kind, False) for kind in ("ext4", "fuse.ext4", "overlay")),
    ],
)
def test_network_file_systems_are_refused(tmp_path, monkeypatch, kind, refused):
    table = tmp_path / "mounts"
    home = tmp_path / "my home"
    (home / "local").mkdir(parents=True)
    escaped = str(home).replace(" ", "\\040")
    table.write_text(
        f"/dev/vda / ext4 rw 0 0\nserver:/home {escaped} {kind} rw 0 0\n"
        f"/dev/vdb {escaped}/local xfs rw 0 0\n"
    )
    monkeypatch.setattr(disk, "_MOUNTS", table)
    LabelStore(home / "local" / "labels.db").close()
    (tmp_path / "link").symlink_to(home)
    for folder in (home, tmp_path / "link"):
        if not refused:
            LabelStore(folder / "labels.db").close()
            continue
        with pytest.raises(StoreError, match=f"is on {kind}, where .*a PostgreSQL server"):
            LabelStore(folder / "labels.db")
        assert not (folder / "labels.db").exists()


def test_where_mounts_are_not_known_nothing_is_refused(path, tmp_path, monkeypatch):
    monkeypatch.setattr(disk, "_MOUNTS", tmp_path / "missing")
    LabelStore(path).close()


# --- damage


def damage(path):
    """Zeroes a page in the middle, as a bad disk would."""
    with Path(path).open("r+b") as file:
        file.seek(4096 * (Path(path).stat().st_size // 4096 // 2))
        file.write(b"\xff" * 4096)


def test_a_damaged_file_is_found_when_it_is_small_or_was_left_in_the_middle(path, monkeypatch):
    with LabelStore(path) as store:
        fill(store, 500)
    damage(path)
    with pytest.raises(StoreError, match=r"expected a sound database at .*from a backup"):
        LabelStore(path)

    monkeypatch.setattr(sqlite, "_LARGEST_TO_LOOK_THROUGH", 0)
    with LabelStore(path) as store:
        assert store.check() != []
    Path(f"{path}-journal").write_bytes(b"what a process that was killed left behind")
    with pytest.raises(StoreError, match="expected a sound database"):
        LabelStore(path)


def test_an_sqlite_that_is_too_old_is_refused(path, monkeypatch):
    monkeypatch.setattr(sqlite.sqlite3, "sqlite_version_info", (3, 34, 1))
    with pytest.raises(StoreError, match=r"expected SQLite 3.35.0 or newer"):
        LabelStore(path)


# --- other programs


def test_a_lock_that_lasts_is_an_error_on_every_database(place, monkeypatch):
    monkeypatch.setattr("prefrl.core.store.sqlite._BUSY_TIMEOUT_MS", 50)
    monkeypatch.setattr("prefrl.core.store.postgres._LOCK_TIMEOUT", "50ms")
    with LabelStore(place) as store, LabelStore(place) as other:
        with store._database.transaction(write=True):
            with pytest.raises(StoreError, match=r"lock.*nothing of this was stored"):
                other.add_queries([Query("q0", "a", "b")])
            assert other.counts().queries == 0  # who reads does not wait
        other.add_queries([Query("q0", "a", "b")])


def test_readers_of_a_large_store_do_not_hold_it(path):
    # In rollback mode a cursor that stays open would keep everyone from committing.
    with LabelStore(path) as store, contextlib.closing(sqlite3.connect(path, timeout=0)) as other:
        fill(store, 2000)
        store.comparisons()
        store.changes(limit=5)
        store.export_jsonl(Path(path).with_name("labels.jsonl"))
        other.execute("BEGIN EXCLUSIVE")
        other.rollback()
