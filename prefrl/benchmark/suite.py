"""A suite: arms that are compared on the same tasks with the same seeds, from a YAML file.

::

    about: One sentence on what it compares.
    seeds: [0, 1, 2]
    options:                      # of every training, with the names of prefrl train
      steps: 500000
    tasks:                        # by environment, with options of their own if needed
      HalfCheetah-v5:
      Hopper-v5: {steps: 1000000}
      lake: {env_id: FrozenLake-v1, env.kwargs: {is_slippery: false}}
    arms:
      true reward: {true_reward: true}
      100 labels: {labels: 100}
    grid:                         # optional: each arm with each combination of these
      algo: [ppo, sac]
      selection: {random: uniform, active: disagreement}

The most specific option wins: the grid's over an arm's, an arm's over a task's, and a task's over
that of every training.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from prefrl.control.config import TrainConfig, check_horizon
from prefrl.control.named_options import config_of_options, is_about_the_reward
from prefrl.core.oracle import load_oracle
from prefrl.errors import ConfigError
from prefrl.runtime.named_options import flat_options

__all__ = ["Run", "Suite", "load_suite", "shipped_suites", "suite_of_json"]

_KEYS = ("name", "about", "seeds", "options", "tasks", "arms", "grid")
_BEFOREHAND = {"sync": True, "films": False, "env.processes": 0}  # each training has one core
# On the true reward, a training may be too short for the default numbers of labels.
_NO_LABELS = {"labels": 1, "first_labels": 1, "segment_length": 2, "warmup_segments": 2}
_SUITES = resources.files("prefrl.benchmark") / "suites"


@dataclass(frozen=True)
class Run:
    """One training of a suite."""

    task: str
    """Name of its task."""
    arm: str
    """Name of its arm."""
    seed: int
    """Seed of everything random."""
    options: Mapping[str, Any]
    """Options of ``prefrl train``, by name."""
    true_reward: bool
    """Whether the agent learns from the environment's own reward instead of comparisons."""

    @property
    def key(self) -> tuple[str, str, int]:
        """Arm, task and seed, which identify it within its suite."""
        return self.arm, self.task, self.seed

    @property
    def name(self) -> str:
        """Path of its folder, relative to that of all trainings."""
        return "/".join(_folder_name(word) for word in (self.arm, self.task, str(self.seed)))

    @property
    def steps(self) -> int:
        """Environment steps of the training."""
        return int(self.options.get("steps") or self.config().steps)

    def config(self, path: Path | None = None) -> TrainConfig:
        """Returns the config of the training.

        Args:
            path: Path of its run directory.
        """
        more: dict[str, Any] = {"seed": self.seed}
        if path is not None:
            more["run"] = str(path)
        if self.true_reward:
            more |= _NO_LABELS
        return config_of_options({**_BEFOREHAND, **self.options, **more})


@dataclass(frozen=True)
class Suite:
    """Arms to compare, on the same tasks with the same seeds."""

    name: str
    """Its name."""
    about: str
    """What it compares, in a sentence."""
    seeds: tuple[int, ...]
    """Seeds with which each arm is trained on each task."""
    tasks: Mapping[str, Mapping[str, Any]]
    """Options by task."""
    arms: Mapping[str, Mapping[str, Any]]
    """Options by arm, including those of the grid."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Options of every training."""

    def runs(self) -> list[Run]:
        """Returns all trainings, seed by seed, so that early results can be compared."""
        return [
            self._run(task, arm, seed)
            for seed in self.seeds
            for task in self.tasks
            for arm in self.arms
        ]

    def _run(self, task: str, arm: str, seed: int) -> Run:
        options = {"env_id": task, **self.options, **self.tasks[task], **self.arms[arm]}
        true_reward = bool(options.pop("true_reward", False))
        return Run(task, arm, seed, options, true_reward)

    def with_seeds(self, seeds: Sequence[int]) -> Suite:
        """Returns the same suite with other seeds."""
        return _suite_of(self.name, {**self.as_json(), "seeds": list(seeds)})

    def is_true(self, arm: str) -> bool:
        """Whether an arm learns from the true reward."""
        return bool(self.arms[arm].get("true_reward", False))

    def agent_options(self, arm: str) -> dict[str, Any]:
        """Returns the options of an arm for the task and the agent, not for the reward."""
        return {
            name: value
            for name, value in self.arms[arm].items()
            if name != "true_reward" and not is_about_the_reward(name)
        }

    def as_json(self) -> dict[str, Any]:
        """Converts the suite to JSON types, for ``suite_of_json``."""
        return {
            "name": self.name,
            "about": self.about,
            "seeds": list(self.seeds),
            "options": dict(self.options),
            "tasks": {task: dict(options) for task, options in self.tasks.items()},
            "arms": {arm: dict(options) for arm, options in self.arms.items()},
        }

    def check(self) -> None:
        """Refuses options that cannot work, before any training begins.

        Raises:
            ConfigError: If there are any; names the arm and task.
        """
        for task, arm in itertools.product(self.tasks, self.arms):
            try:
                config = self._run(task, arm, self.seeds[0]).config()
                check_horizon(config)
                _check_there(config)
            except ConfigError as error:
                raise ConfigError(f"suite {self.name}, {arm}, {task}: {error}") from error


