"""``prefrl export``: the answers, for other programs."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import tyro

from prefrl.commands.align import is_text
from prefrl.commands.console import console, errors
from prefrl.control.export import export_segments
from prefrl.core.disk import naming, whole_file
from prefrl.errors import ConfigError
from prefrl.runtime.export import Form
from prefrl.runtime.own.export import export_own
from prefrl.runtime.own.folder import is_own
from prefrl.runtime.rundir import RunDirectory
from prefrl.text.data.export import export_responses

__all__ = ["Export", "export"]


@dataclass(frozen=True)
class Export:
    """Writes the answers of a run as lines of JSON, in the formats that TRL reads."""

    run: tyro.conf.Positional[Path]
    """Directory of the run, finished or not."""
    format: Form = "preference"
    """preference: a row per pair, with chosen and rejected. ranking: a row per pair or group, with
    ranks. unpaired, for texts: a row per response, with a label. scores: a row per item, with its
    score and interval by the Bradley-Terry model."""
    output: Path | None = None
    """File to write, completely or not at all; - is standard output. By default a file in the run's
    folder export, named after the format, such as preference.jsonl."""
    films: bool = False
    """For an agent: also copy the clips that people saw into a folder beside the file; each row
    names its clips."""
    annotator: str | None = None
    """Only the answers of this person; by default, for each query, what most people answered."""


_STANDARD_OUTPUT = Path("-")


def export(command: Export) -> None:
    """Writes the answers to a file, and prints where they are and what is left out.

    Standard output gets the path of the file or, if they go there, only the answers.
    """
    run = RunDirectory.open(command.run)
    if command.output is not None and command.output.is_dir():
        raise ConfigError(f"expected a file to write, but {command.output} is a folder.")
    films = None
    if command.films:
        if command.output == _STANDARD_OUTPUT or "env_id" not in run.read_json(run.config):
            raise ConfigError(
                "expected a run of an agent, and a file, with --films: they go into a folder "
                "beside it."
            )
        path = command.output or _default_output(run, command)
        films = path.parent / f"{path.stem}_films"
    if is_own(run.read_json(run.config)):
        made = export_own(run, command.format, annotator=command.annotator)
    elif is_text(run):
        made = export_responses(run, command.format, annotator=command.annotator)
    elif "env_id" in run.read_json(run.config):
        made = export_segments(run, command.format, annotator=command.annotator, films=films)
    else:
        raise ConfigError(
            f"expected a run of an agent or of a language model, but {run.root} is neither; what "
            "is in it was made to try the labelling page."
        )
    if command.output == _STANDARD_OUTPUT:
        try:
            with naming(Path("standard output")):
                sys.stdout.writelines(made.lines())
                sys.stdout.flush()
        except BrokenPipeError:  # the reader has closed the pipe: no error at exit, either
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return
    else:
        path = command.output or _default_output(run, command)
        with whole_file(path) as part, part.open("w", encoding="utf-8") as file:
            file.writelines(made.lines())
        console.print(str(path), markup=False, soft_wrap=True)
    errors.print(f"wrote {made}", markup=False, soft_wrap=True)


def _default_output(run: RunDirectory, command: Export) -> Path:
    """Returns the path of a file in the run, one for each format and annotator."""
    of = "" if command.annotator is None else f"-{quote(command.annotator, safe=' ')}"
    folder = run.root / "export"
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"expected to write into {folder}, but {error.strerror}; choose another place with "
            "--output FILE, or --output - for standard output."
        ) from error
    return folder / f"{command.format}{of}.jsonl"
