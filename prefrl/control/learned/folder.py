"""A learned reward as a folder: tensors, their description, and a card.

::

    FOLDER/
      reward.safetensors     parameters, and the constants of the normalisation
      reward.json            the net, the spaces that it reads, and its origin
      README.md              the same in words

No pickle is written or read.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Any

from gymnasium import spaces
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from prefrl.control.environments.source import EnvConfig, make_env
from prefrl.control.environments.space_files import space_as_json, space_from_json
from prefrl.control.learned.to_label import check_has_agent
from prefrl.control.reward.config import RewardNetConfig
from prefrl.errors import ConfigError, RunDirectoryError
from prefrl.runtime.rundir import RunDirectory
from prefrl.runtime.rundir.weights import Weights, latest_weights, newest_version
from prefrl.runtime.rundir.writing import write_atomically

__all__ = [
    "RewardFile",
    "check_new_folder",
    "net_from_json",
    "read_folder",
    "read_run",
    "write_folder",
]

_FORMAT = 1
_TENSORS, _ABOUT, _CARD = "reward.safetensors", "reward.json", "README.md"
_DAMAGED = (OSError, ValueError, KeyError, TypeError, AttributeError, SafetensorError)


@dataclass(frozen=True)
class RewardFile:
    """All parts of a learned reward."""

    observation_space: spaces.Space[Any]
    """Observation space of the environment."""
    action_space: spaces.Space[Any]
    """Action space of the environment."""
    members: int
    """Number of members of the reward ensemble."""
    net: RewardNetConfig
    """Settings of the nets."""
    tensors: dict[str, Tensor]
    """Parameters, and the constants of the normalisation."""
    about: Mapping[str, Any]
    """Its origin."""


def check_new_folder(folder: Path) -> None:
    """Refuses a folder for a reward that exists and is not empty.

    Raises:
        ConfigError: If it is refused.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(
            f"expected a new folder for the reward, but {folder} exists and is not empty; choose "
            "another one."
        )


def write_folder(folder: Path, kept: RewardFile) -> Path:
    """Writes a reward into a new folder, which is complete once its ``reward.json`` exists.

    Raises:
        ConfigError: If the folder is not empty, or the nets are the user's own: a folder that may
            come from others must not name code.
    """
    if kept.net.member is not None:
        raise ConfigError(
            "expected a reward of prefrl's own nets to save, got one with net.member; load it from "
            "its run, or save the weights of its nets yourself."
        )
    check_new_folder(folder)
    folder.mkdir(parents=True, exist_ok=True)
    content = save({name: t.detach().cpu().contiguous() for name, t in kept.tensors.items()})
    told = {
        "format": _FORMAT,
        "prefrl": metadata.version("prefrl"),
        "observation_space": space_as_json(kept.observation_space),
        "action_space": space_as_json(kept.action_space),
        "members": kept.members,
        "net": asdict(kept.net),
        "sha256": hashlib.sha256(content).hexdigest(),
        "about": {name: _plain(value) for name, value in kept.about.items()},
    }
    write_atomically(folder / _TENSORS, content)
    write_atomically(folder / _CARD, _card(kept).encode())
    write_atomically(folder / _ABOUT, (json.dumps(told, indent=2) + "\n").encode())
    return folder


def read_folder(folder: Path) -> RewardFile | None:
    """Reads a reward that ``write_folder`` wrote; None if there is none.

    Raises:
        RunDirectoryError: If it is damaged, or from a newer release.
    """
    path = folder / _ABOUT
    if not path.is_file():
        return None
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        if told["format"] != _FORMAT:
            raise ValueError(f"its format is {told['format']}, and this release reads {_FORMAT}")
        if told["net"].get("member") is not None:
            raise ValueError("it names code to run, which no saved reward does")
        content = (folder / _TENSORS).read_bytes()
        if hashlib.sha256(content).hexdigest() != told["sha256"]:
            raise ValueError("the tensors are not those that it tells of")
        return RewardFile(
            space_from_json(told["observation_space"]),
            space_from_json(told["action_space"]),
            int(told["members"]),
            net_from_json(told["net"]),
            load(content),
            told["about"],
        )
    except _DAMAGED as error:
        raise RunDirectoryError(
            f"expected a learned reward in {folder}, but {error}; save it again, or use the "
            "release that wrote it."
        ) from error