def _check_there(config: TrainConfig) -> None:
    """Refuses a missing oracle or path, which a training would notice only later."""
    if config.own_oracle is not None:
        load_oracle(config.own_oracle)
    for place in (*config.preferences.labels_from, config.preferences.reward):
        if place is not None and not Path(place).exists():
            raise ConfigError(f"expected labels_from and reward to be there, but not {place}.")


def shipped_suites() -> dict[str, str]:
    """Returns what each shipped suite is about, by name."""
    files = sorted((f for f in _SUITES.iterdir() if f.name.endswith(".yaml")), key=lambda f: f.name)
    return {f.name.removesuffix(".yaml"): yaml.safe_load(f.read_text())["about"] for f in files}


def load_suite(name: str) -> Suite:
    """Reads a suite.

    Args:
        name: Name of a shipped suite, or path of a YAML file.

    Raises:
        ConfigError: If it does not exist, or is not a suite.
    """
    path = Path(name)
    shipped = _SUITES / f"{name}.yaml"
    if path.suffix in (".yaml", ".yml"):
        if not path.is_file():
            raise ConfigError(f"expected a suite in {path}, but there is no such file.")
        text, name = path.read_text(encoding="utf-8-sig"), path.stem
    elif "/" not in name and shipped.is_file():
        text = shipped.read_text(encoding="utf-8")
    else:
        raise ConfigError(
            f"expected a suite, one of {', '.join(shipped_suites())}, or a file that ends in "
            f".yaml, got {name!r}."
        )
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"expected YAML in {name}, but {error}") from error
    return _suite_of(name, content)


def suite_of_json(content: Mapping[str, Any]) -> Suite:
    """Restores a suite from ``Suite.as_json``."""
    return _suite_of(content["name"], content)


def _suite_of(name: str, content: Any) -> Suite:
    content = _mapping(name, content, "what it holds")
    for key in content:
        if key not in _KEYS:
            raise ConfigError(f"expected keys {', '.join(_KEYS)} in suite {name}, got {key}.")
    for key in ("seeds", "tasks", "arms"):
        if not content.get(key):
            raise ConfigError(f"expected {key} in suite {name}, got none.")
    seeds = content["seeds"]
    if not isinstance(seeds, list) or not all(type(seed) is int and seed >= 0 for seed in seeds):
        raise ConfigError(f"expected seeds of suite {name} as a list of numbers, got {seeds!r}.")
    if len(set(seeds)) < len(seeds):
        raise ConfigError(f"expected each seed of suite {name} once, got {seeds}.")
    tasks, arms = content["tasks"], content["arms"]
    if isinstance(tasks, list):  # none has options of its own
        tasks = dict.fromkeys(tasks)
    suite = Suite(
        name=name,
        about=" ".join(str(content.get("about", "")).split()),
        seeds=tuple(seeds),
        options=_options(name, "options", content.get("options")),
        tasks=_by_name(name, "tasks", tasks),
        arms=dict(_combined(_by_name(name, "arms", arms), name, content.get("grid"))),
    )
    for names in (suite.tasks, suite.arms):
        _check_folders(name, names)
    return suite


def _folder_name(name: str) -> str:
    return re.sub(r"[^\w.+=,-]+", "-", name).strip(".")


def _check_folders(suite: str, names: Iterable[str]) -> None:
    """Refuses names that would share a folder, or give no folder name."""
    taken: dict[str, str] = {}
    for name in names:
        folder = _folder_name(name).casefold()
        if not folder or folder in taken:
            other = f"; {taken[folder]!r} is there already" if folder else ""
            raise ConfigError(
                f"expected names in suite {suite} that give each a folder of its own, got {name!r}"
                f"{other}; choose one with other letters or digits."
            )
        taken[folder] = name


def _combined(
    arms: Mapping[str, Mapping[str, Any]], suite: str, grid: Any
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Combines each arm with the grid; a true reward takes no options for learning a reward."""
    axes = []
    for option, values in _mapping(suite, grid or {}, "grid").items():
        if isinstance(values, list):
            values = {str(value): value for value in values}
        axes.append(
            [(option, name, value) for name, value in _mapping(suite, values, option).items()]
        )
    for arm, options in arms.items():
        true_reward = options.get("true_reward", False)
        for choice in itertools.product(*axes):
            told = [one for one in choice if not (true_reward and is_about_the_reward(one[0]))]
            more = {option: value for option, _, value in told}
            yield ", ".join([arm, *(name for _, name, _ in told)]), {**options, **more}


def _by_name(suite: str, key: str, content: Any) -> dict[str, dict[str, Any]]:
    named = _mapping(suite, content, key)
    return {name: _options(suite, f"{key}: {name}", options) for name, options in named.items()}


def _options(suite: str, where: str, content: Any) -> dict[str, Any]:
    options = flat_options(_mapping(suite, content or {}, where))
    for name in ("run", "seed"):
        if name in options:
            raise ConfigError(
                f"expected no {name} in {where} of suite {suite}: the benchmark chooses it, got "
                f"{options[name]!r}."
            )
    if not isinstance(options.get("true_reward", False), bool):
        raise ConfigError(
            f"expected true_reward in {where} of suite {suite} to be true or false, got "
            f"{options['true_reward']!r}."
        )
    return options


def _mapping(suite: str, content: Any, what: str) -> dict[str, Any]:
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise ConfigError(
            f"expected {what} of suite {suite} to be values by name, got {content!r}; "
            "docs/benchmark.md shows one."
        )
    return content
