"""What starts before the command is imported, for a training that people teach."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["begin_for_people"]

_ORACLES = {"human", "mixed", "--oracle=human", "--oracle=mixed"}
_OTHERWISE = ("-h", "--help", "--save-config", "--config", "--env")


def begin_for_people(arguments: Sequence[str]) -> None:
    """Starts checking whether an environment can be drawn, if people will see films of it.

    Importing the command takes at least two seconds of one core, and the check one second of
    another. This only looks at words of the command line. If it misreads them, as when a file has
    other options, nothing is lost: the check that counts is done later.

    Args:
        arguments: The command line, from the command's name on.
    """
    if len(arguments) < 2 or arguments[0] != "train" or arguments[1].startswith("-"):
        return
    if not _ORACLES & {*arguments} or any(word.startswith(_OTHERWISE) for word in arguments):
        return
    from prefrl.control.films.drawing import begin_check

    begin_check(arguments[1])
