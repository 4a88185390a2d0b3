"""What a training that people teach begins before its command is loaded."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["begin_for_people"]

_ORACLES = {"human", "mixed", "--oracle=human", "--oracle=mixed"}
_OTHERWISE = ("-h", "--help", "--save-config", "--config", "--env")


def begin_for_people(arguments: Sequence[str]) -> None:
    """Begins the check whether an environment can be drawn, if people are to see films of it.

    To load the command takes two seconds or more of one core, and the check one second of another.
    This only looks at words of the command line. Where it mistakes them, as where a file has other
    options, the check that counts is done later.

    Args:
        arguments: The command line, from the command's name on.
    """
    if len(arguments) < 2 or arguments[0] != "train" or arguments[1].startswith("-"):
        return
    if not _ORACLES & {*arguments} or any(word.startswith(_OTHERWISE) for word in arguments):
        return
    from prefrl.control.films.drawing import begin_check

    begin_check(arguments[1])
