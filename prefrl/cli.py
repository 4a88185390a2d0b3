"""The command line of ``prefrl``: chooses a command, and the settings that it starts from."""

from __future__ import annotations

import functools
import itertools
import operator
import os
import signal
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import import_module, metadata
from pathlib import Path
from typing import Annotated, Any

import tyro

from prefrl.commands.console import console, errors
from prefrl.core.disk import in_words
from prefrl.errors import PrefrlError
from prefrl.runtime.roles.ahead import note_loaded

__all__ = ["main"]

_MAIN = threading.main_thread()  # the only thread that may handle signals


@dataclass(frozen=True)
class _Command:
    """Where to import a command from: importing all of them takes seconds."""

    module: str
    options: str
    """Name of the dataclass of its options."""
    start: str
    """Name of the function that runs it."""
    about: str | None = None
    """Description, if there is more to say than in the dataclass's docstring."""

    def load(self) -> Any:
        """Imports its module. Ctrl-C during that, which takes seconds, ends the process at once."""
        name = f"prefrl.commands.{self.module}"
        is_handled = signal.getsignal(signal.SIGINT) is signal.default_int_handler
        if name in sys.modules or not is_handled or threading.current_thread() is not _MAIN:
            return import_module(name)
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        try:
            return import_module(name)
        finally:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    @property
    def kind(self) -> Any:
        """The dataclass of its options."""
        return getattr(self.load(), self.options)

    def do(self, options: Any) -> None:
        """Runs the command."""
        start: Callable[[Any], None] = getattr(self.load(), self.start)
        start(options)


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of ``prefrl``.

    Exits with 2 on bad input, after one clear sentence; with 1 if output was lost.
    """
    try:
        try:
            _run(arguments)
        finally:
            lost = console.finish()
            errors.finish()
    except BrokenPipeError:  # the reader, such as head, closed the pipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # no error at exit
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
        if arguments[0] in _COMMANDS:
            _COMMANDS[arguments[0]].load()
            note_loaded()
        options = _options_of_file(arguments)
        first = _named_preset(arguments) or options.get("preset") or _preset_of_model(arguments)
        if arguments[0] in ("train", "align") and {"-h", "--help"} & {*arguments}:
            _help(arguments, first)
            return
        arguments = ["--help" if argument == "--help-all" else argument for argument in arguments]
        command = _parse(arguments, first, options)
        name = _automatic_preset(arguments[0], command)
        if name is not None:
            _say_preset(name)
        if name not in (None, first):
            command = _parse(arguments, name, options)
        if path := getattr(command, "save_config", None):
            _save(path, arguments[0], command, name or first)
            return
        _COMMANDS[arguments[0]].do(command)
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


def _help(arguments: Sequence[str], preset: str) -> None:
    """Prints the most important options of a command with many, or those of a topic."""
    from prefrl.commands.help import help_of

    name = arguments[0]
    algo = _known_algorithm(_value_of(arguments, "--algo")) if name == "train" else ""
    told = help_of(arguments, _start_of(name, preset, algo), _COMMANDS[name].about or "")
    console.print(told, width=None if console.is_terminal else 100)


def _say_preset(name: str) -> None:
    from prefrl.runtime.roles.parallel import launched_as

    if launched_as()[0] == 0:
        console.print(f"preset {name}", style="dim")


def _automatic_preset(name: str, command: Any) -> str | None:
    """Returns the preset for what is trained; None if it is the default, or one was named."""
    if name not in _WITH_A_FILE or command.preset != "auto":
        return None
    if name == "train":
        from prefrl.control.presets import preset_for

        found = preset_for(command.config.env_id, command.config.env)
        return None if found == "control" else found
    from prefrl.text.presets import align_preset_for

    found = align_preset_for(command.config.model)
    return None if found == "default" else found


def _named_preset(arguments: Sequence[str]) -> str:
    """Returns the preset named on the command line, before parsing, which starts from it."""
    if arguments[0] == "train":
        from prefrl.control.presets import PRESETS

        return _named(arguments, "--preset", PRESETS)
    if arguments[0] in _WITH_A_FILE:
        from prefrl.text.presets import ALIGN_PRESETS, SFT_PRESETS

        return _named(arguments, "--preset", {**ALIGN_PRESETS, **SFT_PRESETS})
    return ""


def _named(arguments: Sequence[str], option: str, names: Mapping[str, Any]) -> str:
    """Returns the value of an option if it is one of some names; else an empty string."""
    value = _value_of(arguments, option)
    return value if value in names else ""


def _value_of(arguments: Sequence[str], option: str) -> str:
    """Returns the value of an option on the command line; empty if it is not given."""
    for flag, value in itertools.pairwise([*arguments, ""]):
        if flag == option or flag.startswith(f"{option}="):
            return value if flag == option else flag.removeprefix(f"{option}=")
    return ""


def _preset_of_model(arguments: Sequence[str]) -> str:
    """Returns the preset of a model given first: its options may not suit the default preset."""
    if len(arguments) < 2 or arguments[0] != "align":
        return ""
    from prefrl.text.presets import align_preset_for

    return align_preset_for(arguments[1])


def _options_of_file(arguments: Sequence[str]) -> dict[str, Any]:
    """Reads the options in the file that the command line names; empty if it names none."""
    if arguments[0] not in _WITH_A_FILE:
        return {}
    from prefrl.commands.config_file import read_options

    path = _value_of(arguments, "--config")
    return read_options(Path(path)) if path else {}


def _save(path: Path, name: str, command: Any, preset: str) -> None:
    """Writes the given options to a file."""
    from prefrl.commands.config_file import save_options

    start = _start_of(name, preset, command.config.algo if name == "train" else "")
    save_options(path, command, start)
    console.print(
        f"settings in {path}: prefrl {name} --config {path}", markup=False, soft_wrap=True
    )


def _start_of(name: str, preset: str, algo: str) -> Any:
    """Returns a command with a preset's settings, in which required options are missing."""
    kind, missing = _COMMANDS[name].kind, tyro.MISSING
    if name == "train":
        from prefrl.control.presets import PRESETS, for_algorithm

        training = PRESETS.get(preset, PRESETS["control"])
        named: Any = algo or training.algo
        return kind(config=replace(for_algorithm(training, named), env_id=missing))
    from prefrl.text.presets import ALIGN_PRESETS, SFT_PRESETS

    if name == "align":
        alignment = ALIGN_PRESETS.get(preset, ALIGN_PRESETS["default"])
        return kind(config=replace(alignment, model=missing, prompts=missing))
    tuning = SFT_PRESETS.get(preset, SFT_PRESETS["default"])
    return kind(config=replace(tuning, model=missing, data=missing))


