"""Object storage: S3, Google Cloud Storage, a shared folder, or whatever fsspec can open."""

from __future__ import annotations

import logging
import re
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from prefrl.errors import ConfigError, MediaUnavailableError, MissingExtraError
from prefrl.runtime.rundir.writing import write_atomically

__all__ = ["ObjectStore"]

_log = logging.getLogger(__name__)
_EXPECTED = (
    "expected media to be a URL such as s3://BUCKET/FOLDER, gs://BUCKET/FOLDER or file:///FOLDER"
)
_PACKAGES = {"s3": "'prefrl[s3]'", "s3a": "'prefrl[s3]'", "gs": "gcsfs", "gcs": "gcsfs"}
_LOCAL = ("file", "local")
_OF_ONE_PROCESS = ("memory",)
# botocore waits a minute for a server that is gone, and tries five times.
_S3 = {"config_kwargs": {"connect_timeout": 5, "read_timeout": 20, "retries": {"max_attempts": 2}}}
_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.5, 10.0
_SECONDS_BETWEEN_LOOKS = 0.1


class ObjectStore:
    """Files below a URL, each written and read as a whole.

    Credentials and the address of the server come from the environment, as the library of that
    storage reads them: AWS_ACCESS_KEY_ID and AWS_ENDPOINT_URL, for example.

    Args:
        url: Such as ``s3://BUCKET/FOLDER``.
        waiting: Called a few times a second while the storage is away, with what a write waits for;
            returns whether to give up. None gives up at once.

    Raises:
        ConfigError: If it is not such a URL.
        MissingExtraError: If the library of that storage is not installed.
    """

    def __init__(self, url: str, *, waiting: Callable[[str], bool] | None = None) -> None:
        self.url = url.rstrip("/")
        """The URL, without a slash at the end."""
        self._protocol = _checked(url)
        self._waiting = waiting
        self._system, self._path = self._opened()

    def _opened(self) -> tuple[Any, str]:
        """Returns the file system, and the path in it."""
        from fsspec.core import url_to_fs

        options = _S3 if self._protocol in ("s3", "s3a") else {}
        try:
            system, path = url_to_fs(self.url, **options)
        except ImportError as error:
            package = _PACKAGES.get(self._protocol, f"what fsspec needs for {self._protocol}")
            raise MissingExtraError(
                f"expected the library for {self._protocol}:// to be installed, but {error}; pip "
                f"install {package}."
            ) from error
        except ValueError as error:
            raise ConfigError(f"{_EXPECTED}, got {self.url!r}: {error}.") from error
        return system, str(path)

    def put(self, name: str, content: bytes) -> None:
        """Writes a file; a reader sees all of it or nothing. Waits while the storage is away.

        Raises:
            MediaUnavailableError: If the storage is away and it is told to give up.
        """
        pause = _SHORTEST_PAUSE
        while True:
            try:
                return self._write(name, content)
            except Exception as error:  # each storage has errors of its own
                away = _away(self.url, error)
                if self._waiting is None:
                    raise away from error
                _log.warning("%s It is tried again.", away)
                if self._gave_up(pause):
                    raise away from error
            pause = min(2 * pause, _LONGEST_PAUSE)

    def _gave_up(self, seconds: float) -> bool:
        """Pauses; returns whether it was told to give up meanwhile."""
        assert self._waiting is not None
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if self._waiting(f"waiting for {self.url}"):
                return True
            time.sleep(_SECONDS_BETWEEN_LOOKS)
        return False

    def _write(self, name: str, content: bytes) -> None:
        system, path = self._system, self._path
        if self._protocol in _LOCAL:
            folder = Path(path)
            folder.mkdir(parents=True, exist_ok=True)
            write_atomically(folder / name, content)
        else:
            system.pipe_file(f"{path}/{name}", content)

    def get(self, name: str) -> bytes | None:
        """Returns the content of a file; None if there is no such file.

        Raises:
            MediaUnavailableError: If the storage is away.
        """
        system, path = self._system, self._path
        try:
            return bytes(system.cat_file(f"{path}/{name}"))
        except FileNotFoundError:
            return None
        except Exception as error:
            raise _away(self.url, error) from error

    def check(self) -> None:
        """Refuses a storage that cannot be written to and read from, by trying both.

        Raises:
            ConfigError: With what went wrong.
        """
        system, path = self._system, self._path
        name, content = f"probe-{uuid.uuid4().hex}", b"prefrl"
        try:
            self._write(name, content)
            found = bytes(system.cat_file(f"{path}/{name}"))
            system.rm_file(f"{path}/{name}")
        except Exception as error:
            raise ConfigError(
                f"expected to write to {self.url} and to read from it, but {_why(error)}; check "
                "that the bucket exists, the address, and the credentials in the environment."
            ) from error
        if found != content:
            raise ConfigError(f"expected to read from {self.url} what was written, got {found!r}.")


def _checked(url: str) -> str:
    """Returns the protocol of a URL.

    Raises:
        ConfigError: If it has none that other machines share, has no place, or contains secrets.
    """
    protocol, separator, place = url.partition("://")
    if not separator or not place.strip("/") or protocol in _OF_ONE_PROCESS:
        raise ConfigError(f"{_EXPECTED}, got {url!r}.")
    if "@" in place.partition("/")[0] or re.search(r"[?&](secret|key|token)=", place):
        raise ConfigError(
            f"{_EXPECTED} without credentials, got some: runs keep this URL. Put them into the "
            "environment, such as AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."
        )
    return protocol


def _away(url: str, error: Exception) -> MediaUnavailableError:
    return MediaUnavailableError(f"{url} refused: {_why(error)}.")


def _why(error: Exception) -> str:
    told = " ".join(str(error).split()).rstrip(".")
    return told or type(error).__name__
