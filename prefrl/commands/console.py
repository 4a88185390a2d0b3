"""Where commands print: results on standard output, errors on standard error."""

from __future__ import annotations

import os
from typing import IO, Any, cast

from rich.console import Console, ConsoleDimensions

__all__ = ["Output", "console", "errors", "print_link"]

_NO_EDGE = 10_000


class Output(Console):
    """Prints in colours on a terminal, and in unwrapped lines elsewhere.

    Output that cannot be written, as on a full disk, is lost, so that no training ends for it.
    """

    lost: OSError | None = None
    """Why output was lost, until ``finish``; None if none was."""

    @property  # type: ignore[misc]  # rich lets one set it
    def size(self) -> ConsoleDimensions:
        """Columns and rows; in a file or a pipe, lines may have any length."""
        return super().size if self.is_terminal else ConsoleDimensions(_NO_EDGE, 25)

    @property  # type: ignore[misc]
    def file(self) -> IO[str]:
        """The stream to print to."""
        return cast(IO[str], _Lenient(super().file, self))

    def on_broken_pipe(self) -> None:
        """Leaves it to the command, not to rich, to end when the reader has closed the pipe."""
        raise BrokenPipeError

    def finish(self) -> OSError | None:
        """Flushes the output; if some was lost, the interpreter does not try again at its exit.

        Returns:
            Why output was lost; None if none was.
        """
        self.file.flush()
        lost, self.lost = self.lost, None
        if lost is not None:
            os.dup2(os.open(os.devnull, os.O_WRONLY), self.file.fileno())
        return lost


class _Lenient:
    """A stream that writes what it can, and notes the error otherwise."""

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
    """Prints a link on its own line without wrapping, so that it can be clicked or copied."""
    console.print(f"{what}\n  {link}", soft_wrap=True, markup=False)