def _known_algorithm(name: str) -> str:
    """Returns a name if it is an algorithm's; else empty, for the preset's own algorithm."""
    from prefrl.control.agent.algorithms import ALGORITHMS

    return name if name in ALGORITHMS else ""


def _parse(arguments: Sequence[str], preset: str, options: Mapping[str, Any]) -> Any:
    """Parses the command, with defaults from a preset and from a file."""
    if arguments[0] in _COMMANDS:
        return _parse_one(arguments, preset, options)
    # Help on all commands, or an unknown one: the parser lists those that exist.
    commands: Any = functools.reduce(
        operator.or_,
        (
            Annotated[
                command.kind, tyro.conf.subcommand(name, description=command.about, **_start(name))
            ]
            for name, command in _COMMANDS.items()
        ),
    )
    return tyro.cli(commands, prog="prefrl", description=_ABOUT, args=arguments)


def _start(name: str) -> dict[str, Any]:
    return {"default": _start_of(name, "", "")} if name in _WITH_A_FILE else {}


def _parse_one(arguments: Sequence[str], preset: str, options: Mapping[str, Any]) -> Any:
    name, *rest = arguments
    command, start = _COMMANDS[name], {}
    if name in _WITH_A_FILE:
        algo = _value_of(arguments, "--algo") or str(options.get("algo", ""))
        began = _start_of(name, preset, _known_algorithm(algo) if name == "train" else "")
        if options:
            from prefrl.runtime.named_options import filled

            began = filled(began, options, command=f"prefrl {name}")
        start["default"] = began
    return tyro.cli(
        command.kind, prog=f"prefrl {name}", description=command.about, args=rest, **start
    )


_ABOUT = (
    "Deep reinforcement learning from human preferences. prefrl COMMAND --help explains a "
    "command's options, prefrl --version prints the release."
)

_COMMANDS = {
    "train": _Command(
        "train",
        "Train",
        "start_train",
        "Trains an agent from comparisons of clips. The agent never sees the environment's reward, "
        "only answers that say which of two clips is better.",
    ),
    "align": _Command(
        "align",
        "Align",
        "start_align",
        "Aligns a language model with comparisons of its responses: by PPO on a reward learned "
        "from them, by DPO and its relatives, or by taking the best of n.",
    ),
    "sft": _Command(
        "sft",
        "Sft",
        "start_sft",
        "Fine-tunes a language model on demonstrations: prompts and the responses that it should "
        "write. The stage before prefrl align --init RUN.",
    ),
    "resume": _Command("runs", "Resume", "resume"),
    "extend": _Command("train", "Extend", "extend_train"),
    "label": _Command("label", "Label", "label"),
    "serve": _Command("serve", "Serve", "serve"),
    "status": _Command("status", "Status", "status"),
    "replay": _Command("runs", "Replay", "replay"),
    "evaluate": _Command("evaluate", "Evaluate", "evaluate"),
    "watch": _Command("watch", "Watch", "watch"),
    "report": _Command("runs", "Report", "report"),
    "export": _Command("export", "Export", "export"),
    "reward": _Command("reward", "SaveReward", "save_reward"),
    "serve-reward": _Command("serve_reward", "ServeReward", "serve_reward"),
    "fit": _Command("fit", "FitReward", "fit"),
    "benchmark": _Command("benchmark", "Benchmark", "benchmark"),
    "doctor": _Command("doctor", "Doctor", "doctor"),
}
"""The commands, in the order of ``prefrl --help``."""

_WITH_A_FILE = ("train", "align", "sft")
"""Commands with presets, whose options may come from a file."""
