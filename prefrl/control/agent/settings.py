"""Named settings, which complete a partial agent config."""

from __future__ import annotations

import functools
import importlib.util
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from prefrl.control.agent.algorithms import ALGORITHMS
from prefrl.control.agent.config import FOLLOWERS, AgentConfig, merged
from prefrl.control.agent.entries import read_settings, translate
from prefrl.control.environments.making import shows_pictures
from prefrl.control.environments.source import EnvConfig, spec_of
from prefrl.errors import ConfigError, MissingExtraError

__all__ = ["Resolved", "resolve"]

_NAMES = ("auto", "zoo", "default")
_SHIPPED = "prefrl"  # the namespace of prefrl's own tasks
_ID = re.compile(r"(?:(?P<namespace>.+)/)?(?P<name>[^/]+?)(?:-v(?P<version>\d+))?")


@dataclass(frozen=True)
class Resolved:
    """An agent's complete settings."""

    config: AgentConfig
    """The config, with everything that the algorithm takes; ``source`` says from where."""
    line: str
    """Algorithm, source, and differences from prefrl's defaults, in one line."""
    notes: tuple[str, ...] = ()
    """Parts of the source that could not be used."""


@dataclass(frozen=True)
class _Found:
    """The settings of one environment, as found in a file."""

    source: str
    arguments: Any
    strict: bool


def resolve(
    env_id: str,
    algo: str,
    config: AgentConfig,
    *,
    pictures: bool | None = None,
    env: EnvConfig | None = None,
) -> Resolved:
    """Fills in the open fields of a config from the settings that it names.

    The config's own values come first, then the settings, then the library's defaults. A complete
    config is returned unchanged.

    Args:
        env_id: A Gymnasium id.
        algo: Name of the algorithm.
        config: The partial config.
        pictures: Whether the environment shows pictures; None finds out.
        env: Arguments and wrappers of the environment, needed to find this out.

    Returns:
        The complete config, and a description of it.

    Raises:
        ConfigError: If there are no such settings, they cannot be read, or the algorithm does not
            take a field that is given.
        MissingExtraError: If RL Zoo's settings are asked for and it is not installed.
    """
    config.check_for(algo)
    if config.source:
        return Resolved(config, f"{algo} with {config.source}")
    if pictures is None:
        pictures = shows_pictures(env_id, env)
    found = _find(env_id, algo, config.settings, pictures)
    own = {**ALGORITHMS[algo].own, **(ALGORITHMS[algo].own_on_pictures if pictures else {})}
    told, unused = translate(found.arguments, algo, where=found.source, strict=found.strict)
    values = _completed(merged(merged(own, told), config.given()))
    notes = (f"not used of {found.source}: {', '.join(unused)}.",) if unused else ()
    defaults = _defaults(algo, pictures)
    plain, _ = translate(defaults.arguments, algo, where=defaults.source, strict=True)
    usual = _completed(merged(own, plain))
    differences = [
        f"{name} {_shown(value)}"
        for name, value in values.items()
        if value != usual[name] and (name not in FOLLOWERS or value != values[FOLLOWERS[name]])
    ]
    line = f"{algo} with {found.source}" + (f": {', '.join(differences)}" if differences else "")
    try:
        return Resolved(replace(config, source=found.source, **values), line, notes)
    except ConfigError as error:
        raise ConfigError(f"{found.source} do not work for {env_id}: {error}") from error


def _find(env_id: str, algo: str, settings: str, pictures: bool) -> _Found:
    """Finds the settings with a name."""
    if settings not in _NAMES:
        return _from_file(env_id, algo, Path(settings), pictures)
    if settings == "zoo":
        return _from_zoo(env_id, algo)
    if settings == "auto":
        ours, _ = _entry(_ours(algo), env_id)
        if ours is not None:
            return _Found(f"prefrl's settings for {ours}", _ours(algo)[ours], strict=True)
        table = _zoo_table(algo)
        key, why = _entry(table or {}, env_id)
        if table is not None and key is not None:
            return _Found(f"RL Zoo's settings for {key}{why}", table[key], strict=False)
    return _defaults(algo, pictures)


def _defaults(algo: str, pictures: bool) -> _Found:
    words = "prefrl's defaults for pictures" if pictures else "prefrl's defaults"
    table = _ours(algo)
    key = "pictures" if pictures and "pictures" in table else "default"
    return _Found(words, table[key], strict=True)


def _ours(algo: str) -> Mapping[str, Any]:
    """Returns prefrl's own settings for an algorithm, by environment."""
    table: Mapping[str, Any] = _our_settings()[algo]
    return table


