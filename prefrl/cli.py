"""The command line of ``prefrl``: which command, with which settings to start from."""

from __future__ import annotations

import itertools
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any

import tyro

from prefrl.commands.align import Align, start_align
from prefrl.commands.benchmark import Benchmark, benchmark
from prefrl.commands.config_file import read_options, save_options
from prefrl.commands.console import console, errors
from prefrl.commands.doctor import Doctor, doctor
from prefrl.commands.evaluate import Evaluate, evaluate
from prefrl.commands.export import Export, export
from prefrl.commands.fit import FitReward, fit
from prefrl.commands.help import asks_for_help, help_of
from prefrl.commands.label import Label, label
from prefrl.commands.reward import SaveReward, save_reward
from prefrl.commands.runs import (
    Replay,
    Report,
    Resume,
    Status,
    replay,
    report,
    resume,
    status,
)
from prefrl.commands.serve import Serve, serve
from prefrl.commands.serve_reward import ServeReward, serve_reward
from prefrl.commands.sft import Sft, start_sft
from prefrl.commands.train import (
    Extend,
    Train,
    extend_train,
    start_train,
)
from prefrl.commands.watch import Watch, watch
from prefrl.control.agent.algorithms import ALGORITHMS
from prefrl.control.presets import PRESETS, for_algorithm, preset_for
from prefrl.core.disk import in_words
from prefrl.errors import PrefrlError
from prefrl.runtime.ahead import note_loaded
from prefrl.runtime.named_options import filled
from prefrl.runtime.parallel import launched_as
from prefrl.text.presets import ALIGN_PRESETS, SFT_PRESETS, align_preset_for

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of ``prefrl``.

    Exits with 2 on bad input, after one clear sentence; with 1 where what it printed was lost.
    """
    note_loaded()
    try:
        try:
            _run(arguments)
        finally:
            lost = console.finish()
            errors.finish()
    except BrokenPipeError:  # who reads, as head does, has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nor at the exit
        sys.exit(128 + signal.SIGPIPE)
    if lost is not None:
        errors.print(f"prefrl: not all could be printed: {lost.strerror}.", style="red")
        errors.finish()
        sys.exit(1)


def _run(arguments: Sequence[str] | None) -> None:
    arguments = list(sys.argv[1:] if arguments is None else arguments) or ["--help"]
    if arguments == ["--version"]:
        console.print(f"prefrl {metadata.version('prefrl')}")
        return
    try:
        options = _options_of_file(arguments)
        first = _named_preset(arguments) or options.get("preset") or _preset_of_model(arguments)
        if asks_for_help(arguments):
            start = _start_of(arguments[0], first, _named_algorithm(arguments))
            about = {"train": _TRAIN, "align": _ALIGN}[arguments[0]]
            width = None if console.is_terminal else 100
            console.print(help_of(arguments, start, about), width=width)
            return
        arguments = ["--help" if argument == "--help-all" else argument for argument in arguments]
        command = _parse(arguments, first, options)
        name = _automatic_preset(command)
        if name is not None and launched_as()[0] == 0:
            console.print(f"preset {name}", style="dim")
        if name not in (None, first):
            command = _parse(arguments, name, options)
        if path := getattr(command, "save_config", None):
            _save(path, command, name or first)
            return
        _COMMANDS[type(command)](command)
    except PrefrlError as error:
        errors.print(f"prefrl: {error}", style="red", markup=False, soft_wrap=True)
        sys.exit(2)
    except OSError as error:
        if error.filename is None:  # it is not about a file
            raise
        errors.print(f"prefrl: {in_words(error)}", style="red", markup=False, soft_wrap=True)
        sys.exit(2)
    except KeyboardInterrupt:
        errors.print("\nprefrl: stopped.", style="red")
        sys.exit(130)


def _automatic_preset(command: Any) -> str | None:
    """The preset that suits what is to be trained; None where it is the one already taken."""
    if isinstance(command, Train) and command.preset == "auto":
        name = preset_for(command.config.env_id, command.config.env)
        return None if name == "control" else name
    if isinstance(command, Align | Sft) and command.preset == "auto":
        name = align_preset_for(command.config.model)
        return None if name == "default" else name
    return None


def _named_preset(arguments: Sequence[str]) -> str:
    """The preset that the command line names, before it is parsed with it."""
    return _named(arguments, "--preset", {**PRESETS, **ALIGN_PRESETS, **SFT_PRESETS})


def _named_algorithm(arguments: Sequence[str]) -> Any:
    """The algorithm that the command line names; a preset has the agent's settings for its own."""
    return _named(arguments, "--algo", ALGORITHMS)


def _named(arguments: Sequence[str], option: str, names: Mapping[str, Any]) -> str:
    """The value of an option, if it is one of some names; else nothing."""
    value = _value_of(arguments, option)
    return value if value in names else ""


def _value_of(arguments: Sequence[str], option: str) -> str:
    """The value that the command line gives to an option; empty if none."""
    for flag, value in itertools.pairwise([*arguments, ""]):
        if flag == option or flag.startswith(f"{option}="):
            return value if flag == option else flag.removeprefix(f"{option}=")
    return ""


