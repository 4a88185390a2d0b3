"""Under which id another process makes an environment: with the module that registers it."""

from __future__ import annotations

import functools
import os
import subprocess
import sys

from gymnasium.envs.registration import EnvSpec

__all__ = ["id_with_module"]

_SECONDS = 60
# Gymnasium alone knows the id, or it does so after one of the modules was imported. They may print
# what they like, so the answer has a mark of its own.
_LOOK = """
import importlib, sys
import gymnasium
mark, env_id, *modules = sys.argv[1:]
for module in ["", *modules]:
    try:
        if module:
            importlib.import_module(module)
    except Exception:
        continue
    if env_id in gymnasium.registry:
        print(mark + module)
        break
"""
_MARK = "prefrl/registered-by:"


def id_with_module(spec: EnvSpec) -> str | None:
    """The id of an environment for a process that has imported nothing but Gymnasium.

    The module is looked for in a new interpreter: the package that the environment's class is in
    comes first, then the modules within it that lead to the class.

    Args:
        spec: Of an environment that was made.

    Returns:
        The id alone where Gymnasium knows it, else ``module:id``; None where no such module
        registers it, as when the script itself does.
    """
    module = _registered_by(spec.id, _modules_of(spec))
    if module is None:
        return None
    return f"{module}:{spec.id}" if module else spec.id


def _modules_of(spec: EnvSpec) -> tuple[str, ...]:
    """The modules that may register it, the outermost first."""
    entry = spec.entry_point or spec.vector_entry_point
    place = entry.partition(":")[0] if isinstance(entry, str) else entry.__module__ if entry else ""
    if place in ("", "__main__", "__mp_main__"):
        return ()
    parts = place.split(".")
    return tuple(".".join(parts[: n + 1]) for n in range(len(parts)))


@functools.lru_cache
def _registered_by(env_id: str, modules: tuple[str, ...]) -> str | None:
    """The first of some modules whose import registers an id; "" where Gymnasium has it already."""
    # What this process finds beside its script, the new one finds as well.
    path = os.pathsep.join([entry or os.getcwd() for entry in sys.path])
    try:
        done = subprocess.run(
            [sys.executable, "-c", _LOOK, _MARK, env_id, *modules],
            env={**os.environ, "PYTHONPATH": path},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_SECONDS,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    answers = [line for line in done.stdout.splitlines() if line.startswith(_MARK)]
    return answers[0].removeprefix(_MARK) if answers else None
