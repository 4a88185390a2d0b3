"""``prefrl export``: what labellers have answered, for other programs."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

import tyro

from prefrl.commands.align import is_text
from prefrl.commands.console import errors
from prefrl.control.export import export_segments
from prefrl.core.disk import whole_file
from prefrl.errors import ConfigError
from prefrl.runtime.export import Form
from prefrl.runtime.rundir import RunDirectory
from prefrl.text.data.export import export_responses

__all__ = ["Export", "export"]


@dataclass(frozen=True)
class Export:
    """Writes what labellers have answered as lines of JSON, in the forms that TRL reads."""

    run: tyro.conf.Positional[Path]
    """Directory of the run, finished or not."""
    format: Form = "preference"
    """A row for each pair with chosen and rejected; for each pair or group with ranks; or, of a
    language model, for each response with a label."""
    output: Path | None = None
    """File to write, which is whole or not there; by default standard output."""
    annotator: str | None = None
    """Whose answers alone; by default what most have answered to each query."""


def export(command: Export) -> None:
    """Writes the answers, and says on standard error what they are and what is left out."""
    run = RunDirectory.open(command.run)
    if command.output is not None and command.output.is_dir():
        raise ConfigError(f"expected a file to write, but {command.output} is a folder.")
    if is_text(run):
        made = export_responses(run, command.format, annotator=command.annotator)
    elif "env_id" in run.read_json(run.config):
        made = export_segments(run, command.format, annotator=command.annotator)
    else:
        raise ConfigError(
            f"expected a run of an agent or of a language model, but {run.root} is neither; what "
            "is in it was made to try the labelling page."
        )
    if command.output is None:
        try:
            sys.stdout.writelines(made.lines())
            sys.stdout.flush()
        except BrokenPipeError:  # who reads has seen enough, and is not to be told more at the exit
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return
    else:
        with whole_file(command.output) as part, part.open("w", encoding="utf-8") as file:
            file.writelines(made.lines())
    errors.print(f"wrote {made}", markup=False, soft_wrap=True)
