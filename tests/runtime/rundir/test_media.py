"""Media are named by their content and whole, whatever happens while they are written."""

import hashlib
import os
import signal
import subprocess
import sys

import pytest

from prefrl.runtime.rundir import RunDirectory
from prefrl.runtime.rundir.media import add_file, add_medium


@pytest.fixture
def folder(tmp_path):
    return RunDirectory.create(tmp_path / "run").media


def test_a_medium_is_named_by_its_content(folder):
    content = b"a film"
    media_id = add_medium(folder, content, "video/webm")
    assert media_id == hashlib.sha256(content).hexdigest()[:32]
    assert (folder / f"{media_id}.webm").read_bytes() == content
    assert (folder / f"{add_medium(folder, b'{}', 'application/json')}.json").is_file()


def test_the_same_content_is_one_file(folder):
    first = add_medium(folder, b"a film", "video/webm")
    written = (folder / f"{first}.webm").stat()
    assert add_medium(folder, b"a film", "video/webm") == first
    assert (folder / f"{first}.webm").stat().st_ino == written.st_ino
    assert len(list(folder.iterdir())) == 1


def test_another_type_is_refused(folder):
    with pytest.raises(ValueError, match="expected one of video/webm, video/mp4, application/json"):
        add_medium(folder, b"<script>", "text/html")
    assert not list(folder.iterdir())


@pytest.mark.parametrize(
    ("point", "is_there"), [("write:before-rename", False), ("write:after-rename", True)]
)
def test_a_writer_that_is_killed_leaves_all_of_it_or_nothing(folder, point, is_there):
    code = (
        "import sys; from pathlib import Path; from prefrl.runtime.rundir.media import add_medium; "
        "add_medium(Path(sys.argv[1]), b'a film', 'video/webm')"
    )
    killed = subprocess.run(
        [sys.executable, "-c", code, str(folder)],
        env={**os.environ, "PREFRL_FAIL_POINT": point},
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL
    found = list(folder.glob("*.webm"))
    assert [path.read_bytes() for path in found] == [b"a film"] * is_there
    add_medium(folder, b"a film", "video/webm")
    assert len(list(folder.glob("*.webm"))) == 1


def test_a_long_film_is_copied_with_the_same_name(folder, tmp_path):
    content = bytes(range(256)) * 10_000
    (tmp_path / "film.mp4").write_bytes(content)
    media_id = add_file(folder, tmp_path / "film.mp4", "video/mp4")
    assert media_id == add_medium(folder, content, "video/mp4")
    assert [path.name for path in folder.iterdir()] == [f"{media_id}.mp4"]
    assert (folder / f"{media_id}.mp4").read_bytes() == content
    with pytest.raises(ValueError, match="expected one of"):
        add_file(folder, tmp_path / "film.mp4", "text/html")
    with pytest.raises(FileNotFoundError):
        add_file(folder, tmp_path / "none.mp4", "video/mp4")
    assert len(list(folder.iterdir())) == 1