def read_run(run: RunDirectory) -> RewardFile:
    """Reads the newest reward of a run.

    Raises:
        RunDirectoryError: If there is none, it is damaged, or the run has no agent.
        ConfigError: If the run's environment cannot be made.
    """
    told = run.read_json(run.config)
    check_has_agent(told)
    if "env_id" not in told or "preferences" not in told:
        raise RunDirectoryError(
            f"expected a run of an agent in an environment, or the folder of a learned reward, but "
            f"{run.root} is neither; of a language model, see prefrl.text.trl."
        )
    weights = latest_weights(run.reward)
    try:
        env = EnvConfig.from_json(told.get("env", {}))
        members, net = (
            int(told["preferences"]["members"]),
            net_from_json(told["preferences"]["net"]),
        )
    except _DAMAGED as error:
        raise RunDirectoryError(
            f"expected a config.json of this release of prefrl in {run.root}, but {error}; read "
            "the run with the release in its versions.json."
        ) from error
    made = make_env(told["env_id"], env)
    made.close()
    about = {
        "env_id": told["env_id"],
        "env_kwargs": dict(env.kwargs),
        "env_wrapper": list(env.wrapper),
        "run": run.root.name,
        "version": weights.version,
        **_how_fitted(run, weights),
        "segment_length": told["preferences"].get("segment_length"),
    }
    spaces_of = made.observation_space, made.action_space
    return RewardFile(*spaces_of, members, net, weights.tensors, about)


def _how_fitted(run: RunDirectory, weights: Weights) -> dict[str, Any]:
    """Returns figures of the newest fit, or of the reward that the run began with."""
    about: Mapping[str, Any] = weights.about
    steps = about.get("run_steps")
    if not about.get("fitted", 1) and newest_version(run.taken) is not None:
        about = latest_weights(run.taken).about
    names = "labels", "holdout_accuracy", "holdout_loss"
    return {"env_steps": steps, **{name: _plain(about.get(name)) for name in names}}


def net_from_json(told: Mapping[str, Any]) -> RewardNetConfig:
    """Restores the settings of existing nets; inputs of "auto" means "action" for these."""
    net = RewardNetConfig(**{name: _tuple(value) for name, value in told.items()})
    return replace(net, inputs="action") if net.inputs == "auto" else net


def _tuple(value: Any) -> Any:
    return tuple(_tuple(part) for part in value) if isinstance(value, list) else value


def _plain(value: Any) -> Any:
    """Replaces NaN and infinities, which JSON does not have, by None."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _card(kept: RewardFile) -> str:
    about = {name: value for name, value in kept.about.items() if _plain(value) not in (None, {})}
    env_id = about.get("env_id")
    title = f"Learned reward for {env_id}" if env_id else "Learned reward"
    rows = {"environment": env_id, "fitted to": about.get("dataset")}
    rows["comparisons"] = about.get("labels")
    if "holdout_accuracy" in about:
        rows["hold-out accuracy"] = f"{about['holdout_accuracy']:.1%}"
    if "calibration_error" in about:
        rows["calibration error"] = f"{about['calibration_error']:.3f}"
    rows |= {
        "environment steps of the run": about.get("env_steps"),
        "steps per compared segment": about.get("segment_length"),
        "members of the ensemble": kept.members,
        "reads": _READS.get(kept.net.inputs, _READS["action"]),
        "observations": str(kept.observation_space)[:200],
        "actions": str(kept.action_space)[:200],
    }
    lines = [f"| {name} | {value} |" for name, value in rows.items() if value is not None]
    extra = ", next_observations=after, ended=ended" if kept.net.inputs == "transition" else ""
    return f"""---
library_name: prefrl
tags: [reinforcement-learning, reward-model, preferences]
---

# {title}

A reward that prefrl has learned from comparisons of segments. It says what labellers preferred in
what they were shown, and little about what they never saw: where the members differ, do not trust
it. Its mean and standard deviation are those over the data that it was fitted with.

| | |
|---|---|
{chr(10).join(lines)}

```python
import prefrl

reward = prefrl.load_reward("this/folder")
reward.predict(observations, actions{extra})   # one number per step
env = prefrl.LearnedReward(env, reward)        # for any trainer
```
"""


_READS = {
    "state": "observations",
    "action": "observations and actions",
    "transition": "observations, actions, next observations, and whether the episode ended",
}
