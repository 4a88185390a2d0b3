"""``--config`` and ``--save-config``: the options of a command in a YAML file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import tyro
import yaml

from prefrl.core.disk import naming
from prefrl.errors import ConfigError
from prefrl.runtime.named_options import changed_options, flat_options
from prefrl.runtime.rundir.writing import write_atomically

__all__ = ["read_options", "save_options"]

_OF_THE_FILE = ("config", "save_config")  # options that are about files of options


def read_options(path: Path) -> dict[str, Any]:
    """Reads the options in a file, by name, as in ``{"agent.gamma": 0.99}``.

    Raises:
        ConfigError: If it is not a YAML file of options.
        OSError: If it cannot be read.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        told = " ".join(str(error).split())
        raise ConfigError(f"expected --config to be a YAML file, got {path} ({told}).") from error
    if not isinstance(content, dict) or not all(isinstance(name, str) for name in content):
        raise ConfigError(
            f"expected options by name in {path}, as in 'labels: 100', got {_short(content)}."
        )
    options = flat_options(content)
    for name in _OF_THE_FILE:
        if name in options:
            raise ConfigError(f"expected {path} without {name}: it is only for the command line.")
    return options


def save_options(path: Path, command: Any, start: Any) -> None:
    """Writes the options of a command that differ from its defaults.

    Args:
        path: The file; an existing one is replaced.
        command: The command with its options.
        start: The same command with its preset's settings alone.

    Raises:
        OSError: If it cannot be written.
    """
    options = changed_options(command, start)
    kept = {
        name: value
        for name, value in options.items()
        if name not in _OF_THE_FILE and value is not tyro.MISSING
    }
    with naming(path):
        write_atomically(path, yaml.safe_dump(kept, sort_keys=False, allow_unicode=True).encode())


def _short(content: Any) -> str:
    text = repr(content)
    return text if len(text) < 60 else f"{text[:57]}..."
