"""The user's own films: checks by content, not by name, whether browsers can play a file."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import av
import numpy as np
from numpy.typing import NDArray

from prefrl.errors import ConfigError, FilmError

__all__ = ["Film", "find_films", "frames_of", "look_at", "with_length"]

_SUFFIXES = {".mp4", ".m4v", ".webm"}
_CODECS = {"video/mp4": {"h264", "av1", "vp9"}, "video/webm": {"vp8", "vp9", "av1"}}
_PIXELS = {"yuv420p", "yuvj420p"}  # what every browser decodes
_LARGEST = 512 * 2**20  # bytes: a browser has to load both films of a pair before it shows them
_HEAD = 4096
_PICTURES = {b"avif", b"avis", b"heic", b"heix", b"mif1", b"msf1"}  # these begin as mp4 does
_CONVERT = (
    "convert it: ffmpeg -i {name!r} -c:v libx264 -pix_fmt yuv420p -movflags +faststart NEW.mp4"
)


@dataclass(frozen=True)
class Film:
    """A film that was checked."""

    name: str
    """Its path in the folder."""
    path: Path
    """The file."""
    media_type: str
    """``video/mp4`` or ``video/webm``."""
    has_length: bool
    """Whether the file states its duration; a browser's recordings do not."""


def find_films(folder: Path) -> tuple[list[Path], list[Path]]:
    """Finds the films in a folder and its subfolders, by name, and all other files there.

    Hidden files and folders, whose names begin with a dot, are ignored.

    Args:
        folder: The folder.

    Raises:
        ConfigError: If it is not a folder, or has fewer than two films.
    """
    if not folder.is_dir():
        what = "is a file" if folder.exists() else "is not there"
        raise ConfigError(f"expected a folder of films (mp4, webm), but {folder} {what}.")
    films, others = list[Path](), list[Path]()
    for path in sorted(folder.rglob("*")):
        if path.is_dir() or any(part.startswith(".") for part in path.relative_to(folder).parts):
            continue
        (films if path.suffix.lower() in _SUFFIXES else others).append(path)
    if len(films) < 2:
        has = f"{len(films)} film{'' if len(films) == 1 else 's'}"
        also = f" and {len(others)} other files" if others else ""
        raise ConfigError(
            f"expected at least two films to compare (mp4, webm), but {folder} has {has}{also}."
        )
    return films, others


def look_at(path: Path, folder: Path) -> Film:
    """Checks that a file is a film that browsers play: its header and its first picture.

    Args:
        path: The file.
        folder: The folder that its name is relative to.

    Raises:
        ConfigError: If it is not.
    """
    name = path.relative_to(folder).as_posix()
    try:
        name.encode()
    except UnicodeEncodeError as error:
        raise ConfigError(
            f"expected names in UTF-8, got {os.fsencode(path)!r}; rename that film."
        ) from error
    try:
        size = path.stat().st_size
        if size > _LARGEST:
            raise ConfigError(
                f"expected films of at most {_LARGEST // 2**20} MiB, but {path} has "
                f"{size // 2**20}; shorten it, or encode it smaller."
            )
        with path.open("rb") as file:
            return Film(name, path, *_inside(path, file))
    except OSError as error:
        raise ConfigError(f"expected a film at {path}, but {error.strerror or error}.") from error


