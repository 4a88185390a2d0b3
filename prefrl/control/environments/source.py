"""Makes any environment from an id with arguments and wrappers."""

from __future__ import annotations

import importlib
import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import gymnasium as gym
import tyro
from gymnasium.envs.registration import EnvSpec, load_env_creator

from prefrl.control.environments.adapting import adapt_spaces
from prefrl.errors import ConfigError, MissingExtraError

__all__ = ["EnvConfig", "can_be_played_again", "make_env", "make_games", "spec_of"]


def read_kwargs(text: str) -> dict[str, Any]:
    """Reads keyword arguments from JSON.

    Raises:
        ConfigError: If it is not JSON, or not an object.
    """
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        raise ConfigError(
            f"expected env.kwargs as JSON, got {text!r} ({error}); write an object in single "
            """quotes, as in --env.kwargs '{"size": 5}'."""
        ) from error
    if not isinstance(content, dict):
        raise ConfigError(
            f"expected env.kwargs as a JSON object, got {text!r}; give each argument its name, as "
            """in --env.kwargs '{"size": 5}'."""
        )
    return content


_JSON = tyro.constructors.PrimitiveConstructorSpec[Any](
    nargs=1,
    metavar="JSON",
    instance_from_str=lambda told: read_kwargs(told[0]),
    is_instance=lambda told: isinstance(told, dict),
    str_from_instance=lambda told: [json.dumps(told)],
)


@dataclass(frozen=True)
class EnvConfig:
    """How the environment is made, besides its id."""

    kwargs: Annotated[Mapping[str, Any], _JSON] = field(default_factory=dict)
    """Arguments for gymnasium.make: a JSON object, such as '{"size": 5}'."""
    wrapper: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    """A wrapper, as module:Class, which is called with only the environment. Repeat the option for
    several: the first is the innermost."""
    processes: int | Literal["auto"] = "auto"
    """Processes that step the environments; 0 steps them in the agent's own process. auto uses
    processes if a step takes milliseconds: one per environment if they sleep, one per core if they
    compute."""

    def __post_init__(self) -> None:
        n = self.processes
        if n != "auto" and (isinstance(n, str) or n < 0):
            raise ConfigError(f"expected env.processes to be at least 0, or auto, got {n!r}.")
        if not isinstance(self.kwargs, Mapping) or not all(isinstance(k, str) for k in self.kwargs):
            raise ConfigError(
                f"expected env.kwargs to be arguments by name, got {self.kwargs!r}; write them as "
                'in {"size": 5}.'
            )
        if "render_mode" in self.kwargs:
            raise ConfigError(
                "expected env.kwargs without render_mode, got one; leave it out: films choose it."
            )
        try:
            same = json.loads(json.dumps(self.kwargs)) == self.kwargs
        except (TypeError, ValueError):
            same = False
        if not same:
            raise ConfigError(
                f"expected env.kwargs that config.json can hold, got {dict(self.kwargs)!r}; give "
                "numbers, text, lists and dicts, and make other things in a wrapper."
            )
        for name in self.wrapper:
            module, _, attribute = name.partition(":")
            if not (module and attribute):
                raise ConfigError(
                    f"expected env.wrapper as module:Class, got {name!r}; write it as in "
                    "gymnasium.wrappers:FlattenObservation."
                )

    @property
    def options(self) -> str:
        """The equivalent command-line options, each after a blank."""
        options = [f" --env.kwargs {shlex.quote(json.dumps(self.kwargs))}"] if self.kwargs else []
        return "".join([*options, *(f" --env.wrapper {name}" for name in self.wrapper)])

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> EnvConfig:
        """Restores a config that ``dataclasses.asdict`` and JSON have converted."""
        told = {**content, "wrapper": tuple(content.get("wrapper", ()))}
        return cls(**told)


def make_env(
    env_id: str, env: EnvConfig | None = None, *, render_mode: str | None = None
) -> gym.Env[Any, Any]:
    """Makes an environment whose spaces the agent and the reward nets can read.

    From the inside out: the environment of ``gymnasium.make`` with its time limit, the wrappers of
    the config, ``adapt_spaces``.

    Args:
        env_id: A Gymnasium id, ``module:id`` where a module has to be imported first.
        env: Its arguments and wrappers.
        render_mode: As for ``gymnasium.make``.

    Raises:
        ConfigError: If there is no such environment or wrapper, or it cannot be made.
        MissingExtraError: If a library that it needs is absent.
        UnsupportedSpaceError: If its spaces are not supported.
    """
    env = env or EnvConfig()
    wrappers = [(name, _load_wrapper(name)) for name in env.wrapper]
    options = dict(env.kwargs)
    if render_mode is not None:
        options["render_mode"] = render_mode
    made: gym.Env[Any, Any] = _made(env_id, env, lambda: gym.make(env_id, **options))
    try:
        for name, wrapper in wrappers:
            made = _wrapped(made, wrapper, name)
        return adapt_spaces(made)
    except BaseException:
        made.close()
        raise


