"""The devices on which the agent and the reward learner compute."""

from __future__ import annotations

import ctypes
import functools

import torch

from prefrl.errors import ConfigError

__all__ = ["choose_devices", "computes_in_bfloat16", "use_cpu"]

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of glibc's mallopt
_MOST = 2**31 - 1


def choose_devices(wanted: str) -> tuple[str, str]:
    """Chooses the devices of the agent and of the reward learner.

    Args:
        wanted: ``auto`` (the first GPU for both, or one GPU each if there are two or more; without
            a GPU, the CPU), the name of a device for both, or two names joined by a comma: the
            agent's, then the learner's.

    Returns:
        The two names, as torch takes them.

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


def use_cpu(threads: int) -> None:
    """Sets how torch uses the CPU and main memory in this process.

    By default the C library returns the memory of large tensors to the system at once and requests
    it again at the next step, which takes a third of the time with convolutions. Here glibc is told
    to keep it.

    Args:
        threads: Number of threads that torch may use.
    """
    torch.set_num_threads(threads)
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # only glibc has it
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, 2**25)
        mallopt(_M_TRIM_THRESHOLD, _MOST)


@functools.cache
def computes_in_bfloat16(device_type: str) -> bool:
    """Whether a type of device has bfloat16 instructions; without them bfloat16 is slower."""
    if device_type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    has_instructions = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return device_type == "cpu" and has_instructions is not None and bool(has_instructions())
