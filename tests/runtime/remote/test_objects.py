"""Object storage: a real S3 server that comes and goes, and a shared folder."""

import sys
import threading
import time

import pytest
from object_storage import running_storage

from prefrl.errors import ConfigError, MediaUnavailableError, MissingExtraError
from prefrl.runtime.remote.objects import ObjectStore

FILM = bytes(range(256)) * 400


@pytest.fixture
def storage():
    with running_storage() as storage:
        yield storage


def test_what_was_put_comes_back_as_it_was(storage):
    store = ObjectStore(f"{storage.url}/one")
    store.check()
    assert store.get("film.webm") is None
    store.put("film.webm", FILM)
    assert ObjectStore(f"{storage.url}/one/").get("film.webm") == FILM
    assert ObjectStore(f"{storage.url}/two").get("film.webm") is None
    assert storage.names() == ["runs/one/film.webm"]  # and nothing is left of the check


def test_a_shared_folder_is_made_and_holds_whole_files(tmp_path):
    store = ObjectStore(f"file://{tmp_path}/shared/media")
    store.check()
    store.put("film.webm", FILM)
    assert store.get("film.webm") == FILM
    assert store.get("other.webm") is None
    assert [path.name for path in (tmp_path / "shared" / "media").iterdir()] == ["film.webm"]


def test_what_cannot_be_written_to_is_refused_in_words(storage, tmp_path):
    with pytest.raises(ConfigError, match="bucket does not exist; check that the bucket exists"):
        ObjectStore("s3://nowhere/runs").check()
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ConfigError, match="expected to write to file://"):
        ObjectStore(f"file://{tmp_path}/file/media").check()
    storage.stop()
    with pytest.raises(ConfigError, match="Could not connect to the endpoint URL"):
        ObjectStore(storage.url).check()


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("labels", "expected media to be a URL such as s3://BUCKET/FOLDER"),
        ("s3://", "expected media to be a URL"),
        ("memory://labels", "expected media to be a URL"),
        ("s4://labels", "Protocol not known: s4"),
        ("s3://key:secret@labels/runs", "without credentials, got some"),
        ("s3://labels/runs?secret=1", "without credentials, got some"),
    ],
)
def test_what_is_no_place_for_media_is_refused(url, why):
    with pytest.raises(ConfigError, match=why):
        ObjectStore(url)


def test_a_library_that_is_missing_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    with pytest.raises(MissingExtraError, match=r"gs:// .*; pip install gcsfs\.$"):
        ObjectStore("gs://labels/runs")


def test_a_read_while_it_is_away_says_so_and_works_later(storage):
    store = ObjectStore(storage.url)
    store.put("film.webm", FILM)
    storage.stop()
    with pytest.raises(MediaUnavailableError, match=f"{storage.url} refused: Could not connect"):
        store.get("film.webm")
    storage.start()
    assert store.get("film.webm") == FILM


def test_a_write_waits_until_it_is_back(storage):
    said = []

    def waiting(state):
        said.append(state)
        return False

    storage.stop()
    threading.Timer(3.0, storage.start).start()
    began = time.monotonic()
    ObjectStore(storage.url, waiting=waiting).put("film.webm", FILM)
    assert time.monotonic() - began > 2.5
    assert set(said) == {f"waiting for {storage.url}"}
    assert storage.names() == ["runs/film.webm"]


def test_a_write_gives_up_when_it_is_told_to(storage):
    storage.stop()
    with pytest.raises(MediaUnavailableError, match="refused"):
        ObjectStore(storage.url).put("film.webm", FILM)
    with pytest.raises(MediaUnavailableError, match="refused"):
        ObjectStore(storage.url, waiting=lambda state: True).put("film.webm", FILM)
