"""Settings by name: completes a partial agent config."""

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
    """Resolved settings."""

    config: AgentConfig
    """Everything that the algorithm takes is filled in; ``source`` says from where."""
    line: str
    """Algorithm, source, and what differs from prefrl's defaults, in one line."""
    notes: tuple[str, ...] = ()
    """What of the source could not be used."""


@dataclass(frozen=True)
class _Found:
    """The settings of one environment, as a file has them."""

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

    From below: the library's own values, the settings, what the config gives. A config that is
    resolved already comes back as it is.

    Args:
        env_id: A Gymnasium id.
        algo: The algorithm's name.
        config: What is given.
        pictures: Whether the environment shows pictures; None looks.
        env: Arguments and wrappers of the environment, where it has to be looked at.

    Returns:
        The config with everything filled in, and where it is from.

    Raises:
        ConfigError: If there are no such settings, they cannot be read, or the algorithm does not
            take what is given.
        MissingExtraError: If RL Zoo's are asked for and it is not installed.
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
    """Our own settings of an algorithm, by environment."""
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
    """RL Zoo's settings of an algorithm, by environment; None where it is not installed.

    They are read as a file: importing the package would load all that it trains and tunes with.
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
    """The key of an environment in a file of settings, and why it is not its own id.

    Its own id comes first, then the newest of its older versions. A task of prefrl's is what it is
    called after; games are ``atari``.
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
    """Namespace, name and version of an id; a version of -1 where it has none."""
    match = _ID.fullmatch(env_id)
    if match is None:
        return "", env_id, -1
    return match["namespace"] or "", match["name"], int(match["version"] or -1)


def _is_game(env_id: str) -> bool:
    entry = str(spec_of(env_id).entry_point)
    return entry.startswith(("ale_py", "prefrl_envs.atari"))


def _completed(values: dict[str, Any]) -> dict[str, Any]:
    """Fields that follow another one and are not given take its value."""
    filled = dict(values)
    for name, leader in FOLLOWERS.items():
        if name in filled and filled[name] is None:
            filled[name] = filled[leader]
    return filled


def _shown(value: Any) -> str:
    if isinstance(value, tuple):
        return " ".join(map(str, value)) or "none"
    return f"{value:g}" if isinstance(value, float) else str(value)
