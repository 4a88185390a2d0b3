"""Which device each role computes on."""

from __future__ import annotations

import torch

from prefrl.errors import ConfigError

__all__ = ["choose_devices"]


def choose_devices(wanted: str) -> tuple[str, str]:
    """Devices of the agent and of the reward learner.

    Args:
        wanted: ``auto`` takes the GPU where there is one, and one each where there are two; or the
            name of a device, or of two with a comma: the agent's, then the learner's.

    Returns:
        Two names that torch knows.

    Raises:
        ConfigError: If there is no such device.
    """
    if wanted == "auto":
        n_gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
        agent, learner = {0: ("cpu", "cpu"), 1: ("cuda:0", "cuda:0")}.get(
            n_gpus, ("cuda:0", "cuda:1")
        )
        return agent, learner
    names = [name.strip() for name in wanted.split(",")]
    if len(names) > 2:
        raise ConfigError(f"expected one device, or the agent's and the learner's, got {wanted!r}.")
    for name in names:
        _check(name)
    return names[0], names[-1]


def _check(name: str) -> None:
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ConfigError(f"expected a device such as cpu or cuda:0, got {name!r}.") from error
    if device.type == "cpu":
        return
    if device.type != "cuda":
        raise ConfigError(f"expected cpu or cuda, got {name!r}.")
    if not torch.cuda.is_available():
        raise ConfigError(f"expected a GPU for {name!r}, found none; choose --device cpu.")
    n_gpus = torch.cuda.device_count()
    if (device.index or 0) >= n_gpus:
        raise ConfigError(f"expected one of {n_gpus} GPUs, got {name!r}; choose a lower number.")