def make_games(env_id: str, env: EnvConfig | None, n_envs: int) -> Any:
    """Makes games that are stepped together; the id is one that ``can_be_played_again`` accepts.

    Raises:
        ConfigError: If they do not take the arguments, or the config has wrappers.
    """
    env = env or EnvConfig()
    if env.wrapper:
        raise ConfigError(
            f"expected no env.wrapper for {env_id}, whose games are stepped together, got "
            f"{', '.join(env.wrapper)}; leave it out, or take the game of another library."
        )

    def make() -> Any:
        return gym.make_vec(env_id, n_envs, vectorization_mode="vector_entry_point", **env.kwargs)

    return _made(env_id, env, make)


def spec_of(env_id: str) -> EnvSpec:
    """Returns the specification of an environment, by its id with or without a module."""
    module, _, name = env_id.rpartition(":")
    if module:
        importlib.import_module(module)
    return gym.spec(name)


def can_be_played_again(env_id: str) -> bool:
    """Whether an id stands for games that are stepped together and keep journals."""
    entry = spec_of(env_id).vector_entry_point
    return entry is not None and hasattr(
        load_env_creator(entry) if isinstance(entry, str) else entry, "journal"
    )


def _made(env_id: str, env: EnvConfig, make: Any) -> Any:
    """Calls ``make``; turns any error into one sentence."""
    try:
        return make()
    except gym.error.DependencyNotInstalled as error:
        raise MissingExtraError(
            f"expected the libraries of {env_id} to be installed, but {_line(error)}"
        ) from error
    except (gym.error.Error, ImportError) as error:
        raise ConfigError(
            f"expected an environment that Gymnasium can make, got {env_id!r}: {_line(error)} "
            "Check the spelling and version, and write module:id where a module registers it, "
            "as in prefrl_envs:prefrl/Hopper-v0."
        ) from error
    except TypeError as error:
        given = json.dumps(dict(env.kwargs)) if env.kwargs else "none"
        raise ConfigError(
            f"expected arguments that {env_id} takes, got {given}: {_line(error)}; give what it "
            """needs by name, as in --env.kwargs '{"size": 5}'."""
        ) from error
    except Exception as error:
        # An environment's constructor may raise anything.
        raise ConfigError(
            f"expected {env_id} to be made, but its constructor raised {type(error).__name__}: "
            f"{_line(error)}; fix the environment, or give it other --env.kwargs."
        ) from error


def _load_wrapper(name: str) -> Any:
    module, _, attribute = name.partition(":")
    try:
        found: Any = importlib.import_module(module)
        for part in attribute.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError) as error:
        raise ConfigError(
            f"expected env.wrapper {name} to be there, but {_line(error)}; check the spelling, "
            "and put its folder into PYTHONPATH where it is not installed."
        ) from error
    if not callable(found):
        raise ConfigError(
            f"expected env.wrapper {name} to be a class of wrappers, got {type(found).__name__}; "
            "name a subclass of gymnasium.Wrapper."
        )
    return found


def _wrapped(made: gym.Env[Any, Any], wrapper: Any, name: str) -> gym.Env[Any, Any]:
    try:
        wrapped = wrapper(made)
    except Exception as error:
        raise ConfigError(
            f"expected env.wrapper {name} to be made from the environment alone, but it raised "
            f"{type(error).__name__}: {_line(error)}; write a subclass that brings its other "
            "arguments."
        ) from error
    if not isinstance(wrapped, gym.Env):
        raise ConfigError(
            f"expected env.wrapper {name} to give an environment, got {type(wrapped).__name__}; "
            "name a subclass of gymnasium.Wrapper."
        )
    return wrapped


def _line(error: BaseException) -> str:
    """Returns an error's message in one line, without Gymnasium's addition."""
    said, _, _ = str(error).partition(" was raised from the environment creator")
    return " ".join(said.split())