@functools.cache
def _our_settings() -> dict[str, Any]:
    return read_settings(Path(__file__).with_name("settings.yml"))


def _from_zoo(env_id: str, algo: str) -> _Found:
    table = _zoo_table(algo)
    if table is None:
        raise MissingExtraError(
            "expected rl_zoo3 for its settings, and it is not installed: pip install 'prefrl[zoo]'."
        )
    key, why = _entry(table, env_id)
    if key is None:
        raise ConfigError(
            f"RL Zoo has no settings of {algo} for {env_id}, only for "
            f"{', '.join(sorted(set(table) - {'default'}))}; leave --agent.settings out, or choose "
            "default."
        )
    return _Found(f"RL Zoo's settings for {key}{why}", table[key], strict=False)


def _zoo_table(algo: str) -> dict[str, Any] | None:
    """Returns RL Zoo's settings for an algorithm, by environment; None if it is not installed.

    They are read from a file, as importing the package would load all its dependencies.
    """
    spec = importlib.util.find_spec("rl_zoo3")
    for folder in (spec.submodule_search_locations or ()) if spec is not None else ():
        path = Path(folder) / "hyperparams" / f"{ALGORITHMS[algo].zoo_name}.yml"
        if path.is_file():
            return read_settings(path)
    return None


def _from_file(env_id: str, algo: str, path: Path, pictures: bool) -> _Found:
    if not path.is_file():
        raise ConfigError(
            f"expected settings to be {', '.join(_NAMES)} or the path of a YAML file, got "
            f"'{path}', and there is no such file."
        )
    table = read_settings(path)
    names = {a.name for a in ALGORITHMS.values()} | {a.zoo_name for a in ALGORITHMS.values()}
    if names & set(table):
        mine = [name for name in (algo, ALGORITHMS[algo].zoo_name) if name in table]
        if not mine:
            raise ConfigError(
                f"expected settings of {algo} in {path}, got those of {', '.join(map(str, table))}."
            )
        table = table[mine[0]] if isinstance(table[mine[0]], dict) else {}
    key, why = _entry(table, env_id)
    if key is None:
        rest = ["pictures", "default"] if pictures else ["default"]
        key = next((name for name in rest if name in table), None)
    if key is None:
        raise ConfigError(
            f"expected settings of {algo} for {env_id}, or a default, in {path}, got those of "
            f"{', '.join(map(str, table)) or 'nothing'}."
        )
    return _Found(f"the settings of {path} for {key}{why}", table[key], strict=True)


def _entry(table: Mapping[str, Any], env_id: str) -> tuple[str | None, str]:
    """Finds the key of an environment in a file of settings, and says why it is not its own id.

    Its own id comes first, then the newest of its older versions. A task of prefrl's also matches
    the environment that it is named after; games match ``atari``.
    """
    own_id = env_id.rpartition(":")[-1]
    for key in (env_id, own_id):
        if key in table:
            return key, ""
    namespace, name, version = _parts(own_id)
    versions = {}
    for key in map(str, table):
        other_namespace, other, other_version = _parts(key)
        same = other_namespace == namespace and other_version < version
        ours = namespace == _SHIPPED and other_namespace == ""
        if other == name and other_version >= 0 and (same or ours):
            versions[other_version] = key
    if versions:
        return versions[max(versions)], f" (it has none for {own_id})"
    if "atari" in table and _is_game(env_id):
        return "atari", f" (it has none for {own_id} alone)"
    return None, ""


def _parts(env_id: str) -> tuple[str, str, int]:
    """Returns namespace, name and version of an id; the version is -1 if it has none."""
    match = _ID.fullmatch(env_id)
    if match is None:
        return "", env_id, -1
    return match["namespace"] or "", match["name"], int(match["version"] or -1)


def _is_game(env_id: str) -> bool:
    entry = str(spec_of(env_id).entry_point)
    return entry.startswith(("ale_py", "prefrl_envs.atari"))


def _completed(values: dict[str, Any]) -> dict[str, Any]:
    """Gives fields that follow another one its value, unless they are given themselves."""
    filled = dict(values)
    for name, leader in FOLLOWERS.items():
        if name in filled and filled[name] is None:
            filled[name] = filled[leader]
    return filled


def _shown(value: Any) -> str:
    if isinstance(value, tuple):
        return " ".join(map(str, value)) or "none"
    return f"{value:g}" if isinstance(value, float) else str(value)
