"""The message after a stopped training: whether it is saved, and how to continue."""

from __future__ import annotations

import sys

from prefrl.commands.console import console, errors
from prefrl.runtime.rundir import RunDirectory
from prefrl.runtime.rundir.saving import how_it_stopped

__all__ = ["NOT_SAVED", "show_stopped"]

NOT_SAVED = 4
"""The exit code of a training that was told to stop and could not save."""


def show_stopped(run: RunDirectory) -> None:
    """Prints what was saved; exits with 4 if not everything was."""
    stopped = how_it_stopped(run)
    go_on = f"Continue with [bold]prefrl resume {run.root}[/]."
    if stopped.is_saved:
        console.print(f"\n{stopped.text} {go_on}", soft_wrap=True)
        return
    errors.print(f"\nprefrl: {stopped.text}", style="bold red", markup=False, soft_wrap=True)
    console.print(go_on, soft_wrap=True)
    sys.exit(NOT_SAVED)
