"""Where commands print: results on standard output, errors on standard error."""

from __future__ import annotations

import os
from typing import IO, Any, cast

from rich.console import Console, ConsoleDimensions

__all__ = ["Output", "console", "errors", "print_link"]

_NO_EDGE = 10_000


class Output(Console):
    """Prints in colours on a terminal, and in whole lines elsewhere.

    What cannot be printed, on a disk that is full, is lost: no training ends for it.
    """

    lost: OSError | None = None
    """Why something could not be printed, until ``finish``; None if all was."""

    @property  # type: ignore[misc]  # rich lets one set it
    def size(self) -> ConsoleDimensions:
        """Columns and rows; in a file or a pipe lines have no end."""
        return super().size if self.is_terminal else ConsoleDimensions(_NO_EDGE, 25)

    @property  # type: ignore[misc]
    def file(self) -> IO[str]:
        """Where it goes."""
        return cast(IO[str], _Lenient(super().file, self))

    def on_broken_pipe(self) -> None:
        """Who reads has enough: that is for the command to end with, not for rich."""
        raise BrokenPipeError

    def finish(self) -> OSError | None:
        """Brings out what is not yet printed, and lets the interpreter try no more at its end.

        Returns:
            Why something could not be printed; None if all was.
        """
        self.file.flush()
        lost, self.lost = self.lost, None
        if lost is not None:
            os.dup2(os.open(os.devnull, os.O_WRONLY), self.file.fileno())
        return lost


class _Lenient:
    """A stream that writes what it can."""

    def __init__(self, file: IO[str], output: Output) -> None:
        self._file, self._output = file, output

    def write(self, text: str) -> int:
        try:
            return self._file.write(text)
        except UnicodeEncodeError:
            encoding = getattr(self._file, "encoding", "ascii")
            return self._file.write(text.encode(encoding, "replace").decode(encoding))
        except BrokenPipeError:
            raise
        except OSError as error:
            self._output.lost = error
            return 0

    def flush(self) -> None:
        try:
            self._file.flush()
        except BrokenPipeError:
            raise
        except OSError as error:
            self._output.lost = error

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


console = Output(highlight=False)
"""Standard output."""
errors = Output(stderr=True, highlight=False)
"""Standard error."""


def print_link(what: str, link: str) -> None:
    """Prints a link on a line of its own, whole, so that it can be clicked or copied."""
    console.print(f"{what}\n  {link}", soft_wrap=True, markup=False)
