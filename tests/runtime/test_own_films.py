"""What is no film is refused by what is in it, whatever it is called."""

import io
import os

import av
import cv2
import numpy as np
import pytest
from own_films import make_film, recorded_film

from prefrl.errors import ConfigError
from prefrl.runtime.own.films import find_films, look_at, with_length


def test_films_are_known_by_their_content(tmp_path):
    make_film(tmp_path / "a.mp4")
    make_film(tmp_path / "b.webm", codec="libvpx")
    (tmp_path / "a.mp4").rename(tmp_path / "really mp4.webm")  # the content decides
    paths, others = find_films(tmp_path)
    assert others == []
    films = [look_at(path, tmp_path) for path in paths]
    told = [(film.name, film.media_type, film.has_length) for film in films]
    assert told == [("b.webm", "video/webm", True), ("really mp4.webm", "video/mp4", True)]


def test_a_film_as_browsers_record_it_is_told_its_length(tmp_path):
    path = tmp_path / "recorded.webm"
    path.write_bytes(recorded_film(n=15))
    film = look_at(path, tmp_path)
    assert not film.has_length
    with av.open(io.BytesIO(with_length(film))) as container:
        assert container.duration == pytest.approx(500_000, rel=0.1)
        assert sum(1 for _ in container.decode(video=0)) == 15
    path.write_bytes(path.read_bytes()[:1500])  # it breaks off: what is there is shown
    assert not look_at(path, tmp_path).has_length


def as_avif(path):
    written, content = cv2.imencode(".avif", np.zeros((64, 64, 3), np.uint8))
    assert written
    path.write_bytes(content.tobytes())


REFUSED = {
    "svg": (lambda p: p.write_text("<svg xmlns='http://www.w3.org/2000/svg'/>"), "something else"),
    "html": (lambda p: p.write_text("<!doctype html><script>1</script>"), "something else"),
    "a page that begins as a film": (
        lambda p: p.write_bytes(b"\0\0\0\x18ftypmp42<html><script>1</script>"), "cannot be played",
    ),
    "a list of other files": (
        lambda p: p.write_text("#EXTM3U\n#EXTINF:9,\nfile:///etc/passwd\n"), "something else",
    ),
    "a list for ffmpeg": (
        lambda p: p.write_text("ffconcat version 1.0\nfile /etc/passwd\n"), "something else",
    ),
    "nothing": (lambda p: p.write_bytes(b""), "something else"),
    "a picture": (as_avif, "something else"),
    "matroska": (lambda p: make_film(p, form="matroska"), "something else"),
    "cut": (lambda p: (make_film(p), p.write_bytes(p.read_bytes()[:700])), "cannot be played"),
    "hevc": (lambda p: make_film(p, codec="libx265"), "is hevc; convert it: ffmpeg -i"),
    "all its colours": (lambda p: make_film(p, pixels="yuv444p"), "h264 with yuv444p; convert"),
    "sound alone": (lambda p: as_sound(p), "has no pictures"),
}  # fmt: skip


def as_sound(path):
    with av.open(str(path), "w") as output:
        stream = output.add_stream("aac", rate=44100)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        frame.sample_rate = 44100
        for packet in (*stream.encode(frame), *stream.encode()):
            output.mux(packet)


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_no_film_is_refused_with_its_name(tmp_path, what):
    make, why = REFUSED[what]
    path = tmp_path / "Mein schöner Film.mp4"
    make(path)
    with pytest.raises(ConfigError, match=why) as refused:
        look_at(path, tmp_path)
    assert str(path) in str(refused.value)


def test_folders_without_films(tmp_path):
    with pytest.raises(ConfigError, match="is not there"):
        find_films(tmp_path / "none")
    with pytest.raises(ConfigError, match="has 0 films"):
        find_films(tmp_path)
    (tmp_path / "notes.txt").write_text("what is this?")
    (tmp_path / ".hidden.mp4").write_text("of the system's")
    make_film(tmp_path / "a.mp4")
    with pytest.raises(ConfigError, match="has 1 film and 1 other files"):
        find_films(tmp_path)
    with pytest.raises(ConfigError, match="is a file"):
        find_films(tmp_path / "a.mp4")


def test_a_name_that_is_no_text_and_a_film_that_cannot_be_read(tmp_path):
    name = os.fsdecode(b"bad\xff.mp4")
    make_film(tmp_path / "a.mp4")
    (tmp_path / "a.mp4").rename(tmp_path / name)
    with pytest.raises(ConfigError, match="names in UTF-8"):
        look_at(tmp_path / name, tmp_path)
    (tmp_path / "link.mp4").symlink_to(tmp_path / "nowhere")
    with pytest.raises(ConfigError, match=r"link\.mp4, but No such file"):
        look_at(tmp_path / "link.mp4", tmp_path)
