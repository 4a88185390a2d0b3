"""Processes that share one job: their ranks, their shares, and what they exchange.

They are started by ``accelerate launch`` or ``torchrun``, which put each process's rank into its
environment. All have the same parameters. Each computes the gradient of its share of a batch, and
the sum is the gradient that a single process would compute. Objects are exchanged as pickles, but
only between the processes of one launch.
"""

from __future__ import annotations

import contextlib
import datetime
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from prefrl.errors import ConfigError, RoleError
from prefrl.runtime.devices import choose_devices

__all__ = ["ALONE", "Workers", "check_alone", "join_workers", "launched_as", "own_device"]

_T = TypeVar("_T")
_TO_JOIN = datetime.timedelta(minutes=10)
_TO_WAIT = datetime.timedelta(days=30)  # long enough for people's answers
_BUCKET = 2**24  # entries of the gradient that are summed at once


class Workers:
    """The processes that share a job; this base class is a single process that does all of it.

    Attributes:
        rank: Rank of this process, from 0.
        size: Number of processes.
    """

    rank = 0
    size = 1

    def share(self, n: int) -> slice:
        """Returns this process's contiguous part of n items."""
        return slice(n * self.rank // self.size, n * (self.rank + 1) // self.size)

    def broadcast(self, value: _T) -> _T:
        """Returns the value of the first process; values of the others are ignored."""
        return value

    def gather(self, values: Sequence[_T]) -> list[_T]:
        """Returns the values of all processes, in the order of their ranks."""
        return list(values)

    def join(self, rows: Tensor) -> Tensor:
        """Concatenates the rows of all processes, by rank, on this process's device."""
        return rows

    def add(self, numbers: Mapping[str, float]) -> dict[str, float]:
        """Sums by name over all processes."""
        return dict(numbers)

    def add_gradients(self, parameters: Iterable[Tensor]) -> None:
        """Sums the gradients over all processes, bit for bit the same in each."""

    def copy(self, tensors: Iterable[Tensor]) -> None:
        """Copies the first process's tensors into those of the others, in place."""


ALONE = Workers()
"""A single process that does the whole job."""


class _Group(Workers):
    """Processes connected by torch.distributed."""

    def __init__(self, group: Any, advice: str) -> None:
        self._group = group
        self._advice = advice
        self.rank, self.size = dist.get_rank(), dist.get_world_size()

    def broadcast(self, value: _T) -> _T:
        held = [value]
        with self._together():
            dist.broadcast_object_list(held, src=0, group=self._group)
        return held[0]

    def gather(self, values: Sequence[_T]) -> list[_T]:
        return [value for told in self._all(list(values)) for value in told]

    def join(self, rows: Tensor) -> Tensor:
        return torch.cat([part.to(rows.device) for part in self._all(rows.cpu())])

    def add(self, numbers: Mapping[str, float]) -> dict[str, float]:
        sums: dict[str, float] = {}
        for told in self._all(dict(numbers)):
            for name, number in told.items():
                sums[name] = sums.get(name, 0.0) + number
        return sums

    def add_gradients(self, parameters: Iterable[Tensor]) -> None:
        for bucket in _buckets(parameters):
            # A parameter without a gradient in any process gets none, so the optimizer skips it.
            has = torch.tensor([float(p.grad is not None) for p in bucket], device=bucket[0].device)
            grads = [torch.zeros_like(p) if p.grad is None else p.grad for p in bucket]
            flat = torch.cat([grad.flatten() for grad in grads])
            with self._together():
                dist.all_reduce(has, group=self._group)
                dist.all_reduce(flat, group=self._group)
            parts = torch.split(flat, [p.numel() for p in bucket])
            for p, part, count in zip(bucket, parts, has.tolist(), strict=True):
                p.grad = part.view_as(p) if count else None

    @torch.no_grad()
    def copy(self, tensors: Iterable[Tensor]) -> None:
        with self._together():
            for tensor in tensors:
                dist.broadcast(tensor, src=0, group=self._group)

    def _all(self, value: _T) -> list[_T]:
        told: list[Any] = [None] * self.size
        with self._together():
            dist.all_gather_object(told, value, group=self._group)
        return told

    @contextlib.contextmanager
    def _together(self) -> Iterator[None]:
        try:
            yield
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            # Gloo's messages begin with a place in its source, and end with advice.
            why = re.sub(r"^\[[^]]*\] *", "", str(error).strip()).split(". ")[0].splitlines()[0]
            raise RoleError(
                f"expected all {self.size} processes of the launch to go on, but one is gone "
                f"({why}); {self._advice}."
            ) from error


def launched_as() -> tuple[int, int]:
    """Returns rank and number of the processes of this launch; 0 and 1 without a launch."""
    size = int(os.environ.get("WORLD_SIZE", 1))
    return (int(os.environ.get("RANK", 0)), size) if size > 1 else (0, 1)


def check_alone(work: str) -> None:
    """Refuses a launch of several processes for a job that takes a single one.

    Raises:
        ConfigError: If there are several.
    """
    n_processes = launched_as()[1]
    if n_processes > 1:
        raise ConfigError(
            f"expected one process for {work}, got a launch of {n_processes}: only the alignment "
            "of a language model is shared out; start it without a launcher."
        )


def own_device(wanted: str) -> str:
    """Returns the device of this process's policy: in a launch, the GPU with its local rank.

    Args:
        wanted: The device, as ``choose_devices`` takes it.

    Raises:
        ConfigError: If there is no such device, or there are fewer GPUs than processes.
    """
    device = choose_devices(wanted)[0]
    if launched_as()[1] == 1 or not device.startswith("cuda"):
        return device
    here, n_gpus = int(os.environ.get("LOCAL_WORLD_SIZE", 1)), torch.cuda.device_count()
    if here > n_gpus:
        raise ConfigError(
            f"expected a GPU for each of {here} processes, found {n_gpus}; launch fewer, or choose "
            "--device cpu."
        )
    return f"cuda:{os.environ.get('LOCAL_RANK', 0)}"


@contextlib.contextmanager
def join_workers(wanted: str, *, advice: str = "launch them all again") -> Iterator[Workers]:
    """Context with the connected processes of this launch; ``ALONE`` without a launch.

    At the end the first process broadcasts None, which tells the others that no more work follows.

    Args:
        wanted: The device, as ``choose_devices`` takes it.
        advice: What to do if one of them is gone, as the end of an error message.

    Raises:
        ConfigError: If there is no such device.
        RoleError: If not all of them connect within ten minutes.
    """
    rank, size = launched_as()
    if size == 1:
        yield ALONE
        return
    device = own_device(wanted)
    backend = "gloo"
    if device.startswith("cuda"):
        torch.cuda.set_device(device)
        backend = "cpu:gloo,cuda:nccl"
    try:
        dist.init_process_group(backend, timeout=_TO_JOIN)
        group = dist.new_group(backend=backend, timeout=_TO_WAIT)
    except (RuntimeError, ValueError) as error:
        raise RoleError(
            f"expected {size} processes to connect, but {error}; launch them all again."
        ) from error
    try:
        workers = _Group(group, advice)
        yield workers
        if rank == 0:
            workers.broadcast(None)
    finally:
        dist.destroy_process_group()


def _buckets(parameters: Iterable[Tensor]) -> list[list[Tensor]]:
    """Splits parameters, in order, into buckets by size and dtype."""
    found: list[list[Tensor]] = []
    n = 0
    for p in parameters:
        same = found and (found[-1][0].dtype, found[-1][0].device) == (p.dtype, p.device)
        if not same or n + p.numel() > _BUCKET:
            found.append([])
            n = 0
        found[-1].append(p)
        n += p.numel()
    return found
