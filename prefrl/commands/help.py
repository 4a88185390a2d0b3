"""``--help``: the options that matter first, and those of a topic. ``--help-all`` shows all."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import textwrap
import typing
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, get_args, get_origin

import tyro
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from prefrl.runtime.named_options import name_of, parts_of

__all__ = ["help_of"]

_FIRST = {
    "train": (
        "steps labels oracle goal algo agent.settings selection segment_length endings "
        "evaluate_every preset seed device run config save_config"
    ),
    "align": (
        "method oracle goal gold data labels responses batch per_prompt sampling.max_new_tokens "
        "lora.rank init reward_model preset seed device run config save_config"
    ),
}
"""Options that are shown first, of commands with too many to read."""


@dataclass(frozen=True)
class _Option:
    name: str
    default: Any
    choices: tuple[str, ...]
    about: str
    positional: bool


def help_of(arguments: Sequence[str], start: Any, about: str) -> RenderableType:
    """Returns the help for a command line.

    Args:
        arguments: The command line, on which a topic may follow ``--help``.
        start: The command with its defaults.
        about: What the command does.
    """
    command = arguments[0]
    options = list(_options(start))
    topics = dict(_topics(start))
    named = (argument.replace("-", "_") for argument in arguments[1:])
    asked = next((topic for topic in named if topic in topics), None)
    needed = [option for option in options if option.positional or option.default is tyro.MISSING]
    if asked is not None:
        shown = [option for option in options if option.name.startswith(f"{asked}.")]
        return Group(_usage(command, needed), Text(f"\n{topics[asked]}\n"), _table(shown))
    first = _FIRST[command].split()
    by_name = {option.name: option for option in options}
    shown = [*needed, *(by_name[name] for name in first if by_name[name] not in needed)]
    others = Table.grid(padding=(0, 2))
    for topic, told in topics.items():
        n = sum(option.name.startswith(f"{topic}.") for option in options)
        others.add_row(f"  {topic.replace('_', '-')}", f"{told} ({n})")
    left = Text(
        f"\nAll {len(options)} options: prefrl {command} --help-all. Those about one thing, such "
        f"as {next(iter(topics))}: prefrl {command} --help {next(iter(topics))}. Topics:\n"
    )
    return Group(_usage(command, needed), Text(f"\n{about}\n"), _table(shown), left, others)


def _usage(command: str, needed: Sequence[_Option]) -> Text:
    told = (
        _shown_name(option) + ("" if option.positional else " ...")
        for option in sorted(needed, key=lambda option: not option.positional)
    )
    return Text(f"prefrl {command} {' '.join(told)} [options]", style="bold")


def _table(options: Sequence[_Option]) -> RenderableType:
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for option in options:
        about = Text(option.about)
        if option.choices:
            about.append(f" One of: {', '.join(option.choices)}.")
        if option.default is not tyro.MISSING and option.default not in (None, "", ()):
            about.append(f" ({_plain(option.default)})", style="dim")
        table.add_row(Text(_shown_name(option), style="bold"), about)
    return Padding(table, (0, 0, 0, 2))


def _shown_name(option: _Option) -> str:
    if option.positional:
        return option.name.upper()
    return f"--{option.name.replace('_', '-')}"


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _options(part: Any, before: str = "") -> Iterator[_Option]:
    """Yields the options of a command, with those of its parts."""
    kind: Any = type(part)  # to mypy, type[Any] cannot be hashed
    hints = typing.get_type_hints(kind, include_extras=True)
    for field in dataclasses.fields(part):
        value, name = getattr(part, field.name), name_of(part, field.name)
        if dataclasses.is_dataclass(value):
            yield from _options(value, f"{before}{name}." if name else before)
        else:
            hint = hints[field.name]
            choices, positional = _choices(hint), tyro.conf.Positional in get_args(hint)[1:]
            about = _about(kind).get(field.name, "")
            yield _Option(f"{before}{name}", value, choices, about, positional)


def _topics(part: Any) -> Iterator[tuple[str, str]]:
    """Yields the parts of a command whose options have a prefix, and what each is about."""
    kind: Any = type(part)
    for field, name, inner in parts_of(part):
        if name:
            yield name, _about(kind).get(field, "")
        else:
            yield from _topics(inner)


def _choices(hint: Any) -> tuple[str, ...]:
    """Returns the values of an option that accepts only some; else nothing."""
    while get_origin(hint) is typing.Annotated:
        hint, *told = get_args(hint)
        for one in told:
            if isinstance(one, tyro.constructors.PrimitiveConstructorSpec) and "|" in one.metavar:
                return tuple(one.metavar.replace("MODULE:NAME", "module:name").split("|"))
    return tuple(map(str, get_args(hint))) if get_origin(hint) is Literal else ()


@cache
def _about(kind: type) -> dict[str, str]:
    """Returns the docstrings of the fields of a dataclass."""
    (body,) = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
    assert isinstance(body, ast.ClassDef)
    told = {}
    for field, text in zip(body.body, body.body[1:], strict=False):
        if (
            isinstance(field, ast.AnnAssign)
            and isinstance(field.target, ast.Name)
            and isinstance(text, ast.Expr)
            and isinstance(text.value, ast.Constant)
        ):
            told[field.target.id] = " ".join(str(text.value.value).split())
    return told
