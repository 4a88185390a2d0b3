"""Base class that releases its resources at the end of a ``with`` block."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Self

__all__ = ["ClosedAtExit"]


class ClosedAtExit(ABC):
    """A context manager that closes itself at its exit."""

    @abstractmethod
    def close(self) -> None:
        """Releases its resources."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