def _preset_of_model(arguments: Sequence[str]) -> str:
    """The preset of a model that is named first of all: what fits it may not fit the default's."""
    names_model = len(arguments) > 1 and arguments[0] == "align"
    return align_preset_for(arguments[1]) if names_model else ""


def _options_of_file(arguments: Sequence[str]) -> dict[str, Any]:
    """The options in the file that the command line names, if it names one."""
    if not arguments or arguments[0] not in _WITH_A_FILE.values():
        return {}
    path = _value_of(arguments, "--config")
    return read_options(Path(path)) if path else {}


def _save(path: Path, command: Any, preset: str) -> None:
    """Writes the options that were given to a file."""
    name = _WITH_A_FILE[type(command)]
    start = _start_of(name, preset, command.config.algo if name == "train" else "")
    save_options(path, command, start)
    console.print(
        f"settings in {path}: prefrl {name} --config {path}", markup=False, soft_wrap=True
    )


def _start_of(name: str, preset: str, algo: Any) -> Any:
    """A command with the settings of a preset, and without what has to be given."""
    if name == "train":
        training = PRESETS.get(preset, PRESETS["control"])
        training = for_algorithm(training, algo or training.algo)
        return Train(config=replace(training, env_id=tyro.MISSING))
    if name == "align":
        alignment = ALIGN_PRESETS.get(preset, ALIGN_PRESETS["default"])
        return Align(config=replace(alignment, model=tyro.MISSING, prompts=tyro.MISSING))
    tuning = SFT_PRESETS.get(preset, SFT_PRESETS["default"])
    return Sft(config=replace(tuning, model=tyro.MISSING, data=tyro.MISSING))


def _parse(arguments: Sequence[str], preset: str, options: Mapping[str, Any]) -> Any:
    """The command, with defaults of a preset and of a file."""
    algo = _named_algorithm(arguments) or options.get("algo", "")
    starts = {}
    for name in _WITH_A_FILE.values():
        starts[name] = _start_of(name, preset, algo if algo in ALGORITHMS else "")
        if options and arguments[0] == name:
            starts[name] = filled(starts[name], options, command=f"prefrl {name}")
    start, start_text, start_tuning = starts.values()
    commands: Any = (
        Annotated[Train, tyro.conf.subcommand("train", description=_TRAIN, default=start)]
        | Annotated[Align, tyro.conf.subcommand("align", description=_ALIGN, default=start_text)]
        | Annotated[Sft, tyro.conf.subcommand("sft", description=_SFT, default=start_tuning)]
        | Annotated[Resume, tyro.conf.subcommand("resume")]
        | Annotated[Extend, tyro.conf.subcommand("extend")]
        | Annotated[Label, tyro.conf.subcommand("label")]
        | Annotated[Serve, tyro.conf.subcommand("serve")]
        | Annotated[Status, tyro.conf.subcommand("status")]
        | Annotated[Replay, tyro.conf.subcommand("replay")]
        | Annotated[Evaluate, tyro.conf.subcommand("evaluate")]
        | Annotated[Watch, tyro.conf.subcommand("watch")]
        | Annotated[Report, tyro.conf.subcommand("report")]
        | Annotated[Export, tyro.conf.subcommand("export")]
        | Annotated[SaveReward, tyro.conf.subcommand("reward")]
        | Annotated[ServeReward, tyro.conf.subcommand("serve-reward")]
        | Annotated[FitReward, tyro.conf.subcommand("fit")]
        | Annotated[Benchmark, tyro.conf.subcommand("benchmark")]
        | Annotated[Doctor, tyro.conf.subcommand("doctor")]
    )
    return tyro.cli(
        commands,
        prog="prefrl",
        description=(
            "Deep reinforcement learning from human preferences. prefrl COMMAND --help explains a "
            "command's options, prefrl --version prints the release."
        ),
        args=arguments,
    )


_TRAIN = (
    "Trains an agent from comparisons of clips. The agent never sees the environment's reward, "
    "only answers that say which of two clips is better."
)

_ALIGN = (
    "Aligns a language model with comparisons of its responses: by PPO on a reward learned from "
    "them, by DPO and its relatives, or by taking the best of n."
)

_SFT = (
    "Fine-tunes a language model on demonstrations: prompts and the responses that it should "
    "write. The stage before prefrl align --init RUN."
)


_WITH_A_FILE: dict[type, str] = {Train: "train", Align: "align", Sft: "sft"}

_COMMANDS: dict[type, Callable[[Any], None]] = {
    Train: start_train,
    Align: start_align,
    Sft: start_sft,
    Resume: resume,
    Extend: extend_train,
    Label: label,
    Serve: serve,
    Status: status,
    Replay: replay,
    Evaluate: evaluate,
    Watch: watch,
    Report: report,
    Export: export,
    SaveReward: save_reward,
    ServeReward: serve_reward,
    FitReward: fit,
    Benchmark: benchmark,
    Doctor: doctor,
}
