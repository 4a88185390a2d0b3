"""How another process can make an environment: its id, registering module, and arguments."""

from __future__ import annotations

import functools
import inspect
import os
import subprocess
import sys

from gymnasium.envs.registration import EnvSpec, WrapperSpec, load_env_creator

from prefrl.control.environments.source import EnvConfig, spec_of
from prefrl.errors import ConfigError

__all__ = ["environment_of_spec", "id_with_module"]

_OWN_WRAPPERS = {
    "Monitor",
    "OrderEnforcing",
    "PassiveEnvChecker",
    "RecordState",
    "Rewind",
    "TimeLimit",
}

_SECONDS = 60
# Either Gymnasium itself knows the id, or importing one of the modules registers it. Modules may
# print anything, so the answer is marked.
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


def environment_of_spec(spec: EnvSpec) -> tuple[str, EnvConfig, str]:
    """Returns an environment's id and config, and why it cannot be made again from these.

    Args:
        spec: Spec of the environment.

    Returns:
        Its id; its arguments and wrappers; and a sentence on the reason, empty if it can be made.
    """
    if _module_of(spec) == "__main__":
        trouble = (
            f"{spec.id} is made by a class of the script itself, so prefrl evaluate, prefrl replay "
            "and films cannot make it; move the class and its gymnasium.register into a module of "
            "their own, and make it as module:id."
        )
        return spec.id, EnvConfig(processes=0), trouble
    kwargs = {name: value for name, value in spec.kwargs.items() if name != "render_mode"}
    env_id, trouble = id_with_module(spec), ""
    if env_id is None:
        trouble = (
            f"no module was found that registers {spec.id}, so prefrl evaluate, prefrl replay and "
            "films cannot make it; call gymnasium.register in the module that has its class."
        )
    elif (limit := spec.max_episode_steps) != spec_of(env_id).max_episode_steps:
        kwargs["max_episode_steps"] = -1 if limit is None else limit  # as gymnasium.make takes it
    others = [one for one in spec.additional_wrappers if one.name not in _OWN_WRAPPERS]
    wrappers = tuple(one.entry_point for one in others if _is_plain(one))
    lost = [one.entry_point for one in others if not _is_plain(one)]
    try:
        env = EnvConfig(kwargs=kwargs, wrapper=wrappers, processes=0)
    except ConfigError:
        env, lost = EnvConfig(processes=0), [*lost, *kwargs]
    if lost and not trouble:
        trouble = (
            f"config.json cannot hold {', '.join(lost)} of the environment, so prefrl evaluate and "
            "films make it without; register an environment that has them built in."
        )
    return env_id or spec.id, env, trouble


def _is_plain(wrapper: WrapperSpec) -> bool:
    """Whether a wrapper has only default arguments, so that the environment alone makes it."""
    given = wrapper.kwargs or {}
    if not given:
        return True
    known = inspect.signature(load_env_creator(wrapper.entry_point)).parameters
    try:
        return all(bool(known[name].default == value) for name, value in given.items())
    except (KeyError, ValueError):  # an argument without a name, or arrays
        return False


def _module_of(spec: EnvSpec) -> str:
    """Returns the module of the environment's class, or of the function that makes it."""
    entry = spec.entry_point
    return entry.partition(":")[0] if isinstance(entry, str) else getattr(entry, "__module__", "")


def id_with_module(spec: EnvSpec) -> str | None:
    """Returns the id of an environment for a process that has imported nothing but Gymnasium.

    A new interpreter looks for the registering module: first the package of the environment's
    class, then the modules in it on the way to the class.

    Args:
        spec: Spec of an environment that was made.

    Returns:
        The id alone if Gymnasium knows it, else ``module:id``; None if no such module registers it,
        for example because the script itself does.
    """
    module = _registered_by(spec.id, _modules_of(spec))
    if module is None:
        return None
    return f"{module}:{spec.id}" if module else spec.id


def _modules_of(spec: EnvSpec) -> tuple[str, ...]:
    """Returns the modules that may register an environment, the outermost first."""
    entry = spec.entry_point or spec.vector_entry_point
    place = entry.partition(":")[0] if isinstance(entry, str) else entry.__module__ if entry else ""
    if place in ("", "__main__", "__mp_main__"):
        return ()
    parts = place.split(".")
    return tuple(".".join(parts[: n + 1]) for n in range(len(parts)))


@functools.lru_cache
def _registered_by(env_id: str, modules: tuple[str, ...]) -> str | None:
    """Finds the first module whose import registers an id; "" if Gymnasium itself has it."""
    # The new process also finds the modules beside this one's script.
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
