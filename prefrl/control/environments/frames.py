"""Storage of pictures, each only once: compressed, or the newest of each environment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import zstandard
from numpy.typing import NDArray

__all__ = ["History", "PackedFrames"]

Frames = NDArray[np.uint8]


@dataclass(frozen=True)
class PackedFrames:
    """Pictures, compressed without loss.

    Those of 28 steps of an Atari game take 1 to 8 kB instead of 198 kB; zstd needs about 50 us to
    compress them, and as much to decompress them.
    """

    shape: tuple[int, ...]
    """Shape of the array, such as (T, C, H, W)."""
    content: bytes
    """Compressed by zstd."""

    @classmethod
    def pack(cls, frames: Frames) -> PackedFrames:
        """Compresses an array of bytes."""
        content = zstandard.ZstdCompressor(level=1).compress(np.ascontiguousarray(frames).data)
        # zstd shrinks its output in place from the largest possible size. Keeping that object would
        # fragment memory, by 350 MB in a full pool; a copy takes no more than it needs.
        return cls(frames.shape, bytes(memoryview(content)))

    def unpack(self) -> Frames:
        """Decompresses to a new, writable array."""
        flat = zstandard.ZstdDecompressor().decompress(self.content)
        return np.frombuffer(bytearray(flat), np.uint8).reshape(self.shape)

    @property
    def nbytes(self) -> int:
        """Size in bytes."""
        return len(self.content)


class History:
    """The newest pictures of N environments; black where an episode had not begun.

    Args:
        n: Number of pictures to keep of each environment.
        n_envs: N.
        picture: Channels, height and width (C, H, W).
    """

    def __init__(self, n: int, n_envs: int, picture: tuple[int, int, int]) -> None:
        self.frames: Frames = np.zeros((n, n_envs, *picture), np.uint8)
        """The pictures, the oldest first, shape (n, N, C, H, W)."""

    def push(self, frames: Frames) -> None:
        """Adds the next pictures, shape (N, C, H, W)."""
        self.frames[:-1] = self.frames[1:]
        self.frames[-1:] = frames[None]

    def forget(self, envs: NDArray[Any]) -> None:
        """Blackens the past of environments that begin new episodes."""
        self.frames[:, envs] = 0
