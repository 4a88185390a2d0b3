"""The user's own functions and classes, by names that every process of a run can import.

A name is ``module:name`` or ``FILE.py:name``. A run stores only names, which each of its processes
imports again, also after a resume.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from prefrl.errors import ConfigError

__all__ = ["check_takes", "load_plug", "name_of_plug", "with_names"]


def load_plug(name: str, *, option: str) -> Any:
    """Imports the object that a name refers to.

    Modules are found on Python's path and in the current folder.

    Args:
        name: ``module:name`` or ``FILE.py:name``.
        option: The option that names it, for error messages.

    Raises:
        ConfigError: If there is no such module or name, or importing it fails.
    """
    place, _, attribute = name.rpartition(":")
    if not place or not attribute:
        raise ConfigError(
            f"expected {option} as module:name or FILE.py:name, got {name!r}; write it as in "
            "my_module:my_function."
        )
    try:
        found: Any = _module(place)
        for part in attribute.split("."):
            found = getattr(found, part)
    except Exception as error:  # whatever a user's module raises when it is imported
        raise ConfigError(
            f"expected {option} {name} to be there, but {_said(error)}; check the spelling, and "
            "put its folder into PYTHONPATH where it is neither installed nor in the current "
            "folder."
        ) from error
    return found


def _module(place: str) -> Any:
    if not place.endswith(".py"):
        if os.getcwd() not in sys.path:  # as for `python -m`; the command prefrl lacks it
            sys.path.append(os.getcwd())
        return importlib.import_module(place)
    path = Path(place).absolute()
    # A name that no import uses; dataclasses look up their module by it during execution.
    name = f"plug {path}"
    if name in sys.modules:
        return sys.modules[name]
    if not path.is_file():
        raise ImportError(f"there is no file {path}")
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def name_of_plug(thing: Any) -> str:
    """Returns the name by which other processes can import a function or class.

    Raises:
        ConfigError: If they cannot find it because it was defined inside a function or in a
            notebook.
    """
    module, name = getattr(thing, "__module__", ""), getattr(thing, "__qualname__", "")
    place: str | None = module
    if module == "__main__":
        place = getattr(sys.modules["__main__"], "__file__", None)
    elif module.startswith("plug "):
        place = module.removeprefix("plug ")
    if not place or not name or "<" in name:
        raise ConfigError(
            f"expected a function or class that other processes can import, got {thing!r}; define "
            "it at the top of a module or script, not in a function or a notebook."
        )
    return f"{Path(place).absolute() if place.endswith('.py') else place}:{name}"


def with_names(content: Any) -> Any:
    """Replaces the functions and classes in a nested config by their names, for JSON.

    Raises:
        ConfigError: If other processes could not import one of them.
    """
    if isinstance(content, Mapping):
        return {name: with_names(value) for name, value in content.items()}
    if isinstance(content, list | tuple):
        return type(content)(with_names(value) for value in content)
    return name_of_plug(content) if callable(content) else content


def check_takes(function: Callable[..., Any], *arguments: str, option: str) -> None:
    """Refuses objects that cannot be called with these arguments.

    Args:
        function: A function, a class, or another object that can be called.
        *arguments: The arguments, in words.
        option: The option that names it, for error messages.

    Raises:
        ConfigError: If it cannot.
    """
    told = ", ".join(arguments)
    try:
        inspect.signature(function).bind(*arguments)
    except TypeError as error:
        raise ConfigError(
            f"expected {option} to be called with ({told}), got {_named(function)}: {error}."
        ) from error
    except ValueError:
        return  # written in C: parameters unknown


def _named(thing: Any) -> str:
    return getattr(thing, "__qualname__", None) or type(thing).__name__


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
