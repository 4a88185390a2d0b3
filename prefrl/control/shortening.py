"""A limit on all trainings of a process, for tests that run the snippets of the docs."""

from __future__ import annotations

import os

from prefrl.errors import ConfigError

__all__ = ["VARIABLE", "most_steps"]

VARIABLE = "PREFRL_MOST_STEPS"
"""The environment variable with the number of environment steps after which a training ends."""


def most_steps() -> int | None:
    """Returns the number of steps after which any training ends; None if the variable is not set.

    Raises:
        ConfigError: If it is not a number of at least 1.
    """
    told = os.environ.get(VARIABLE)
    if told is None:
        return None
    if not (told.isascii() and told.isdigit() and int(told)):
        raise ConfigError(f"expected {VARIABLE} to be a number of at least 1, got {told!r}.")
    return int(told)
