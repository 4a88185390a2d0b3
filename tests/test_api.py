"""docs/api.md has every public name, each with the signature that it has and an example that runs.

A new name needs a section under a ``### `` heading: when it is missing, or its signature has
changed, the failure prints what to paste.
"""

import ast
import dataclasses
import enum
import inspect
import os
import re
import subprocess
import sys
import textwrap
import types
import typing
from pathlib import Path

import pytest

import prefrl
from prefrl import errors
from prefrl.control.shortening import VARIABLE
from prefrl.text import trl

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "api.md").read_text()
SECTIONS = {
    name: body
    for name, body in re.findall(r"^### (.+?)\n(.*?)(?=^##|\Z)", PAGE, re.DOTALL | re.MULTILINE)
}
OUTSIDE = {"prefrl.text.trl.ensemble_reward": trl.ensemble_reward}
PUBLIC = {f"prefrl.{name}": getattr(prefrl, name) for name in prefrl.__all__} | OUTSIDE
WIDTH = 96


class Plain(ast.NodeTransformer):
    """Annotations without what is for the command line alone: ``Annotated`` and private aliases."""

    def __init__(self, module):
        self.names = vars(sys.modules[module])

    def visit_Subscript(self, node):
        if ast.unparse(node.value) in ("InitVar", "tyro.conf.Positional"):
            return self.visit(node.slice)
        if ast.unparse(node.value) == "Annotated":
            return self.visit(node.slice.elts[0])
        return self.generic_visit(node)

    def visit_Name(self, node):
        if not node.id.startswith("_"):
            return node
        return ast.parse(alternatives(self.names[node.id]), mode="eval").body


def alternatives(meant):
    """What a private alias stands for."""
    if typing.get_origin(meant) is typing.Annotated:
        return alternatives(typing.get_args(meant)[0])
    if typing.get_origin(meant) in (typing.Union, types.UnionType):
        return " | ".join(map(alternatives, typing.get_args(meant)))
    return "None" if meant is type(None) else inspect.formatannotation(meant)


def shown_annotation(told, module):
    """An annotation as the source has it, in short."""
    text = told if isinstance(told, str) else inspect.formatannotation(told)
    return ast.unparse(Plain(module).visit(ast.parse(text, mode="eval")).body)


def shown_default(value, factory):
    if factory is not dataclasses.MISSING:
        return f"{factory.__name__}()"
    if isinstance(value, types.BuiltinFunctionType):
        return f"{value.__module__}.{value.__name__}"
    return repr(value)


def shown_parameter(parameter, module, factory=dataclasses.MISSING):
    stars = {parameter.VAR_POSITIONAL: "*", parameter.VAR_KEYWORD: "**"}.get(parameter.kind, "")
    text = stars + parameter.name
    if parameter.annotation is not parameter.empty:
        text += f": {shown_annotation(parameter.annotation, module)}"
    if parameter.default is not parameter.empty:
        text += f" = {shown_default(parameter.default, factory)}"
    return text


def arguments_of(signature, module, factories):
    """Each argument as it is written, with the star before those that need their names."""
    shown, starred = [], False
    for parameter in signature.parameters.values():
        if parameter.name == "self":
            continue
        starred |= parameter.kind is parameter.VAR_POSITIONAL
        if parameter.kind is parameter.KEYWORD_ONLY and not starred:
            shown.append("*")
            starred = True
        factory = factories.get(parameter.name, dataclasses.MISSING)
        shown.append(shown_parameter(parameter, module, factory))
    return shown


def written(name, thing):
    """A signature as the page prints it: that of ``inspect.signature``, wrapped."""
    if isinstance(thing, type) and getattr(thing, "_is_protocol", False):
        methods = [one for one in vars(thing) if not one.startswith("_") and one != "id"]
        return "\n".join(written(f"{name}.{one}", getattr(thing, one)) for one in methods)
    if isinstance(thing, type) and issubclass(thing, enum.Enum):
        return f"{name}(value: {type(next(iter(thing)).value).__name__})"
    if isinstance(thing, type) and issubclass(thing, Exception):
        return f"{name}(*args)"
    fields = dataclasses.fields(thing) if dataclasses.is_dataclass(thing) else ()
    factories = {field.name: field.default_factory for field in fields}
    signature = inspect.signature(thing)
    arguments = arguments_of(signature, thing.__module__, factories)
    result = ""
    if not isinstance(thing, type):
        result = f" -> {shown_annotation(signature.return_annotation, thing.__module__)}"
    line = f"{name}({', '.join(arguments)}){result}"
    if len(line) <= WIDTH:
        return line
    # Blanks within an argument do not break: NBSP stands for them meanwhile.
    inner = textwrap.fill(
        ", ".join(one.replace(" ", "\xa0") for one in arguments) + ",",
        WIDTH,
        initial_indent="    ",
        subsequent_indent="    ",
        break_long_words=False,
        break_on_hyphens=False,
    ).replace("\xa0", " ")
    return f"{name}(\n{inner}\n){result}"


def blocks(body):
    return re.findall(r"```python\n(.*?)```", body, re.DOTALL)


def test_the_page_has_every_public_name_and_no_other():
    missing, unknown = sorted({*PUBLIC} - {*SECTIONS}), sorted({*SECTIONS} - {*PUBLIC})
    paste = "\n\n".join(
        f"### {name}\n\n```python\n{written(name, PUBLIC[name])}\n```\n\n"
        "What it is, in one or two sentences.\n\n```python\nan example\n```"
        for name in missing
    )
    assert not missing, (
        f"docs/api.md lacks sections. Add to the group that each belongs to:\n{paste}"
    )
    assert not unknown, f"docs/api.md has sections of names that are not public: {unknown}"
    assert PAGE.count("\n### ") == len(SECTIONS), "docs/api.md has two sections of one name"


@pytest.mark.parametrize("name", PUBLIC)
def test_a_signature_is_the_one_that_it_has(name):
    first, *_ = blocks(SECTIONS[name])
    now = written(name, PUBLIC[name])
    assert first.rstrip("\n") == now, f"docs/api.md: the signature of {name} is now\n\n{now}\n"


@pytest.mark.parametrize("name", PUBLIC)
def test_a_section_says_what_it_is_and_shows_how_it_is_used(name):
    body = SECTIONS[name]
    assert re.search(
        r"^[A-Z`].{20,}", re.sub(r"```python\n.*?```", "", body, flags=re.DOTALL), re.M
    )
    examples = blocks(body)[1:]
    assert examples
    own = name.removeprefix("prefrl.text.trl.").removeprefix("prefrl.")
    assert any(own in example for example in examples)


def test_the_errors_are_all_there():
    listed = re.findall(r"^\| `(\w+)`", SECTIONS["prefrl.PrefrlError"], re.M)
    assert sorted(["PrefrlError", *listed]) == errors.__all__


def test_the_examples_run(tmp_path):
    """One after another in a new process, since some use what an earlier one has left."""
    examples = [
        example
        for name, body in SECTIONS.items()
        if name not in OUTSIDE  # of language models: docs/text.md
        for example in blocks(body)[1:]
    ]
    (tmp_path / "examples.py").write_text("\n".join(examples))
    environment = {**os.environ, VARIABLE: "2048", "OMP_NUM_THREADS": "1"}
    environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), str(ROOT / "envs")])
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "examples.py"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