def _inside(path: Path, file: BinaryIO) -> tuple[str, bool]:
    """Returns the type of a film, and whether it states its duration."""
    media_type = _type_by_content(file.read(_HEAD))
    if media_type is None:
        raise ConfigError(f"expected a film, mp4 or webm, but {path} is something else.")
    file.seek(0)
    try:
        # The demuxer is fixed, and reads only from the open file: whatever the content says, it
        # opens no other files and no addresses.
        with av.open(file, "r", format=media_type.removeprefix("video/")) as container:
            if not container.streams.video:
                raise ConfigError(f"expected a film, but {path} has no pictures.")
            stream = container.streams.video[0]
            codec, pixels = stream.codec_context.name, stream.codec_context.pix_fmt
            next(container.decode(stream))
            has_length = container.duration is not None
    except ConfigError:
        raise
    except (av.FFmpegError, StopIteration, ValueError) as error:
        why = getattr(error, "strerror", None) or "it has no picture"
        raise ConfigError(f"expected a film, but {path} cannot be played: {why}.") from error
    codec = {"libdav1d": "av1", "libvpx": "vp8", "libvpx-vp9": "vp9"}.get(codec, codec)
    if codec not in _CODECS[media_type] or (codec == "h264" and pixels not in _PIXELS):
        how = f"{codec} with {pixels}" if codec == "h264" else codec
        raise ConfigError(
            f"expected a film that every browser plays, but {path} is {how}; "
            f"{_CONVERT.format(name=str(path))}"
        )
    return media_type, has_length


def _type_by_content(head: bytes) -> str | None:
    if head[4:8] == b"ftyp":
        return None if head[8:12] in _PICTURES else "video/mp4"
    if head.startswith(b"\x1a\x45\xdf\xa3") and b"\x42\x82\x84webm" in head:
        return "video/webm"
    return None


def frames_of(path: Path, n: int) -> list[NDArray[np.uint8]]:
    """Reads pictures of a film, evenly spaced in time and including the first and the last.

    Args:
        path: The file; its suffix matches its type.
        n: Number of pictures; some are repeated if the film has fewer.

    Returns:
        The pictures, each (H, W, 3), rotated as the file asks players to.

    Raises:
        FilmError: If it cannot be decoded.
    """
    try:
        with path.open("rb") as file, av.open(file, "r", format=path.suffix[1:]) as container:
            stream = container.streams.video[0]
            # Not decoded: that would take minutes for a long film.
            times = sorted(p.pts for p in container.demux(stream) if p.pts is not None)
            if not times:
                raise FilmError(f"expected pictures in {path}, found none.")
            half = min(np.diff(times), default=0) / 2  # times are rounded
            wanted = np.linspace(times[0], times[-1], n) + half
            on_the_screen = np.searchsorted(times, wanted, "right") - 1
            return [_picture_at(container, stream, times[place]) for place in on_the_screen]
    except (OSError, ValueError, IndexError, av.FFmpegError) as error:
        raise FilmError(f"expected a film in {path}, but {error}.") from error


def _picture_at(
    container: av.container.InputContainer, stream: av.VideoStream, pts: int
) -> NDArray[np.uint8]:
    container.seek(pts, stream=stream)  # to the key frame before
    frame = None
    for frame in container.decode(stream):
        if frame.pts is not None and frame.pts >= pts:
            break
    if frame is None:
        raise FilmError(f"found no picture at {float(pts * (stream.time_base or 0)):.1f} s.")
    picture = frame.to_ndarray(format="rgb24").astype(np.uint8, copy=False)
    return np.rot90(picture, round(frame.rotation / 90))  # both count counter-clockwise


def with_length(film: Film) -> bytes:
    """Copies a film into a file that states its duration: browsers cannot loop others.

    Raises:
        ConfigError: If the film breaks off.
    """
    made = io.BytesIO()
    kind = film.media_type.removeprefix("video/")
    try:
        with (
            film.path.open("rb") as file,
            av.open(file, "r", format=kind) as container,
            av.open(made, "w", format=kind) as output,
        ):
            source = container.streams.video[0]
            target = output.add_stream_from_template(source)
            for packet in _packets(container, source):
                packet.stream = target
                output.mux(packet)
    except (av.FFmpegError, ValueError) as error:
        raise ConfigError(f"expected a whole film, but {film.path} breaks off.") from error
    return made.getvalue()


def _packets(
    container: av.container.InputContainer, stream: av.VideoStream
) -> Iterator[av.Packet[Any]]:
    for packet in container.demux(stream):
        if packet.dts is not None:  # the last one is empty
            yield packet
